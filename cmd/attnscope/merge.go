package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/visible"
)

func mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "join dumps of one model and plan",
		ArgsUsage: "A.attn B.attn... -o ALL.attn",
		Description: "Merge copies the complete prompts of all dumps into one, without recompressing them. The dumps must\n" +
			"have been captured with the same model and the same recording flags, such as the shards of one\n" +
			"prompt set. If the merged dump would lack prompts, because a shard is missing or was cut, merge says\n" +
			"so and exits with 1; with --partial it merges what there is, and the dump says what it lacks.",
		Flags: []cli.Flag{
			outputFlag("write the merged dump to `ALL.attn`"),
			boolFlag("partial", "merge dumps that lack prompts of their set"),
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
	bar := newBar(c.App.ErrWriter, "merge")
	err := dumps.Merge(c.Context, out, c.Args().Slice(), dumps.MergeOptions{
		Force: c.Bool("force"), Partial: c.Bool("partial"),
		Warn:     func(text string) { warnf(c, "%s", visible.Line(text)) },
		Progress: bar.bytes,
	})
	bar.close()
	var incomplete *dumps.IncompleteError
	if errors.As(err, &incomplete) {
		return hintf(err, "merge the missing shards too, or finish a dump that was cut with attnscope capture --resume; "+
			"--partial merges what there is")
	}
	if err != nil || !c.Bool("partial") {
		return err
	}
	merged, err := openDump(c, out) // warns of what it lacks
	if err != nil {
		return err
	}
	return merged.Close()
}
