package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// evil sets the title of a terminal, clears its screen, and turns text around.
const evil = "x\x1b]0;pwned\a\x1b[2J\u009b31m\u202e\x7fy"

// evilEscaped is how evil is shown.
const evilEscaped = `x\u001b]0;pwned\u0007\u001b[2J\u009b31m\u202e\u007fy`

func hasControls(text string) bool { return strings.ContainsAny(text, "\x1b\a\x7f\u009b\u202e\x00\r") }

// evilDump captures a prompt with an evil id.
func evilDump(t *testing.T) (path, model, prompts string) {
	t.Helper()
	model = randomLlama(t, 32, 2)
	prompts = write(t, "p.jsonl", jsonOf(map[string]any{"id": evil, "dataset": evil, "input_ids": []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}))
	path = filepath.Join(t.TempDir(), "x.attn")
	must(t, "capture", "-m", model, "-p", prompts, "-o", path, "--max-new-tokens", "3", "--ignore-eos", "--window-rows", "4", "--prompt-windows", "0")
	return path, model, prompts
}

// TestControlCharacters: no verb prints a control character of a prompt's id, and each
// shows that it is there.
func TestControlCharacters(t *testing.T) {
	path, model, prompts := evilDump(t)
	template := randomLlama(t, 32, 2)
	if err := os.WriteFile(filepath.Join(template, "chat_template.jinja"), []byte("{{ raise_exception('"+evil+"') }}"), 0o644); err != nil {
		t.Fatal(err)
	}
	tokenizer, err := os.ReadFile("../../engine/tokenizer/testdata/json/bpe-plain/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(template, "tokenizer.json"), tokenizer, 0o644); err != nil {
		t.Fatal(err)
	}
	chat := write(t, "chat.jsonl", `{"messages":[{"role":"user","content":"hi"}]}`)
	rates := []string{"hitrate", "--window", "4", "--by", "prompt", path}
	for _, args := range [][]string{
		{"info", path},
		{"info", "--json", path},
		rates,
		append(rates, "--format", "table"),
		append(rates, "--format", "csv"),
		append(rates, "--format", "tsv"),
		append(rates, "--format", "json"),
		append(rates, "--format", "jsonl"),
		{"hitrate", "--window", "4", "--by", "dataset", path},
		{"snapkv", "--window", "4", "--capacity", "8", "--by", "prompt", path},
		{"generate", "-m", model, "-p", prompts, "--window", "4", "--capacity", "8", "--max-new-tokens", "2"},
		{"export", path, "--prompt", "none", "-o", "x.csv"},
		{"capture", "-m", evil, "-p", prompts, "--dry-run"},
		{"capture", "-m", model, "-p", evil, "--dry-run"},
		{"capture", "-m", model, "-p", write(t, "bad.jsonl", jsonOf(map[string]any{"id": evil, "input_ids": []int{999}})), "--dry-run"},
		{"capture", "--" + evil},
		{evil},
		{"tokenize", "-m", template, "-p", chat},
	} {
		_, stdout, stderr := call(t, args...)
		if hasControls(stdout) || hasControls(stderr) {
			t.Errorf("%q prints control characters: %q, %q", args, stdout, stderr)
		}
		if !strings.Contains(stdout+stderr, `pwned\u0007`) && !strings.Contains(stdout+stderr, `pwned\a`) {
			t.Errorf("%q does not show the id: %q, %q", args, stdout, stderr)
		}
	}
	if stdout := must(t, append(rates, "--format", "table")...); !strings.Contains(stdout, evilEscaped) {
		t.Errorf("table: %q", stdout)
	}
	var rows []struct{ Prompt string }
	if err := json.Unmarshal([]byte(must(t, append(rates, "--format", "json")...)), &rows); err != nil || rows[0].Prompt != evil {
		t.Errorf("JSON has the id %+v (%v), want %q", rows, err, evil)
	}
	var info struct{ Prompts []struct{ ID string } }
	if err := json.Unmarshal([]byte(must(t, "info", "--json", path)), &info); err != nil || info.Prompts[0].ID != evil {
		t.Errorf("info --json has the id %+v (%v)", info, err)
	}
}

// openTerminal returns the two ends of a terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED, nothing was written to a terminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("SKIPPED, nothing was written to a terminal: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}

// TestTerminalGetsNoControlCharacters: on a terminal even the formats for programs are
// escaped, and the bar of a capture shows an id without its control characters.
func TestTerminalGetsNoControlCharacters(t *testing.T) {
	path, model, prompts := evilDump(t)
	for _, args := range [][]string{
		{"hitrate", "--window", "4", "--by", "prompt", path},
		{"hitrate", "--window", "4", "--by", "prompt", path, "--format", "csv"},
		{"hitrate", "--window", "4", "--by", "prompt", path, "--format", "jsonl"},
		{"submit", "--dry-run", "-m", model, "-p", prompts, "-o", "x.attn", "--setup", "echo '" + evil + "'"},
		{"capture", "-m", model, "-p", prompts, "-o", filepath.Join(t.TempDir(), "y.attn"), "--max-new-tokens", "2", "--window-rows", "4", "--prompt-windows", "0"},
	} {
		master, terminal := openTerminal(t)
		shown := make(chan string)
		go func() {
			var all []byte
			b := make([]byte, 1<<16)
			for {
				n, err := master.Read(b)
				all = append(all, b[:n]...)
				if err != nil || strings.Contains(string(all), "THE END") {
					shown <- string(all)
					return
				}
			}
		}()
		run(context.Background(), args, strings.NewReader(""), terminal, terminal)
		if _, err := terminal.WriteString("THE END"); err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-shown:
			if strings.Contains(text, "\x1b]0;") || strings.ContainsAny(text, "\a\u009b\u202e") || !strings.Contains(text, "pwned") && args[0] != "capture" {
				t.Errorf("%q shows %q", args, text)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q: no end", args)
		}
	}
}
