package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "fetch a model into the hub's shared cache and print its path",
		ArgsUsage: "OWNER/NAME | OWNER/NAME:FILE.gguf | smollm2-135m",
		Description: "An interrupted download is continued, and every file is compared with its hash. The environment\n" +
			"variables HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE work as in the hub's own\n" +
			"client.",
		Flags:  []cli.Flag{revisionFlag, offlineFlag},
		Action: runPull,
	}
}

func runPull(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return hintf(usagef("pull: %d models given, want one", c.Args().Len()), "name a hub id (OWNER/NAME) or smollm2-135m")
	}
	path, err := resolveModel(c, c.Args().First())
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, path)
	return nil
}
