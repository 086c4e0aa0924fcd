package main

import (
	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
)

func repairCommand() *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "recover the complete prompts of a damaged or unfinished dump",
		ArgsUsage: "RUN.attn",
		Description: "Repair rebuilds the dump from its complete, undamaged prompts. A damaged file is kept as\n" +
			"RUN.attn.damaged. The command that made the dump, with --resume, records the missing prompts again.",
		Action: runRepair,
	}
}

func runRepair(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return hintf(usagef("repair: %d dumps given, want one", c.Args().Len()), "name one RUN.attn")
	}
	done, err := dumps.Repair(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	for _, p := range done.Lost {
		warnf(c, "%s: %s; the prompt is left out", done.Path, p)
	}
	if done.Kept != "" {
		warnf(c, "the damaged file is kept as %s", done.Kept)
	}
	if done.Whole {
		notef(c, "%s: %s, nothing to repair", done.Path, count(done.Prompts, "prompt"))
		return nil
	}
	notef(c, "%s: complete, with %s; capture --resume adds what is missing", done.Path, count(done.Prompts, "prompt"))
	return nil
}
