package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
)

// interruptedError is the error of a run that the user stopped, such as by Ctrl-C.
type interruptedError struct{ error }

func (e *interruptedError) Error() string {
	cause := context.Canceled.Error()
	place := strings.TrimSuffix(strings.TrimSuffix(e.error.Error(), cause), ": ")
	if place == "" {
		return "interrupted"
	}
	return "interrupted: " + place
}

func (e *interruptedError) Unwrap() error { return e.error }

// explained returns an action whose error, if the user stopped it, says that it was
// interrupted and what is kept.
func explained(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := action(c)
		if c.Context.Err() == nil || !errors.Is(err, context.Canceled) {
			return err
		}
		var hinted interface{ Hint() string }
		if kept := keptBy(c); kept != "" && !errors.As(err, &hinted) {
			err = hintf(err, "%s", kept)
		}
		return &interruptedError{err}
	}
}

// keptBy says which files of a verb are kept after an interruption; empty: the verb writes
// no files. It covers all verbs, except those whose errors have a hint of their own:
// submit, whose jobs keep running, and reproduce.
func keptBy(c *cli.Context) string {
	out := c.String("o")
	switch c.Command.Name {
	case "capture":
		if c.Bool("dry-run") {
			return ""
		}
		return keptCapture(c)
	case "demo":
		return keptPrompts(filepath.Join(out, "run.attn"), "the same command")
	case "heatmap":
		return fmt.Sprintf("the figures that were finished are in %s; the same command with --force draws all figures", out)
	case "pull":
		return "what was fetched is kept; the same command continues"
	case "repair":
		return c.Args().First() + " is kept as it was"
	case "submit":
		return "no job was submitted"
	}
	if out == "" || out == "-" {
		return ""
	}
	if _, err := os.Stat(out); err == nil {
		return out + " is kept as it was"
	}
	return "nothing is kept: " + out + " was not written"
}

// keptCapture says what a capture keeps that was interrupted or has failed.
func keptCapture(c *cli.Context) string {
	kept := keptPrompts(c.String("o"), "the same command with --resume")
	if kept != nothingKept || c.String("batch") == "1" {
		return kept
	}
	several := "several"
	if n := givenBatch(c); n > 1 {
		several = fmt.Sprintf("up to %d", n)
	}
	return fmt.Sprintf("%s: %s prompts run together; with --batch 1, each is kept before the next one starts", kept, several)
}

// nothingKept says that a capture kept nothing.
const nothingKept = "no prompt was finished, so nothing is kept"

// keptPrompts says what a capture into out keeps, and which command continues it.
func keptPrompts(out, again string) string {
	r, err := dumps.Open(out + ".partial")
	if err == nil {
		defer r.Close()
		return fmt.Sprintf("%s holds the finished prompts (%d); %s continues it", r.Path(), len(r.Prompts()), again)
	}
	if _, err := os.Stat(out); err == nil {
		return out + " is kept as it was"
	}
	return nothingKept
}
