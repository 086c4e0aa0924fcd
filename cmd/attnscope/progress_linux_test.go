package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/attnscope/attnscope/internal/visible"
)

// TestLinesReplaceTheBar: on a terminal, messages and results are lines of their own while
// a bar is shown, and the bar is gone in the end.
func TestLinesReplaceTheBar(t *testing.T) {
	terminal, written := recordTerminal(t)
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 80}); err != nil {
		t.Fatal(err)
	}
	messages := &visible.Writer{W: withBars(terminal)}
	results := newResultWriter(terminal, screenOf(messages))
	for _, line := range []func(){
		func() { fmt.Fprintln(messages, "attnscope: warning: one") },
		func() { fmt.Fprintln(results, "result") },
	} {
		b := newBar(messages, "decoding")
		b.steps(1, 3)
		line()
		fmt.Fprint(messages, "attnscope: warning:")
		fmt.Fprintln(messages, " in two pieces")
		b.steps(2, 3)
		b.close()
	}
	terminal.Close()
	text := <-written
	if n := strings.Count(text, "decoding"); n < 2 {
		t.Errorf("the bar was drawn %d times, want two bars: %q", n, text)
	}
	want := []string{
		"attnscope: warning: one", "attnscope: warning: in two pieces", "result", "attnscope: warning: in two pieces", "",
	}
	if got := onScreenLines(text); !slices.Equal(got, want) {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
}

// onScreenLines returns the lines that a terminal shows after it got text.
func onScreenLines(text string) []string {
	var lines []string
	var line []rune
	at := 0
	for _, r := range text {
		switch r {
		case '\r':
			at = 0
		case '\n':
			lines = append(lines, strings.TrimRight(string(line), " "))
			line = nil
			at = 0
		default:
			line = slices.Replace(line, at, min(at+1, len(line)), r)
			at++
		}
	}
	return append(lines, strings.TrimRight(string(line), " "))
}
