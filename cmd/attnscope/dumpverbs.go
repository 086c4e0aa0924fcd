package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
)

// openDump opens a dump and passes its warnings on.
func openDump(c *cli.Context, path string) (*dumps.Reader, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	for _, w := range r.Warnings() {
		warnf(c, "%s", w)
	}
	return r, nil
}

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check a dump: checksums, row sums, causality; exit 1 and the place on damage",
		ArgsUsage: "RUN.attn...",
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usagef("verify: name a dump")
			}
			bad := false
			for _, path := range c.Args().Slice() {
				n := 0
				ok, err := dumps.Verify(c.Context, path, func(p dumps.Problem) {
					n++
					fmt.Fprintf(c.App.Writer, "%s: %s\n", path, p)
				})
				if err != nil {
					return err
				}
				if ok {
					fmt.Fprintf(c.App.Writer, "%s: ok\n", path)
				} else {
					fmt.Fprintf(c.App.ErrWriter, "attnscope: %s: damaged in %d places\n", path, n)
					bad = true
				}
			}
			if bad {
				return errQuiet
			}
			return nil
		},
	}
}

func repairCommand() *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "rebuild the index of a cut, unfinished or damaged dump; leave out the prompts that are damaged",
		ArgsUsage: "RUN.attn",
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usagef("repair: name one dump")
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
				notef(c, "%s: %d prompts, nothing to repair", done.Path, done.Prompts)
			} else {
				notef(c, "%s: complete, with %d prompts; capture --resume adds what is missing", done.Path, done.Prompts)
			}
			return nil
		},
	}
}

func mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "join dumps of one model and plan, without recompression",
		ArgsUsage: "A.attn B.attn... -o ALL.attn",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the dump to write, `ALL.attn`"},
			forceFlag,
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() < 1 || c.String("o") == "" {
				return usagef("merge: name the dumps to join, and the result with -o")
			}
			if err := checkOutput(c.String("o"), c.Bool("force"), false); err != nil {
				return err
			}
			for _, path := range c.Args().Slice() { // for its warnings: only complete prompts are merged
				r, err := openDump(c, path)
				if err != nil {
					return err
				}
				r.Close()
			}
			return dumps.Merge(c.Context, c.String("o"), c.Args().Slice(), c.Bool("force"))
		},
	}
}
