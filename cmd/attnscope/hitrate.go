package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
)

func hitrateCommand() *cli.Command {
	return &cli.Command{
		Name:      "hitrate",
		Usage:     "share of the positions a reply attends to that the observation window had voted for",
		ArgsUsage: "RUN.attn...",
		Description: "The last prompt tokens (the observation window) vote for the prefix positions they attend to, and the\n" +
			"positions with the most votes are kept. The hit rate is the share of kept positions among those to\n" +
			"which a reply token gives a weight above --theta. The table also has the hit rates of simple rules\n" +
			"(chance, recent, sinks_recent), the best possible one (oracle), the overlap of both sets and the\n" +
			"kept share of the attention (mass). docs/MEASURES.md defines all columns.\n\n" +
			"To list the ten worst heads:\n\n" +
			"  attnscope hitrate RUN.attn --by layer,head --skip-first 4 --sort hit_rate --first 10",
		Flags: slices.Concat([]cli.Flag{
			&cli.IntSliceFlag{Name: "window", DefaultText: fmt.Sprint(snapkv.Default.Window), Usage: "let the last `ROWS` prompt tokens vote (repeatable)"},
			&cli.Float64SliceFlag{
				Name: "top", DefaultText: "0.05",
				Usage: "keep a share `P` of the prefix, from 0 to 1 (repeatable)",
			},
			&cli.IntSliceFlag{Name: "budget", Usage: "keep `N` positions instead of a share (repeatable)"},
			&cli.Float64SliceFlag{
				Name: "theta", DefaultText: "0.05",
				Usage: "count a weight strictly above `T` as significant (repeatable)",
			},
			&cli.IntFlag{Name: "span", Value: 128, Usage: "with --by span, rate `ROWS` reply tokens together"},
			byFlag,
			&cli.StringFlag{
				Name: "average", Value: "pooled",
				Usage: "average within a prompt: pooled (all hits over all significant weights), or the mean over rows or heads",
			},
			&cli.StringFlag{
				Name: "generation", Value: "rows",
				Usage: "apply --theta to each reply row (rows) or to their mean (mean)",
			},
			&cli.BoolFlag{
				Name:  "same-prefix",
				Usage: "rate all windows on the positions before the largest window, so that their rates can be compared",
			},
			&cli.IntFlag{
				Name: "against", DefaultText: "no comparison",
				Usage: "compare the rates with those of the window of `ROWS`, prompt by prompt: mean difference, interval and p;" +
					" this includes --same-prefix",
			},
			&cli.IntFlag{Name: "skip-first", Usage: "leave out the first `N` positions (attention sinks)"},
			&cli.IntFlag{
				Name: "kernel", Value: 1,
				Usage: "pool the votes over `N` neighboring positions, an odd number; 1: no pooling, as in the paper",
			},
			&cli.StringFlag{Name: "pooling", Value: "avgpool", Usage: "how votes are pooled: avgpool or maxpool"},
			&cli.StringFlag{
				Name: "preset", DefaultText: "paper",
				Usage: "settings that the other flags override: paper (the text of version 1), code or code-exact (the" +
					" authors' scripts)",
			},
			seedFlag("the bootstrap"),
			minSignificantFlag,
			&cli.StringFlag{
				Name: "sort", DefaultText: "the order of layers and heads",
				Usage: "sort the rows by `COLUMN`, the lowest first; rates that rest on fewer than --min-significant positions come last",
			},
			&cli.IntFlag{Name: "first", DefaultText: "all", Usage: "print only the first `N` rows"},
		}, pivotFlags("hit_rate"), tableFlags),
		Action: runHitrate,
	}
}

// rateTableColumns lists the columns that the table of hit rates may have.
func rateTableColumns(c *cli.Context) []string {
	columns := slices.Concat(analysis.KeyColumns, analysis.HitRateColumns, []string{analysis.SinkColumn})
	if c.Int("skip-first") == 0 {
		columns = append(columns, withoutFirst)
	}
	if c.IsSet("against") {
		columns = append(columns, analysis.PairedColumns...)
	}
	return columns
}

// byFlag is the --by of verbs that make tables from dumps.
var byFlag = &cli.StringFlag{
	Name: "by", Value: "layer",
	Usage: "print a row for each of a comma-separated `LIST` of layer, head, prompt, dataset, span; none: one" +
		" row for everything",
}

func runHitrate(c *cli.Context) error {
	if !c.Args().Present() {
		return noDump("hitrate")
	}
	cfg, err := hitrateConfig(c)
	if err != nil {
		return err
	}
	if err := checkTable(c); err != nil {
		return err
	}
	if err := checkPivot(c, rateTableColumns(c), analysis.KeyColumns); err != nil {
		return err
	}
	order, err := rowOrderOf(c)
	if err != nil {
		return err
	}
	if !c.IsSet("window") {
		cfg.Windows[0] = fittingWindow(c, cfg.Windows[0])
	}
	if cfg.Against != 0 && slices.Max(cfg.Windows) == slices.Min(cfg.Windows) {
		err := usagef("--against %d: there is no other window", cfg.Against)
		return hintf(err, "name the window to compare with --window")
	}
	screened := onScreen(c)
	cfgs := screenConfigs(cfg)
	pooled := screened && len(cfg.By) == 0 && !c.IsSet("pivot")
	if pooled {
		cfgs = append(cfgs, layersConfig(cfg))
	}
	bar := newBar(c.App.ErrWriter, "hitrate")
	defer bar.close()
	cfgs[0].Progress = bar.layers
	lists, warnings, err := analysis.HitRatesEach(c.Context, c.Args().Slice(), cfgs...)
	bar.close()
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	s := hitRateScreen{min: c.Int("min-significant"), cfg: cfg, lists: lists, order: order}
	if pooled {
		last := len(lists) - 1
		s.byLayer = lists[last]
		s.lists = lists[:last]
	}
	if err := order.apply(s.lists); err != nil {
		return err
	}
	if !screened {
		warnNotes(c, s.doubts())
		if order.column == withoutFirst {
			notef(c, "%s", sortNote)
		}
	}
	if c.IsSet("pivot") {
		t := s.join(s.lists[askedRates], askedWithoutFirst)
		if t, err = pivoted(c, t, s.keys()); err != nil {
			return err
		}
		if !screened {
			return writeByLayer(c, t, table.Screen{})
		}
		screen, err := s.pivot(c)
		if err != nil {
			return err
		}
		return writeByLayer(c, t, screen)
	}
	if !screened {
		return writeByLayer(c, s.exact(), table.Screen{Values: rateValues})
	}
	t, screen := s.table()
	return writeByLayer(c, t, screen)
}

// hitrateConfig reads the flags. The preset has the settings that no flag gives.
func hitrateConfig(c *cli.Context) (analysis.HitRateConfig, error) {
	preset := c.String("preset")
	if preset == "" {
		preset = "paper"
	}
	cfg, err := analysis.HitRatePreset(preset)
	if err != nil {
		return cfg, usagef("--%w", err)
	}
	if c.IsSet("window") {
		cfg.Windows = distinct(c.IntSlice("window"))
	}
	if c.IsSet("budget") {
		cfg.Tops = nil
		cfg.Budgets = distinct(c.IntSlice("budget"))
	}
	if c.IsSet("top") {
		cfg.Tops = distinct(c.Float64Slice("top"))
	}
	if c.IsSet("theta") {
		cfg.Thetas = distinct(c.Float64Slice("theta"))
	}
	cfg.Span = c.Int("span")
	cfg.Average = analysis.Average(c.String("average"))
	cfg.Generation = analysis.Generation(c.String("generation"))
	cfg.SamePrefix = c.Bool("same-prefix")
	cfg.Windows = slices.Clone(cfg.Windows)
	if c.IsSet("against") {
		if cfg.Against = c.Int("against"); cfg.Against < 1 {
			return cfg, usagef("--against %d: want a window of 1 row or more", cfg.Against)
		}
		cfg.SamePrefix = true
		if !slices.Contains(cfg.Windows, cfg.Against) {
			cfg.Windows = append(cfg.Windows, cfg.Against)
		}
	}
	cfg.SkipFirst = c.Int("skip-first")
	cfg.Kernel = c.Int("kernel")
	cfg.Pooling = snapkv.Pooling(c.String("pooling"))
	cfg.Seed = c.Uint64("seed")
	if n := c.Int("min-significant"); n < 0 {
		return cfg, usagef("--min-significant %d: want 0 or more", n)
	}
	if cfg.By, err = analysis.ParseBy(c.String("by")); err != nil {
		return cfg, usagef("--%w", err)
	}
	if err := cfg.Check(); err != nil {
		return cfg, usagef("--%w", err)
	}
	return cfg, nil
}
