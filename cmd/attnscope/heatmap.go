package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/viz/figures"
)

func heatmapCommand() *cli.Command {
	return &cli.Command{
		Name:      "heatmap",
		Usage:     "draw a figure a layer, vote over generation, and summaries of hit rates",
		ArgsUsage: "RUN.attn... -o DIR",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "folder for the figures, `DIR`"},
			&cli.StringFlag{Name: "prompt", Usage: "`ID` of the prompt, or all (default: the first)"},
			&cli.StringFlag{Name: "layers", Value: "all", Usage: "layers drawn: all or `LIST` such as 0,3,7-9"},
			&cli.IntFlag{Name: "window", Value: hitrate.PaperWindow, Usage: "observation window, `ROWS`"},
			&cli.Float64Flag{Name: "top", Value: hitrate.PaperTop, Usage: "share of the prefix that is kept, `P`"},
			&cli.Float64Flag{Name: "theta", Value: hitrate.PaperTheta, Usage: "a weight strictly above `T` is significant"},
			&cli.StringFlag{Name: "format", Value: "png,svg", Usage: "png, svg or both"},
		},
		Action: func(c *cli.Context) error {
			if !c.Args().Present() || c.String("o") == "" {
				return usagef("heatmap: name at least one dump, and a folder with -o DIR")
			}
			cfg := figures.HeatmapConfig{
				Prompt: c.String("prompt"), Window: c.Int("window"), Top: c.Float64("top"), Theta: c.Float64("theta"),
				Formats: strings.Split(c.String("format"), ","), Origin: origin(c.Args().Slice()...), Warn: func(text string) { notef(c, "%s", text) },
			}
			for _, f := range cfg.Formats {
				if !slices.Contains([]string{"png", "svg"}, f) {
					return usagef("--format %q: want png, svg or png,svg", c.String("format"))
				}
			}
			if cfg.Window < 1 {
				return usagef("--window %d: want 1 or more", cfg.Window)
			}
			r, err := openDump(c, c.Args().First())
			if err != nil {
				return err
			}
			layers := r.Header().Model.Layers
			r.Close()
			if c.String("layers") != "all" {
				if cfg.Layers, err = parseList("layers", c.String("layers"), layers); err != nil {
					return err
				}
			}
			written, err := figures.Heatmaps(c.Context, c.Args().Slice(), c.String("o"), cfg)
			if err != nil {
				return err
			}
			notef(c, "%d figures in %s", len(written), c.String("o"))
			return nil
		},
	}
}
