package main

import (
	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
)

func mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "join dumps of one model and plan",
		ArgsUsage: "A.attn B.attn... -o ALL.attn",
		Description: "Merge copies the complete prompts of all dumps into one, without recompressing them. The dumps must\n" +
			"have been captured with the same model and the same recording flags, such as the shards of one\n" +
			"prompt set.",
		Flags: []cli.Flag{
			outputFlag("write the merged dump to `ALL.attn`"),
			forceFlag,
		},
		Action: runMerge,
	}
}

func runMerge(c *cli.Context) error {
	out := c.String("o")
	switch {
	case !c.Args().Present():
		return noDump("merge")
	case out == "":
		return hintf(usagef("merge: no output given"), "name the merged dump with -o ALL.attn")
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	for _, path := range c.Args().Slice() { // prints warnings: only complete prompts are merged
		r, err := openDump(c, path)
		if err != nil {
			return err
		}
		r.Close()
	}
	return dumps.Merge(c.Context, out, c.Args().Slice(), c.Bool("force"))
}
