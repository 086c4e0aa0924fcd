package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
)

// usageError is a mistake in the command line: exit code 2.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// usagef makes an error that ends the program with exit code 2.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// errQuiet ends the program with exit code 1 when all that is to be said has
// been said.
var errQuiet = errors.New("failed")

// hintError carries what the user can do about an error.
type hintError struct {
	error
	hint string
}

func (e *hintError) Hint() string  { return e.hint }
func (e *hintError) Unwrap() error { return e.error }

// hintf adds a hint, printed on a line of its own, to err.
func hintf(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// warnf prints one warning line to stderr.
func warnf(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.ErrWriter, "attnscope: warning: "+format+"\n", args...)
}

// notef prints one line of progress or advice to stderr.
func notef(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.ErrWriter, "attnscope: "+format+"\n", args...)
}
