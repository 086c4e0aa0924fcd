package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// planFlags say which parts of a prompt's attention are recorded.
var planFlags = []cli.Flag{
	&cli.IntFlag{
		Name: "window-rows", Value: 128,
		Usage: "record the weights of the last `R` prompt tokens, one row each: the largest observation window",
	},
	&cli.StringFlag{
		Name: "prompt-windows", Value: "20x128",
		Usage: "record sums over older query windows, `COUNTxSIZE` tokens; 0: none",
	},
	&cli.IntFlag{Name: "max-new-tokens", Value: 128, Usage: "generate and record up to `G` reply tokens"},
	&cli.StringFlag{Name: "layers", Value: "all", Usage: "record these layers: all that have attention, or `LIST` such as 0,3,7-9"},
	&cli.StringFlag{Name: "heads", Value: "all", Usage: "record these query heads: all or `LIST`"},
	&cli.StringFlag{
		Name: "store", Value: "auto",
		Usage: "store rows (the weights), factors (queries and keys, from which weights are computed) or auto (the smaller)",
	},
	&cli.StringFlag{
		Name: "precision", Value: "fine",
		Usage: "error of a stored weight: exact (float32), fine (up to 1e-4 + 5e-4 of the weight) or coarse (up to 3e-3)",
	},
	boolFlag("values", "record the values too, for output errors"),
	boolFlag("logits", "record the logits of the reply"),
	&cli.IntFlag{
		Name: "overview", DefaultText: "none",
		Usage: "record a max-pooled picture of each head's whole attention map, `SIDE` x SIDE cells; 0: none",
	},
	boolFlag("no-prompt-sums", "do not record the weights summed over all prompt queries: h2o needs them,"+
		" and on a card they are most of the cost of recording"),
	boolFlag("ignore-eos", "keep generating after an end-of-sequence token"),
	&cli.Float64Flag{Name: "temperature", DefaultText: "greedy", Usage: "sampling temperature `T`; 0: greedy"},
}

// planOf reads the recording plan from planFlags.
func planOf(c *cli.Context, cfg model.Config, device string) (*dumps.Plan, error) {
	p := &dumps.Plan{
		WindowRows: c.Int("window-rows"), MaxNewTokens: c.Int("max-new-tokens"),
		Values: c.Bool("values"), Logits: c.Bool("logits"), Overview: c.Int("overview"),
		NoPromptSums: c.Bool("no-prompt-sums"), IgnoreEOS: c.Bool("ignore-eos"), Compute: c.String("compute"),
		Temperature: c.Float64("temperature"), Seed: c.Int64("seed"), Shard: c.String("shard"),
	}
	var err error
	if p.Store, err = dumps.ParseStore(c.String("store")); err != nil {
		return nil, usagef("--%w", err)
	}
	if p.Precision, err = dumps.ParsePrecision(c.String("precision")); err != nil {
		return nil, usagef("--%w", err)
	}
	if p.PromptWindows, p.PromptWindowSize, err = parseWindows(c.String("prompt-windows")); err != nil {
		return nil, err
	}
	if p.Layers, err = attentionLayers(c.String("layers"), &cfg); err != nil {
		return nil, err
	}
	if p.Heads, err = parseList("heads", c.String("heads"), cfg.Heads); err != nil {
		return nil, err
	}
	if err := model.CheckCompute(p.Compute, device); err != nil {
		return nil, usagef("--%w", err)
	}
	if err := p.Check(); err != nil {
		return nil, usagef("--%w", err)
	}
	return p, nil
}

// attentionLayers reads a list of layers, all of which must have attention. By default it
// is all layers that have.
func attentionLayers(text string, cfg *model.Config) ([]int, error) {
	all := cfg.AttentionLayers()
	if text == "" || text == "all" {
		return all, nil
	}
	list, err := parseList("layers", text, cfg.Layers)
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if !slices.Contains(all, l) {
			return nil, usagef("--layers %s: layer %d has no attention (%s); layers with attention: %s",
				text, l, cfg.Shapes[l].Kind, listText(all, cfg.Layers))
		}
	}
	return list, nil
}

// headerOf describes the run: the model, the plan, and what distinguishes this run
// from another.
func headerOf(c *cli.Context, s *capture.Source, plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error) {
	return capture.NewHeader(s, *plan, list, dumps.Manifest{
		Program: "attnscope " + version(), Command: append([]string{"attnscope"}, commandOf(c)...),
		PromptsFile: c.String("prompts"), Seed: c.Int64("seed"),
	})
}
