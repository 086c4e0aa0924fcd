package main

import (
	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/viz/report"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "write one offline page: hit rates with baselines, figures, and what they mean",
		ArgsUsage: "RUN.attn... -o report.html",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the page, `FILE.html`"},
			&cli.StringFlag{Name: "prompt", Usage: "`ID` of the prompt whose layers are drawn (default: the first that fits)"},
			&cli.IntFlag{Name: "window", Value: hitrate.PaperWindow, Usage: "observation window, `ROWS`"},
			&cli.Float64Flag{Name: "top", Value: hitrate.PaperTop, Usage: "share of the prefix that is kept, `P`"},
			&cli.Float64Flag{Name: "theta", Value: hitrate.PaperTheta, Usage: "a weight strictly above `T` is significant"},
			forceFlag,
		},
		Action: func(c *cli.Context) error {
			out := c.String("o")
			cfg := report.Config{
				Window: c.Int("window"), Top: c.Float64("top"), Theta: c.Float64("theta"), Prompt: c.String("prompt"),
				Origin: origin(c.Args().Slice()...),
			}
			switch {
			case !c.Args().Present() || out == "":
				return usagef("report: name at least one dump, and a page with -o FILE.html")
			case cfg.Window < 1:
				return usagef("--window %d: want 1 or more", cfg.Window)
			case !(cfg.Top >= 0 && cfg.Top <= 1):
				return usagef("--top %g: want a share between 0 and 1", cfg.Top)
			case !(cfg.Theta >= 0 && cfg.Theta <= 1):
				return usagef("--theta %g: want a weight between 0 and 1", cfg.Theta)
			}
			if err := checkOutput(out, c.Bool("force"), false); err != nil {
				return err
			}
			warnings, err := report.WriteFile(c.Context, out, c.Args().Slice(), cfg)
			for _, w := range warnings {
				warnf(c, "%s", w)
			}
			return err
		},
	}
}
