package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/export"
	"github.com/attnscope/attnscope/dumps"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write a prompt's attention as .safetensors, .npz, .csv or .parquet, by extension",
		ArgsUsage: "RUN.attn -o FILE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the `FILE` to write"},
			&cli.StringFlag{Name: "prompt", Usage: "`ID` of the prompt (default: the first)"},
			&cli.IntFlag{Name: "layer", Value: -1, Usage: "one `LAYER` (default: all, names ending in .LAYER)"},
			&cli.Float64Flag{Name: "min-weight", Usage: ".csv and .parquet: only weights above `W`"},
			forceFlag,
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 || c.String("o") == "" {
				return usagef("export: name one dump, and the file to write with -o")
			}
			switch {
			case !slices.Contains(export.Extensions, filepath.Ext(c.String("o"))):
				return usagef("-o %s: its extension is none of %s", c.String("o"), strings.Join(export.Extensions, ", "))
			case c.IsSet("layer") && c.Int("layer") < 0:
				return usagef("--layer %d: want 0 or more", c.Int("layer"))
			}
			if err := checkOutput(c.String("o"), c.Bool("force"), false); err != nil {
				return err
			}
			r, err := openDump(c, c.Args().First())
			if err != nil {
				return err
			}
			defer r.Close()
			prompt, err := promptIndex(r, c.Args().First(), c.String("prompt"))
			if err != nil {
				return err
			}
			return export.Write(c.String("o"), r, export.Options{
				Prompt: prompt, Layer: c.Int("layer"), MinWeight: float32(c.Float64("min-weight")),
			})
		},
	}
}

// promptIndex finds a prompt by id; the first where id is empty.
func promptIndex(r *dumps.Reader, path, id string) (int, error) {
	list := r.Prompts()
	if len(list) == 0 {
		return 0, fmt.Errorf("%s: no complete prompt in it", path)
	}
	if id == "" {
		return 0, nil
	}
	for i := range list {
		if list[i].ID == id {
			return i, nil
		}
	}
	return 0, hintf(fmt.Errorf("%s: no prompt %q", path, id), "attnscope info %s lists the prompts; the first is %q", path, list[0].ID)
}
