package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/viz/figures"
)

func heatmapCommand() *cli.Command {
	return &cli.Command{
		Name:      "heatmap",
		Usage:     "draw a heatmap of each layer, and summaries of the hit rates",
		ArgsUsage: "RUN.attn... -o DIR",
		Description: "A layer's figure shows what the observation window votes for, what each reply token attends to, and\n" +
			"where they agree. The summaries show hit rates by layer and head and by layer and window.",
		Flags: []cli.Flag{
			outputFlag("write the figures to folder `DIR`"),
			&cli.StringFlag{
				Name: "prompt", DefaultText: "the first",
				Usage: "draw the layers of the prompt with `ID`; all: of every prompt",
			},
			&cli.StringFlag{Name: "layers", Value: "all", Usage: "draw these layers: all or `LIST` such as 0,3,7-9"},
			oneWindowFlag, oneTopFlag, oneThetaFlag,
			&cli.StringFlag{Name: "format", Value: "png,svg", Usage: "png, svg or both, separated by a comma"},
		},
		Action: runHeatmap,
	}
}

func runHeatmap(c *cli.Context) error {
	out := c.String("o")
	switch {
	case !c.Args().Present():
		return noDump("heatmap")
	case out == "":
		return hintf(usagef("heatmap: no output given"), "name a folder with -o DIR")
	}
	cfg := figures.HeatmapConfig{
		Prompt: c.String("prompt"), Window: c.Int("window"), Top: c.Float64("top"), Theta: c.Float64("theta"),
		Formats: strings.Split(c.String("format"), ","), Origin: origin(c, c.Args().Slice()...),
		Warn: func(text string) { notef(c, "%s", text) },
	}
	for _, format := range cfg.Formats {
		if !slices.Contains([]string{"png", "svg"}, format) {
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
	written, err := figures.Heatmaps(c.Context, c.Args().Slice(), out, cfg)
	if err != nil {
		return err
	}
	notef(c, "%s in %s", count(len(written), "figure"), out)
	return nil
}
