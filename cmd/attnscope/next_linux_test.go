package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// recordTerminal opens a terminal. What was written to it can be read after it was closed.
func recordTerminal(t *testing.T) (terminal *os.File, written chan string) {
	t.Helper()
	master, terminal := openTerminal(t)
	written = make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with an error when the terminal is closed
		written <- string(text)
	}()
	return terminal, written
}

// onTerminal runs a command line with a terminal as stderr, and returns what both streams
// got.
func onTerminal(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	terminal, written := recordTerminal(t)
	var out bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, terminal)
	terminal.Close()
	return code, out.String(), <-written
}

var nextPattern = regexp.MustCompile(`attnscope: next: attnscope ([^\r\n]*)`)

// TestNextCommand: on a terminal, verbs end with a command that works; --quiet and a
// file do not get it, and stdout never does.
func TestNextCommand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	dump := "run one.attn" // the name needs quotes
	dumpstest.WriteText(t, dump, "dump layers=2 heads=2 rows=4 windows=2x4\nprompt a tokens=12 reply=2\n* * 12-13 0=0.5 3=0.2\n")
	board := `{"attnscope_leaderboard":1,"model":"m"}` + "\n" + `{"task":"a","results":[{"method":"full","budget":"all"}]}` + "\n"
	if err := os.WriteFile("board.jsonl", []byte(board), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, next string }{
		{"info DUMP", "hitrate DUMP"},
		{"verify DUMP", "hitrate DUMP"},
		{"repair DUMP", "verify DUMP"},
		{"hitrate DUMP --window 4", "snapkv DUMP --method all --capacity 128,256,512,1024"},
		{"snapkv DUMP --capacity 6 --window 4 -o t.csv", "advise DUMP --loss 25%"},
		// Capacity 16 keeps everything, which is not worth decoding; 8 comes closest.
		{
			"advise DUMP --method random --capacity 6,8,16 --window 4 --group mean --loss 0.001",
			"generate -m planted -p prompts.jsonl --method random --group mean --capacity 8 --summary",
		},
		{"heatmap DUMP -o figures --window 4 --layers 0 --format svg", "view DUMP"},
		{"leaderboard board.jsonl", "leaderboard board.jsonl --page board.html"},
		{"cite DUMP", ""},
		{"models", "info -m MODEL"},
		{"version", ""},
	} {
		args := func(line string) []string {
			words := strings.Fields(line)
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "DUMP", dump)
			}
			return words
		}
		quoted := strings.ReplaceAll(c.next, "DUMP", "'"+dump+"'")
		code, stdout, stderr := onTerminal(t, args(c.line)...)
		got := ""
		if m := nextPattern.FindStringSubmatch(stderr); m != nil {
			got = m[1]
		}
		if code != 0 || got != quoted || strings.Contains(stdout, "next:") {
			t.Errorf("%s: exit %d, next %q, want %q; stderr %q", c.line, code, got, quoted, stderr)
		}
		force := []string{}
		if strings.Contains(c.line, "-o ") {
			force = []string{"--force"}
		}
		for _, quiet := range []string{"-q", "--quiet"} {
			code, _, stderr := onTerminal(t, slices.Concat(args(c.line), force, []string{quiet})...)
			if code != 0 || strings.Contains(stderr, "next") {
				t.Errorf("%s %s: exit %d, %q", c.line, quiet, code, stderr)
			}
		}
		if code, _, stderr := call(t, slices.Concat(args(c.line), force)...); code != 0 || strings.Contains(stderr, "next:") {
			t.Errorf("%s, not on a terminal: exit %d, %q", c.line, code, stderr)
		}
		if verb, _, _ := strings.Cut(c.next, " "); c.next != "" && findCommand(commands(), verb) == nil {
			t.Errorf("%s: the next command %q is no verb", c.line, c.next)
		}
	}
	if code, _, stderr := onTerminal(t, "info", "none.attn"); code != 1 || strings.Contains(stderr, "next") {
		t.Errorf("after an error: exit %d, %q", code, stderr)
	}
}
