package main

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
	"github.com/attnscope/attnscope/viz/figures"
)

func heatmapCommand() *cli.Command {
	return &cli.Command{
		Name:      "heatmap",
		Usage:     "draw a heatmap of each layer, and summaries of the hit rates",
		ArgsUsage: "RUN.attn... -o DIR",
		Description: "A layer's figure shows what the observation window votes for, what each reply token attends to, and\n" +
			"where they agree. The summaries show hit rates by layer and head and by layer and window, once with\n" +
			"all positions and once without the first four; with --skip-first N, only without the first N.\n\n" +
			"For a paper with two columns: --style paper --width 3.3in --format pdf.",
		Flags: []cli.Flag{
			outputFlag("write the figures to folder `DIR`"),
			&cli.StringFlag{
				Name: "prompt", DefaultText: "the first",
				Usage: "draw the layers of the prompt with `ID`; all: of every prompt",
			},
			&cli.StringFlag{Name: "layers", Value: "all", Usage: "draw these layers: all or `LIST` such as 0,3,7-9"},
			oneWindowFlag, oneTopFlag, oneThetaFlag,
			&cli.IntFlag{Name: "skip-first", Usage: "leave the first `N` positions (attention sinks) out of all hit rates"},
			minSignificantFlag,
			&cli.StringFlag{Name: "format", Value: "png,svg", Usage: "a comma-separated `LIST` of " + strings.Join(viz.Formats, ", ")},
			&cli.StringFlag{
				Name: "width", DefaultText: "the figure's own",
				Usage: "draw the figures with this `WIDTH`, such as 3.3in or 84mm",
			},
			&cli.IntFlag{Name: "dpi", Value: 200, Usage: "resolution of PNG files, in dots per inch"},
			&cli.StringFlag{Name: "cmap", Value: "viridis", Usage: "color map: " + strings.Join(viz.ColorMaps(), ", ")},
			&cli.StringFlag{Name: "style", Usage: "paper: without title and caption, which the paper has", DefaultText: "with both"},
			forceFlag,
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
		SkipFirst: c.Int("skip-first"), MinSignificant: c.Int("min-significant"), Replace: c.Bool("force"),
		Formats: strings.Split(c.String("format"), ","), Origin: origin(c, c.Args().Slice()...),
		Warn: func(text string) { notef(c, "%s", text) },
	}
	for _, format := range cfg.Formats {
		if err := words.Check("format", format, viz.Formats); err != nil {
			return usagef("--%w", err)
		}
	}
	var err error
	if cfg.Style, err = styleOf(c); err != nil {
		return err
	}
	if cfg.SkipFirst < 0 || cfg.MinSignificant < 0 {
		return usagef("--skip-first %d, --min-significant %d: want 0 or more", cfg.SkipFirst, cfg.MinSignificant)
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
	cfg.Window = fittingWindow(c, cfg.Window)
	bar := newBar(c.App.ErrWriter, "hit rates")
	cfg.Progress = bar.layers
	written, err := figures.Heatmaps(c.Context, c.Args().Slice(), out, cfg)
	bar.close()
	if errors.Is(err, fs.ErrExist) {
		return hintf(err, "use --force to replace figures, or name another folder with -o")
	}
	if err != nil {
		return err
	}
	notef(c, "%s in %s", count(len(written), "figure"), out)
	return nil
}

// styleOf reads the flags that say how figures are drawn.
func styleOf(c *cli.Context) (viz.Style, error) {
	style := viz.Style{DPI: c.Int("dpi"), ColorMap: c.String("cmap")}
	switch c.String("style") {
	case "":
	case "paper":
		style.Paper = true
	default:
		return style, usagef("--style %q: want paper", c.String("style"))
	}
	if c.IsSet("width") {
		width, err := inches(c.String("width"))
		if err != nil {
			return style, err
		}
		style.Width = width
	}
	if c.IsSet("dpi") && style.DPI < 1 {
		return style, usagef("--dpi %d: want 30 to 2400", style.DPI)
	}
	if err := style.Check(); err != nil {
		return style, usagef("--%w", err)
	}
	return style, nil
}

// inches reads a length with a unit: in, cm, mm or pt (72 per inch).
func inches(text string) (float64, error) {
	for unit, perInch := range map[string]float64{"in": 1, "cm": 2.54, "mm": 25.4, "pt": 72} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(number), 64); err == nil && v > 0 {
				return v / perInch, nil
			}
		}
	}
	return 0, usagef("--width %q: want a length such as 3.3in, 84mm, 8.4cm or 240pt", text)
}
