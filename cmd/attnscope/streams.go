package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/attnscope/attnscope/internal/visible"
)

// resultWriter is stdout. It escapes control characters, since prompts, models and
// templates choose some of the text, and remembers the first failure.
type resultWriter struct {
	out     io.Writer
	escaped visible.Writer
	err     error
}

func newResultWriter(stdout io.Writer) *resultWriter {
	w := &resultWriter{out: stdout}
	w.escaped.W = exactWriter{w}
	return w
}

func (w *resultWriter) Write(b []byte) (int, error) { return w.escaped.Write(b) }

// finish writes what is left and returns the first failure.
func (w *resultWriter) finish() error {
	_ = w.escaped.Flush()
	if w.err != nil {
		return fmt.Errorf("stdout: %w", w.err)
	}
	return nil
}

// terminal reports whether stdout is a terminal.
func (w *resultWriter) terminal() bool { return isTerminal(w.out) }

// exactWriter writes to stdout without escapes.
type exactWriter struct{ results *resultWriter }

func (w exactWriter) Write(b []byte) (int, error) {
	n, err := w.results.out.Write(b)
	if err != nil && w.results.err == nil {
		w.results.err = err
	}
	return n, err
}

// exactOutput returns stdout for data that is to be read back: it is written as it is,
// except to a terminal.
func exactOutput(c *cli.Context) io.Writer {
	if results, ok := c.App.Writer.(*resultWriter); ok && !results.terminal() {
		return exactWriter{results}
	}
	return c.App.Writer
}

// screenOf returns the terminal that stderr writes to, or nil if stderr is not a
// terminal.
func screenOf(stderr io.Writer) *os.File {
	if messages, ok := stderr.(*visible.Writer); ok {
		return screenOf(messages.W)
	}
	if isTerminal(stderr) {
		return stderr.(*os.File)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
