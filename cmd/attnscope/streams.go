package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/attnscope/attnscope/internal/visible"
)

// resultWriter is stdout. It escapes control characters, since prompts, models and
// templates choose some of the text, and remembers the first failure.
type resultWriter struct {
	out     io.Writer
	escaped visible.Writer
	screen  *screen // stderr, which may be the same terminal; nil if it is none
	err     error
}

func newResultWriter(stdout io.Writer, screen *screen) *resultWriter {
	w := &resultWriter{out: stdout, screen: screen}
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
	if w.results.terminal() {
		w.results.screen.clear()
	}
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

// screen is stderr if that is a terminal. Lines that are written to it while it shows a
// progress bar take the place of the bar, which appears again below them.
type screen struct {
	file  *os.File
	mu    sync.Mutex
	shown *bar // nil if there is none
}

// withBars returns the writer for messages to stderr: a screen if stderr is a terminal.
func withBars(stderr io.Writer) io.Writer {
	if isTerminal(stderr) {
		return &screen{file: stderr.(*os.File)}
	}
	return stderr
}

// Write writes a message.
func (s *screen) Write(b []byte) (int, error) {
	s.clear()
	return s.file.Write(b)
}

// clear removes the bar, if there is one. s may be nil.
func (s *screen) clear() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown != nil {
		s.shown.clear()
	}
}

// show makes b the bar of the screen.
func (s *screen) show(b *bar) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = b
}

// hide ends show.
func (s *screen) hide(b *bar) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown == b {
		s.shown = nil
	}
}

// screenOf returns the screen that stderr writes to, or nil if stderr is not a terminal.
func screenOf(stderr io.Writer) *screen {
	switch w := stderr.(type) {
	case *visible.Writer:
		return screenOf(w.W)
	case *screen:
		return w
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
