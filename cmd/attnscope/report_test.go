package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// damagedSums writes a dump in which only the sums over all prompt queries are damaged.
func damagedSums(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	must(t, "capture", "-m", randomLlama(t, 32, 2), "-p", promptsFile(t, 1, 90), "-o", path, "--max-new-tokens", "4",
		"--ignore-eos", "--window-rows", "32", "--prompt-windows", "0", "--store", "rows")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 200; at < len(whole); at += 100 {
		data := append([]byte{}, whole...)
		data[at] ^= 64
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		var found []string
		_, err := dumps.Verify(context.Background(), path, nil, func(p dumps.Problem) { found = append(found, fmt.Sprint(p)) })
		if err == nil && len(found) == 1 && strings.Contains(found[0], "sums") {
			return path
		}
	}
	t.Fatal("no byte of the sums was found")
	return ""
}

// TestReportSaysWhatItLacks: a page without the comparison of methods, because the dump is
// damaged, is written; stderr names the cause, and the exit code is 1.
func TestReportSaysWhatItLacks(t *testing.T) {
	path := damagedSums(t)
	out := filepath.Join(t.TempDir(), "r.html")
	code, _, stderr := call(t, "report", path, "-o", out)
	if code != exitFailed || !strings.Contains(stderr, out+": the page lacks the comparison of methods: "+path) || !strings.Contains(stderr, "corrupt dump") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	page, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(page), "Methods are not compared: ") || !strings.Contains(string(page), "Hit rate by layer") {
		t.Errorf("the page: %d bytes, %v", len(page), err)
	}
}

// TestReportIsStopped: a report that is interrupted leaves no page and no other file.
func TestReportIsStopped(t *testing.T) {
	path := damagedSums(t)
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr strings.Builder
	code := run(ctx, []string{"report", path, "-o", filepath.Join(folder, "r.html")}, strings.NewReader(""), &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
