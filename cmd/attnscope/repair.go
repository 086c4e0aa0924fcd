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
			"RUN.attn.damaged, and the dump says what it lacks. If no prompt can be saved, the file stays as it is\n" +
			"and the exit code is 1. The command that made the dump, with --resume, records the missing prompts\n" +
			"again.",
		Action: runRepair,
	}
}

func runRepair(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return hintf(usagef("repair: %d dumps given, want one", c.Args().Len()), "name one RUN.attn")
	}
	bar := newBar(c.App.ErrWriter, "repair")
	done, err := dumps.Repair(c.Context, c.Args().First(), bar.steps)
	bar.close()
	if err != nil {
		for _, p := range done.Lost {
			warnf(c, "%s: %s", c.Args().First(), p)
		}
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
	notef(c, "%s: repaired, with %s", done.Path, count(done.Prompts, "prompt"))
	for _, what := range done.Lacks {
		warnf(c, "%s: it lacks %s; capture --resume adds what is missing", done.Path, what)
	}
	return nil
}
