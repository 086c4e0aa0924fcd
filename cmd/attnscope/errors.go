package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/internal/words"
)

// usageError is a mistake in the command line: exit code 2.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// usagef makes an error that ends the program with exit code 2. Hints of an error that it
// wraps with %w are printed, too.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// checkWord checks that a flag has one of a few words.
func checkWord(c *cli.Context, flag string, list []string) error {
	if err := words.Check(flag, c.String(flag), list); err != nil {
		return usagef("--%w", err)
	}
	return nil
}

// errQuiet ends the program with exit code 1 and without a message, after the
// verb has printed what is wrong.
var errQuiet = errors.New("failed")

// hintError is an error with advice on what to do about it.
type hintError struct {
	error
	hint string
}

func (e *hintError) Hint() string  { return e.hint }
func (e *hintError) Unwrap() error { return e.error }

// hintf adds a hint to err. It is printed on a line of its own.
func hintf(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// printError prints an error and its hint, and returns the exit code.
func printError(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, errQuiet) {
		fmt.Fprintf(stderr, "attnscope: %v\n", err)
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintf(stderr, "attnscope: hint: %s\n", hinted.Hint())
	}
	var misuse *usageError
	if errors.As(err, &misuse) {
		return exitUsage
	}
	return exitFailed
}

// warnf prints a warning to stderr: a doubt about a sound result.
func warnf(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.ErrWriter, "attnscope: warning: "+format+"\n", args...)
}

// notef prints a line of progress or advice to stderr.
func notef(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.ErrWriter, "attnscope: "+format+"\n", args...)
}
