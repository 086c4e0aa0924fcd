package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asTerminal makes the verbs print the tables that they print at a terminal.
const asTerminal = `attnscope() {
	case $1 in
		hitrate|snapkv|advise) command attnscope "$@" --format table;;
		*) command attnscope "$@";;
	esac
}
`

// TestTutorialNumbers runs the tutorial with the default model from top to bottom. The
// lines of each block of text must be among those that the commands before it print, in
// this order.
func TestTutorialNumbers(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, five minutes on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	b := siteOf(t)
	blocks := blocksOf(b.bySource["docs/TUTORIAL.md"])
	dir := t.TempDir()
	compared := 0
	for i, block := range blocks {
		if block.language != "sh" || strings.HasPrefix(block.text, "attnscope view") {
			continue
		}
		script := block.text
		shown := i+1 < len(blocks) && blocks[i+1].language == "text"
		if shown {
			script = asTerminal + script
		}
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(b.program)+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", block, err, out)
		}
		if shown {
			compared++
			checkPrinted(t, blocks[i+1], string(out))
		}
	}
	if compared != 5 {
		t.Errorf("%d blocks of text were compared", compared)
	}
}

// checkPrinted checks that the lines of a block are in an output, in this order.
func checkPrinted(t *testing.T, b block, output string) {
	t.Helper()
	lines := strings.Split(output, "\n")
	at := 0
	for want := range strings.Lines(b.text) {
		want = strings.TrimSpace(want)
		for at < len(lines) && strings.TrimSpace(lines[at]) != want {
			at++
		}
		if at == len(lines) {
			t.Errorf("%s: the command does not print %q; it prints\n%s", b, want, output)
			return
		}
	}
}
