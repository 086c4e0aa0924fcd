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
	preset := c.String("preset")
	if preset == "" {
		preset = "paper"
	}
	cfg, err := analysis.HitRatePreset(preset)
	if err != nil {
		return cfg, usagef("--%v", err)
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
	cfg.Average = analysis.Average(c.String("average"))
	cfg.Generation = analysis.Generation(c.String("generation"))
	cfg.SkipFirst = c.Int("skip-first")
	cfg.Kernel = c.Int("kernel")
	cfg.Pooling = snapkv.Pooling(c.String("pooling"))
	cfg.Seed = c.Uint64("seed")
	if cfg.By, err = analysis.ParseBy(c.String("by")); err != nil {
		return cfg, usagef("--%v", err)
	}
	if err := cfg.Check(); err != nil {
		return cfg, usagef("--%v", err)
	}
	return cfg, nil
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
