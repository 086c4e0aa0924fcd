package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture/model"
)

func modelsCommand() *cli.Command {
	return &cli.Command{
		Name:  "models",
		Usage: "list the architectures that are supported; pull MODEL fetches one",
		Subcommands: []*cli.Command{{
			Name:      "pull",
			Usage:     "fetch a model into the shared cache and print where it is",
			ArgsUsage: "MODEL",
			Flags:     []cli.Flag{revisionFlag, offlineFlag},
			Action: func(c *cli.Context) error {
				if c.Args().Len() != 1 {
					return usagef("models pull: name one model")
				}
				path, err := resolveModel(c, c.Args().First())
				if err != nil {
					return err
				}
				fmt.Fprintln(c.App.Writer, path)
				return nil
			},
		}},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("models: unknown verb %q; attnscope models --help lists them", c.Args().First())
			}
			for _, a := range model.Architectures {
				fmt.Fprintf(c.App.Writer, "%-24s %s\n", a.Name, a.About)
			}
			return nil
		},
	}
}
