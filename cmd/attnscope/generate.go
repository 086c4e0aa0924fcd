package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "decode from compressed caches and compare with the full cache",
		ArgsUsage: "-m MODEL -p PROMPTS",
		Description: "Generate prints a JSON line for each prompt and cache, the full cache first: the text, its score\n" +
			"against the reference answers, and perplexity and KL divergence (nats per token) on one reply. That\n" +
			"reply is the prompt's own if it has one, else the one that the full cache generates. Decoding is\n" +
			"greedy. --summary prints a table over the prompts instead.\n\n" + presetHelp(),
		Flags: slices.Concat([]cli.Flag{modelFlag, revisionFlag, offlineFlag, ignoreConfigFlag, promptsFlag}, methodFlags, []cli.Flag{
			&cli.IntFlag{Name: "max-new-tokens", Value: 128, Usage: "generate up to `G` reply tokens"},
			boolFlag("ignore-eos", "keep generating after an end-of-sequence token"),
			&cli.StringFlag{Name: "score", Value: "f1", Usage: "score of an answer: " + strings.Join(decode.Scores, ", ")},
			&cli.StringFlag{
				Name: "batch", Value: "1",
				Usage: "decode from up to `N` caches together, of one prompt or of several, with the same results; auto: as many as fit" +
					" in half of the available memory, at most 8; above 1, decode_tok_s and peak_bytes of single caches are unknown",
			},
		}, cacheFlags, []cli.Flag{
			&cli.StringFlag{Name: "budget", DefaultText: "--capacity", Usage: "let caches keep " + budgetUsage},
			boolFlag("dry-run", "print what would be decoded and the memory and time that it needs, and stop"),
			boolFlag("summary", "print a table over the prompts instead of a line for each"),
		}, promptFlags, []cli.Flag{
			computeFlag, deviceFlag, threadsFlag, memoryFlag,
			seedFlag("the methods random and nacl, and of the intervals"),
		}, pivotFlags("kl"), tableFlags),
		Action: runGenerate,
	}
}

func runGenerate(c *cli.Context) error {
	if err := checkGenerate(c); err != nil {
		return err
	}
	if err := checkBatch(c); err != nil {
		return err
	}
	s, err := selectionsOf(c)
	if err != nil {
		return err
	}
	if c.Bool("summary") {
		if err = checkTable(c); err == nil {
			keys := summaryKeys(c)
			err = checkPivot(c, slices.Concat(decode.SummaryColumns, keys), keys)
		}
	} else {
		err = checkOutput(c.String("o"), c.Bool("force"), false)
	}
	if err != nil {
		return err
	}
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := model.CheckCompute(c.String("compute"), src.Device.Name); err != nil {
		return usagef("--%w", err)
	}
	budgets, err := budgetsOf(c)
	if err != nil {
		return err
	}
	if err := checkCardCaches(c, src, budgets); err != nil {
		return err
	}
	cfg, err := decodeConfig(c, s, src)
	if err != nil {
		return err
	}
	fit, err := fitGenerate(c, src, &cfg)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return dryGenerate(c, src, &cfg, &fit)
	}
	noteStreaming(c, &fit.Fit)
	if err := loadSource(c, src); err != nil {
		return err
	}
	cfg.Model = src.Model
	from, err := originOfResults(src, &cfg)
	if err != nil {
		return err
	}
	bar := newBar(c.App.ErrWriter, "generate")
	defer bar.close()
	cfg.Progress = bar.capture
	if !c.Bool("summary") {
		return withOutput(c, func(w io.Writer) error { return printResults(c.Context, w, cfg, from) })
	}
	var all []decode.Result
	err = decode.Run(c.Context, cfg, func(r decode.Result) error {
		all = append(all, r)
		return nil
	})
	bar.close()
	if err != nil {
		return err
	}
	return writeSummary(c, s, &cfg, all, from)
}

// writeSummary writes the table over the prompts.
func writeSummary(c *cli.Context, s selections, cfg *decode.Config, all []decode.Result, from resultsOrigin) error {
	reply := fmt.Sprintf("max-new-tokens %d", c.Int("max-new-tokens"))
	list := []string{reply, "score " + c.String("score")}
	if cfg.DecodeEvery > 0 {
		list = append(list, fmt.Sprintf("decode-every %d", cfg.DecodeEvery))
	}
	if cfg.Place == decode.AtContext {
		list = append(list, "compressed at the end of the context")
	}
	for _, f := range cfg.FullFormats() {
		list = append(list, decode.FormatText(f))
	}
	if cfg.EqualBytes {
		list = append(list, "quantized caches in the bytes of the capacity at 16 bits")
	}
	few := analysis.FewPromptsNote(len(cfg.Prompts))
	if !onScreen(c) {
		warnNotes(c, few)
	}
	notes := append(s.settings(list...), few...)
	t := decode.SummaryTable(decode.Summarize(all, c.Uint64("seed")))
	if c.IsSet("pivot") {
		keys := slices.DeleteFunc(summaryKeys(c), func(name string) bool { return !slices.Contains(t.Columns, name) })
		wide, err := pivoted(c, t, keys)
		if err != nil {
			return err
		}
		return writeTable(c, wide, table.Screen{Notes: append(notes, pivotNote("kl_low and kl_high"))})
	}
	if !onScreen(c) {
		from.addTo(t, all)
	}
	screen := table.Screen{Values: []string{"prompts", "ppl", "ppl_increase", "kl", "agreement", "cache_ratio"}, Notes: notes}
	return writeTable(c, t, screen)
}

// summaryKeys lists the columns that identify a row of the table over the prompts.
func summaryKeys(c *cli.Context) []string {
	keys := slices.Clone(decode.SummaryKeys)
	if c.IsSet("budget") {
		keys = append(keys, decode.BudgetColumn)
	}
	if c.IsSet("decode-every") {
		keys = append(keys, decode.DecodeEveryColumn)
	}
	if c.IsSet("kv-bits") || c.IsSet("budget") {
		keys = append(keys, decode.KVBitsColumn)
	}
	if c.String("compress-at") == string(decode.AtContext) {
		keys = append(keys, decode.CompressAtColumn)
	}
	return keys
}

func checkGenerate(c *cli.Context) error {
	switch {
	case c.Args().Present():
		return misplaced("generate", c.Args().First())
	case !c.IsSet("prompts"):
		return noPrompts("generate")
	case c.Int("max-new-tokens") < 1:
		return usagef("--max-new-tokens %d: want 1 or more", c.Int("max-new-tokens"))
	case c.IsSet("budget") && c.IsSet("capacity"):
		return usagef("generate: --budget and --capacity exclude each other")
	}
	if err := checkCaches(c); err != nil {
		return err
	}
	return checkWord(c, "score", decode.Scores)
}

// decodeConfig reads the prompts. It does not load the weights.
func decodeConfig(c *cli.Context, s selections, src *capture.Source) (decode.Config, error) {
	list, _, err := readPrompts(c, src.Tokenizer)
	if err != nil {
		return decode.Config{}, err
	}
	budgets, err := budgetsOf(c)
	if err != nil {
		return decode.Config{}, err
	}
	cfg := decode.Config{
		Prompts: list, Methods: s.methods, Configs: s.configs, Lenient: s.all,
		Budgets: budgets, BudgetFormat: budgetFormat(c),
		MaxNewTokens: c.Int("max-new-tokens"), FollowWhole: !c.IsSet("max-new-tokens"), IgnoreEOS: c.Bool("ignore-eos"),
		Score: c.String("score"), Batch: givenBatch(c), DecodeEvery: c.Int("decode-every"),
		Place: decode.Place(c.String("compress-at")), Formats: formatsOf(c), EqualBytes: c.Bool("equal-bytes"),
		Warn: func(text string) { warnf(c, "%s", text) },
	}
	if tok := src.Tokenizer; tok != nil {
		cfg.Encode = func(text string) []int32 { return tok.Encode(text, false) }
		cfg.Decode = func(ids []int32) string { return tok.Decode(ids, true) }
	}
	cfg = cfg.WithoutUnusable(&src.Config)
	if err := cfg.Check(&src.Config); err != nil {
		return cfg, err
	}
	if c.String("batch") == "auto" {
		cfg.Batch, err = autoCaches(c, src, &cfg)
	}
	return cfg, err
}

// resultsOrigin says what results rest on, so that a file of them can be cited.
type resultsOrigin struct {
	Model         string `json:"model"`
	ModelRevision string `json:"model_revision,omitempty"` // commit of a model of the hub
	ModelSHA256   string `json:"model_sha256"`
	PromptsSHA256 string `json:"prompts_sha256"`
	Program       string `json:"program"`
}

// originOfResults hashes the checkpoint's files, which can take seconds.
func originOfResults(src *capture.Source, cfg *decode.Config) (resultsOrigin, error) {
	h, err := capture.NewHeader(src, dumps.Plan{}, cfg.Prompts, dumps.Manifest{Program: "attnscope " + version()})
	return resultsOrigin{
		Model: h.Model.ID, ModelRevision: h.Manifest.ModelRevision, ModelSHA256: h.Model.SHA256,
		PromptsSHA256: h.Manifest.PromptsSHA256, Program: h.Manifest.Program,
	}, err
}

// addTo adds the columns of the origin to a table, and the data set of the results, * if
// there are several.
func (o resultsOrigin) addTo(t *table.Table, results []decode.Result) {
	dataset := results[0].Dataset
	if slices.ContainsFunc(results, func(r decode.Result) bool { return r.Dataset != dataset }) {
		dataset = "*"
	}
	t.Columns = append(slices.Clone(t.Columns), "dataset", "model", "model_revision", "model_sha256", "prompts_sha256", "program")
	for i := range t.Rows {
		t.Rows[i] = append(t.Rows[i], dataset, o.Model, o.ModelRevision, o.ModelSHA256, o.PromptsSHA256, o.Program)
	}
}

// printResults writes a JSON line for each prompt and cache as it is decoded.
func printResults(ctx context.Context, w io.Writer, cfg decode.Config, from resultsOrigin) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return decode.Run(ctx, cfg, func(r decode.Result) error {
		return enc.Encode(struct {
			decode.Result
			resultsOrigin
		}{r, from})
	})
}
