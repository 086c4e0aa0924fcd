package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestInterruptedVerbs: a verb that is interrupted says so, says what is kept of what it
// writes, and leaves no part of a file.
func TestInterruptedVerbs(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "a.attn")
	old := filepath.Join(dir, "old.csv")
	dumpstest.WithValues(t, in, dumps.StoreRows, dumps.Fine, 1, rand.New(rand.NewPCG(1, 2)))
	if err := os.WriteFile(old, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	notWritten := func(name string) string { return "nothing is kept: " + filepath.Join(dir, name) + " was not written" }
	captured := []string{"capture", "-m", randomLlama(t, 16, 1), "-p", promptsFile(t, 4, 20), "-o", filepath.Join(dir, "c.attn")}
	for _, c := range []struct {
		args []string
		kept string // empty: no hint, because the verb writes no file
	}{
		{append(captured, "--batch", "1"), "no prompt was finished, so nothing is kept"},
		{
			append(captured, "--batch", "3"),
			"no prompt was finished, so nothing is kept: up to 3 prompts run together; " +
				"with --batch 1, each is kept before the next one starts",
		},
		{[]string{"merge", in, "-o", filepath.Join(dir, "all.attn")}, notWritten("all.attn")},
		{[]string{"verify", in}, ""},
		{[]string{"repair", in}, in + " is kept as it was"},
		{[]string{"export", in, "-o", filepath.Join(dir, "x.npz")}, notWritten("x.npz")},
		{[]string{"export", in, "-o", old, "--force"}, old + " is kept as it was"},
		{[]string{"hitrate", in, "--window", "4"}, ""},
		{[]string{"hitrate", in, "--window", "4", "-o", filepath.Join(dir, "x.csv")}, notWritten("x.csv")},
		{[]string{"snapkv", in, "--window", "4", "--capacity", "8", "-o", filepath.Join(dir, "y.csv")}, notWritten("y.csv")},
		{[]string{"report", in, "-o", filepath.Join(dir, "r.html")}, notWritten("r.html")},
		{
			[]string{"heatmap", in, "-o", dir, "--window", "4"},
			"the figures that were finished are in " + dir + "; the same command with --force draws all figures",
		},
	} {
		var stdout, stderr bytes.Buffer
		code := run(ctx, c.args, strings.NewReader(""), &stdout, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		var hints []string
		interrupted := false
		for _, line := range lines {
			if hint, ok := strings.CutPrefix(line, "attnscope: hint: "); ok {
				hints = append(hints, hint)
			}
			interrupted = interrupted || strings.HasPrefix(line, "attnscope: interrupted")
		}
		if code != exitFailed || stdout.Len() > 0 || !interrupted || strings.Join(hints, "\n") != c.kept {
			t.Errorf("%v: exit %d, %q%q, want the hint %q", c.args, code, stdout.String(), stderr.String(), c.kept)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left: %s", left)
	}
	if text, err := os.ReadFile(old); err != nil || string(text) != "old" {
		t.Errorf("the old file holds %q, %v", text, err)
	}
}

func TestKeptPrompts(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.attn")
	for _, c := range []struct {
		file, want string
	}{
		{"", "no prompt was finished, so nothing is kept"},
		{out, out + " is kept as it was"},
		{out + ".partial", out + ".partial holds the finished prompts (1); the same command continues it"},
	} {
		if c.file != "" {
			dumpstest.Random(t, c.file, "rows", "fine", rand.New(rand.NewPCG(1, 2)))
		}
		if got := keptPrompts(out, "the same command"); got != c.want {
			t.Errorf("after %s: %q, want %q", c.file, got, c.want)
		}
	}
}

// TestSecondInterruption: the first Ctrl-C cannot end a program that waits for its input. The
// second one does.
func TestSecondInterruption(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: interruptions cannot be sent on this system")
	}
	in, out, err := os.Pipe() // that nobody writes to
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	cmd := program(t, "capture", "-m", randomLlama(t, 16, 1), "-p", "-", "-o", filepath.Join(t.TempDir(), "a.attn"))
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for range 100 {
		select {
		case <-ended:
			return
		case <-time.After(200 * time.Millisecond):
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	_ = cmd.Process.Kill()
	t.Error("the program still waits after 100 interruptions")
}

// TestSpecialFiles: devices, pipes and sockets are neither replaced nor waited for.
func TestSpecialFiles(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Skip("SKIPPED: this system has no sockets in folders")
	}
	defer l.Close()
	model := randomLlama(t, 16, 1)
	prompts := promptsFile(t, 1, 20)
	for _, args := range [][]string{
		{"capture", "-m", model, "-p", prompts, "-o", socket, "--force"},
		{"capture", "-m", model, "-p", prompts, "-o", socket + ".attn", "--status", socket},
		{"hitrate", socket},
	} {
		if code, _, said := call(t, args...); code == 0 || !strings.Contains(said, socket+" is a device, a pipe or a socket") {
			t.Errorf("%v: exit %d: %s", args, code, said)
		}
	}
	if at, err := os.Lstat(socket); err != nil || at.Mode()&os.ModeSocket == 0 {
		t.Errorf("the socket is gone: %v, %v", at, err)
	}
}
