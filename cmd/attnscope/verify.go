package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/visible"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check dumps for damage",
		ArgsUsage: "RUN.attn...",
		Description: "Verify compares checksums, adds up rows of weights and checks that no position attends to a later\n" +
			"one. It prints each damaged place and exits with 1 if there is any. attnscope repair recovers the\n" +
			"undamaged prompts. Of an undamaged dump it says what it lacks after a merge or a repair.",
		Action: runVerify,
	}
}

// lacksOf describes what an undamaged dump lacks; empty: nothing.
func lacksOf(path string) (string, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	list := r.Lacks()
	if len(list) == 0 {
		return "", nil
	}
	return ", but it lacks " + visible.Line(strings.Join(list, "; ")), nil
}

func runVerify(c *cli.Context) error {
	if !c.Args().Present() {
		return noDump("verify")
	}
	damaged := false
	for _, path := range c.Args().Slice() {
		places := 0
		bar := newBar(c.App.ErrWriter, "verify "+path)
		ok, err := dumps.Verify(c.Context, path, bar.steps, func(p dumps.Problem) {
			places++
			fmt.Fprintf(c.App.Writer, "%s: %s\n", path, p)
		})
		bar.close()
		if err != nil {
			return err
		}
		if ok {
			lacks, err := lacksOf(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "%s: ok%s\n", path, lacks)
			continue
		}
		damaged = true
		notef(c, "%s: damaged in %s", path, count(places, "place"))
	}
	if damaged {
		return errQuiet
	}
	return nil
}
