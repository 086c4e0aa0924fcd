package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/export"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write a prompt's attention as .safetensors, .npz, .csv or .parquet",
		ArgsUsage: "RUN.attn -o FILE",
		Description: "The extension of FILE sets the format. Arrays (.safetensors, .npz) hold prompt_rows,\n" +
			"generation_rows, prompt_windows, tokens and what else was recorded, of all layers unless --layer\n" +
			"names one. Tables (.csv, .parquet) have a line per weight: layer, head, phase, row, key, weight.\n" +
			"The key -1 is the learned sink of a head, if the model has such sinks.",
		Flags: []cli.Flag{
			outputFlag("write to `FILE`"),
			&cli.StringFlag{Name: "prompt", DefaultText: "the first", Usage: "export the prompt with `ID`"},
			&cli.IntFlag{
				Name: "layer", Value: -1, DefaultText: "all layers, with names that end in .LAYER",
				Usage: "export only `LAYER`, counted from 0",
			},
			&cli.Float64Flag{Name: "min-weight", Usage: "write only weights above `W` to .csv and .parquet"},
			forceFlag,
		},
		Action: runExport,
	}
}

func runExport(c *cli.Context) error {
	out := c.String("o")
	switch {
	case c.Args().Len() != 1:
		return hintf(usagef("export: %d dumps given, want one", c.Args().Len()), "name one RUN.attn")
	case out == "":
		return hintf(usagef("export: no output given"), "name the file with -o FILE%s", export.Extensions[0])
	case !slices.Contains(export.Extensions, filepath.Ext(out)):
		return usagef("-o %s: want a name that ends in %s", out, strings.Join(export.Extensions, ", "))
	case c.IsSet("layer") && c.Int("layer") < 0:
		return usagef("--layer %d: want 0 or more", c.Int("layer"))
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	r, err := openDump(c, c.Args().First())
	if err != nil {
		return err
	}
	defer r.Close()
	prompt, err := promptIndex(r, c.String("prompt"))
	if err != nil {
		return err
	}
	bar := newBar(c.App.ErrWriter, "export")
	defer bar.close()
	return export.Write(c.Context, out, r, export.Options{
		Prompt: prompt, Layer: c.Int("layer"), MinWeight: float32(c.Float64("min-weight")),
		Progress: func(done, total int) { bar.steps(int64(done), int64(total)) },
	})
}
