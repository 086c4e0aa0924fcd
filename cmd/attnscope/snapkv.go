package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/states"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/figures"
)

func snapkvCommand() *cli.Command {
	return &cli.Command{
		Name:      "snapkv",
		Usage:     "what SnapKV and its rivals keep of a dump's prompts, and what that loses",
		ArgsUsage: "RUN.attn... | --states FILE.safetensors -o OUT.safetensors",
		Flags: slices.Concat(methodFlags, []cli.Flag{
			&cli.Float64SliceFlag{Name: "theta", Usage: "a weight strictly above `T` is significant (repeatable; default 0.05)"},
			&cli.StringFlag{Name: "by", Value: "layer", Usage: "a row for each: comma `LIST` of layer, head, prompt, dataset, span"},
			&cli.IntFlag{Name: "span", Value: 128, Usage: "reply rows judged together with --by span, `ROWS`"},
			&cli.StringFlag{Name: "prompt", Usage: "with --indices: `ID` of the prompt (default: the only one)"},
			&cli.StringFlag{Name: "indices", Usage: "write the kept positions to `FILE.safetensors` (one prompt, method and capacity)"},
			&cli.StringFlag{Name: "states", Usage: "compress the tensors of `FILE.safetensors` instead of judging a dump"},
			&cli.StringFlag{Name: "figures", Usage: "draw kept mass against capacity, and by layer and head, into `DIR`"},
			&cli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "`MODEL` of the dump, for output_error_wo"},
			&cli.Uint64Flag{Name: "seed", Usage: "`SEED` of random and of the intervals"},
			threadsFlag, revisionFlag, offlineFlag,
		}, tableFlags),
		Action: runSnapKV,
	}
}

func runSnapKV(c *cli.Context) error {
	s, err := selectionsOf(c)
	if err != nil {
		return err
	}
	switch {
	case c.String("states") != "":
		return runStates(c, s)
	case !c.Args().Present():
		return usagef("snapkv: no dump: name at least one RUN.attn, or tensors with --states FILE.safetensors")
	case c.String("indices") != "":
		return runIndices(c, s)
	}
	cfg := analysis.MethodConfig{
		Methods: s.methods, Configs: s.configs, Thetas: c.Float64Slice("theta"), Span: c.Int("span"),
		Lenient: s.all, Seed: c.Uint64("seed"),
	}
	if len(cfg.Thetas) == 0 {
		cfg.Thetas = []float64{hitrate.PaperTheta}
	}
	if err := analysis.CheckThetas(cfg.Thetas); err != nil {
		return usagef("--%v", err)
	}
	if c.String("prompt") != "" && c.String("indices") == "" {
		return usagef("snapkv: --prompt chooses the prompt of --indices; --by prompt splits the table")
	}
	keys, err := analysis.ParseBy(c.String("by"))
	if err != nil {
		return usagef("--%v", err)
	}
	if cfg.Span < 1 {
		return usagef("--span %d: want 1 or more", cfg.Span)
	}
	if err := checkTable(c); err != nil {
		return err
	}
	if c.String("model") != "" {
		if cfg.Gram, err = outputGrams(c); err != nil {
			return err
		}
	}
	by := [][]analysis.By{keys}
	dir := c.String("figures")
	if dir != "" {
		by = append(by, nil, []analysis.By{analysis.ByLayer, analysis.ByHead})
	}
	rows, warnings, err := analysis.MethodsBy(c.Context, c.Args().Slice(), cfg, by...)
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	if dir != "" {
		written, err := figures.Methods(dir, rows[1], rows[2], origin(c.Args().Slice()...))
		if err != nil {
			return err
		}
		notef(c, "%d figures in %s", len(written), dir)
	}
	return writeTable(c, analysis.MethodTable(rows[0]))
}

// outputGrams reads the output projections of --model, which must be the one
// that made the dumps.
func outputGrams(c *cli.Context) (func(layer, head int) []float64, error) {
	src, err := openSource(c)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if err := checkMadeBy(src, c.Args().Slice()); err != nil {
		return nil, err
	}
	if err := loadSource(src); err != nil {
		return nil, err
	}
	grams, err := src.Model.OutputGrams()
	if err != nil {
		return nil, err
	}
	return func(layer, head int) []float64 { return grams[layer][head] }, nil
}

// checkMadeBy checks that dumps were made by a model.
func checkMadeBy(src *capture.Source, paths []string) error {
	sum, err := src.Checkpoint.SHA256()
	if err != nil {
		return err
	}
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return err
		}
		have := r.Header().Model
		r.Close()
		if have.SHA256 != sum {
			return fmt.Errorf("%s was made by model %s (weights %.12s), -m %s has weights %.12s: name the dump's model", path, have.ID, have.SHA256, src.Name, sum)
		}
	}
	return nil
}

func runStates(c *cli.Context, s selections) error {
	out := c.String("o")
	switch {
	case c.Args().Present():
		return usagef("snapkv: --states takes no dump, but %q was named", c.Args().First())
	case out == "":
		return usagef("snapkv: --states needs -o OUT.safetensors")
	case len(s.configs) != 1:
		return usagef("snapkv: --states takes one window, kernel, pooling and capacity")
	case len(s.methods) != 1 || s.methods[0].Name != snapkv.SnapKV:
		return usagef("snapkv: --states compresses by --method snapkv")
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	return states.Compress(c.String("states"), out, s.configs[0])
}

func runIndices(c *cli.Context, s selections) error {
	out := c.String("indices")
	if c.Args().Len() != 1 || len(s.configs) != 1 || len(s.methods) != 1 {
		return usagef("snapkv: --indices takes one dump, method, window, kernel, pooling and capacity")
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	r, err := openDump(c, c.Args().First())
	if err != nil {
		return err
	}
	defer r.Close()
	if n := len(r.Prompts()); n > 1 && c.String("prompt") == "" {
		return usagef("%s has %d prompts: choose one with --prompt ID", r.Path(), n)
	}
	at, err := promptIndex(r, r.Path(), c.String("prompt"))
	if err != nil {
		return err
	}
	cfg, p, method := s.configs[0], r.Prompts()[at], s.methods[0]
	layers, err := analysis.Indices(c.Context, r, at, method, cfg)
	if err != nil {
		return err
	}
	var list []tensor.Tensor
	for i, keep := range layers {
		longest, ragged := 0, method.ShareHeads != nil
		for _, k := range keep {
			longest = max(longest, len(k))
			ragged = ragged || len(k) != cfg.Budget()
		}
		counts := make([]int32, len(keep))
		flat := make([]int32, 0, longest*len(keep))
		for h, k := range keep {
			counts[h] = int32(len(k))
			flat = append(flat, k...)
			for range longest - len(k) {
				flat = append(flat, -1)
			}
		}
		layer := r.Header().Plan.Layers[i]
		list = append(list, tensor.FromInt32(fmt.Sprintf("indices.%d", layer), flat, len(keep), longest))
		if ragged {
			list = append(list, tensor.FromInt32(fmt.Sprintf("counts.%d", layer), counts, len(keep)))
		}
	}
	return checkpoint.WriteSafetensors(out, list, map[string]string{
		"format": "attnscope indices", "model": r.Header().Model.ID, "prompt": p.ID, "method": method.Name,
		"window": fmt.Sprint(cfg.Window), "capacity": fmt.Sprint(cfg.Capacity), "kernel": fmt.Sprint(cfg.Kernel),
		"pooling": cfg.Pooling.String(), "group": cfg.Group.String(), "passthrough": fmt.Sprint(cfg.Passthrough(p.PromptTokens)),
	})
}
