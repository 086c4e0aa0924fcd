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
		Description: "The configuration, the tokenizer and the headers of the weights are fetched and checked first, so\n" +
			"that a model that is not supported fails at once; attnscope info -m describes it without fetching\n" +
			"the weights. An interrupted download is continued, and every file is compared with its hash. The\n" +
			"environment variables HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE work as in\n" +
			"the hub's own client.",
		Flags:  []cli.Flag{revisionFlag, offlineFlag, ignoreConfigFlag},
		Action: runPull,
	}
}

func runPull(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return hintf(usagef("pull: %d models given, want one", c.Args().Len()), "name a hub id (OWNER/NAME) or smollm2-135m")
	}
	src, err := openNamed(c, c.Args().First(), "cpu")
	if err != nil {
		return err
	}
	defer src.Close()
	if err := src.Fetch(c.Context); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, src.Path())
	return nil
}
