package main

import (
	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/viz/report"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "write one offline page with hit rates, figures and explanations",
		ArgsUsage: "RUN.attn... -o report.html",
		Flags: []cli.Flag{
			outputFlag("write the page to `FILE.html`"),
			&cli.StringFlag{
				Name: "prompt", DefaultText: "the first that fits",
				Usage: "draw the layers of the prompt with `ID`",
			},
			oneWindowFlag, oneTopFlag, oneThetaFlag,
			&cli.IntFlag{
				Name: "skip-first", Value: hitrate.Sinks,
				Usage: "show next to each hit rate the one without the first `N` positions (attention sinks)",
			},
			minSignificantFlag,
			forceFlag,
		},
		Action: runReport,
	}
}

func runReport(c *cli.Context) error {
	out := c.String("o")
	cfg := report.Config{
		Window: c.Int("window"), Top: c.Float64("top"), Theta: c.Float64("theta"), Prompt: c.String("prompt"),
		SkipFirst: c.Int("skip-first"), MinSignificant: c.Int("min-significant"),
		Origin: origin(c, c.Args().Slice()...),
	}
	switch {
	case !c.Args().Present():
		return noDump("report")
	case out == "":
		return hintf(usagef("report: no output given"), "name a page with -o FILE.html")
	case cfg.Window < 1:
		return usagef("--window %d: want 1 or more", cfg.Window)
	case !(cfg.Top >= 0 && cfg.Top <= 1):
		return usagef("--top %g: want a share between 0 and 1", cfg.Top)
	case !(cfg.Theta >= 0 && cfg.Theta <= 1):
		return usagef("--theta %g: want a weight between 0 and 1", cfg.Theta)
	case cfg.SkipFirst < 1:
		return usagef("--skip-first %d: want 1 or more", cfg.SkipFirst)
	case cfg.MinSignificant < 0:
		return usagef("--min-significant %d: want 0 or more", cfg.MinSignificant)
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	cfg.Window = fittingWindow(c, cfg.Window)
	bar := newBar(c.App.ErrWriter, "report")
	cfg.Progress = bar.layers
	warnings, err := report.WriteFile(c.Context, out, c.Args().Slice(), cfg)
	bar.close()
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	return err
}
