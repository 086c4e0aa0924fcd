package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/snapkv"
)

func hitrateCommand() *cli.Command {
	return &cli.Command{
		Name:      "hitrate",
		Usage:     "share of what the reply attends to that the observation window had voted for",
		ArgsUsage: "RUN.attn...",
		Flags: slices.Concat([]cli.Flag{
			&cli.IntSliceFlag{Name: "window", Usage: "observation window, `ROWS` (repeatable; default 32)"},
			&cli.Float64SliceFlag{Name: "top", Usage: "share of the prefix that is kept, `P` (repeatable; default 0.05)"},
			&cli.IntSliceFlag{Name: "budget", Usage: "positions that are kept, `N`, instead of a share (repeatable)"},
			&cli.Float64SliceFlag{Name: "theta", Usage: "a weight strictly above `T` is significant (repeatable; default 0.05)"},
			&cli.IntFlag{Name: "span", Value: 128, Usage: "reply rows rated together with --by span, `ROWS`"},
			&cli.StringFlag{Name: "by", Value: "layer", Usage: "a row for each: comma `LIST` of layer, head, prompt, dataset, span"},
			&cli.StringFlag{Name: "average", Value: "pooled", Usage: "a prompt's average: pooled, rows or heads"},
			&cli.StringFlag{Name: "generation", Value: "rows", Usage: "threshold each generated row, or their mean: rows or mean"},
			&cli.IntFlag{Name: "skip-first", Usage: "leave the first `N` positions (sinks) out"},
			&cli.IntFlag{Name: "kernel", Value: 1, Usage: "pool the votes over `N` positions (odd; 1: off, as in the paper)"},
			&cli.StringFlag{Name: "pooling", Value: "avgpool", Usage: "avgpool or maxpool"},
			&cli.StringFlag{Name: "preset", Usage: "paper (v1's text), code or code-exact (the authors' scripts)"},
			&cli.Uint64Flag{Name: "seed", Usage: "`SEED` of the bootstrap"},
		}, tableFlags),
		Action: runHitrate,
	}
}

// hitrateConfig reads the flags; a preset gives what they leave open.
func hitrateConfig(c *cli.Context) (analysis.HitRateConfig, error) {
	cfg := analysis.Paper
	switch p := c.String("preset"); p {
	case "", "paper":
	case "code", "code-exact":
		cfg.Windows, cfg.TopOf, cfg.Exact = []int{128}, "prompt", p == "code-exact"
	default:
		return cfg, usagef("--preset %q: want paper, code or code-exact", p)
	}
	if c.IsSet("window") {
		cfg.Windows = c.IntSlice("window")
	}
	if c.IsSet("budget") {
		cfg.Tops, cfg.Budgets = nil, c.IntSlice("budget")
	}
	if c.IsSet("top") {
		cfg.Tops = c.Float64Slice("top")
	}
	if c.IsSet("theta") {
		cfg.Thetas = c.Float64Slice("theta")
	}
	cfg.Span = c.Int("span")
	cfg.Average, cfg.Generation, cfg.SkipFirst = c.String("average"), c.String("generation"), c.Int("skip-first")
	cfg.Kernel = c.Int("kernel")
	cfg.Pooling = snapkv.Pooling(c.String("pooling"))
	cfg.Seed = c.Uint64("seed")
	for _, w := range cfg.Windows {
		if w < 1 {
			return cfg, usagef("--window %d: want 1 or more", w)
		}
	}
	for _, p := range cfg.Tops {
		if !(p >= 0 && p <= 1) {
			return cfg, usagef("--top %g: want a share between 0 and 1", p)
		}
	}
	for _, k := range cfg.Budgets {
		if k < 0 {
			return cfg, usagef("--budget %d: want 0 or more", k)
		}
	}
	if err := checkThetas(cfg.Thetas); err != nil {
		return cfg, err
	}
	var err error
	if cfg.By, err = byKeys(c); err != nil {
		return cfg, err
	}
	switch {
	case cfg.Span < 1:
		return cfg, usagef("--span %d: want 1 or more", cfg.Span)
	case cfg.SkipFirst < 0:
		return cfg, usagef("--skip-first %d: want 0 or more", cfg.SkipFirst)
	case cfg.Kernel < 1 || cfg.Kernel%2 == 0:
		return cfg, usagef("--kernel %d: want an odd number", cfg.Kernel)
	case cfg.Pooling.Check() != nil:
		return cfg, usagef("--%v", cfg.Pooling.Check())
	case !slices.Contains([]string{"pooled", "rows", "heads"}, cfg.Average):
		return cfg, usagef("--average %q: want pooled, rows or heads", cfg.Average)
	case !slices.Contains([]string{"rows", "mean"}, cfg.Generation):
		return cfg, usagef("--generation %q: want rows or mean", cfg.Generation)
	}
	return cfg, nil
}

// checkThetas refuses thresholds that no weight can be compared with.
func checkThetas(list []float64) error {
	for _, theta := range list {
		if !(theta >= 0 && theta <= 1) {
			return usagef("--theta %g: want a weight between 0 and 1", theta)
		}
	}
	return nil
}

func runHitrate(c *cli.Context) error {
	if !c.Args().Present() {
		return usagef("hitrate: no dump: name at least one RUN.attn")
	}
	cfg, err := hitrateConfig(c)
	if err != nil {
		return err
	}
	if err := checkTable(c); err != nil {
		return err
	}
	rows, warnings, err := analysis.HitRates(c.Context, c.Args().Slice(), cfg)
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	return writeTable(c, analysis.HitRateTable(rows))
}
