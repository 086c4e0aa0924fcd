package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// programWith runs the command line in a process of its own, with more
// environment: a driver is loaded when a process starts.
func programWith(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := program(t, args...)
	cmd.Env = append(cmd.Env, env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestNoCard: without a driver, or without the backend, what asks for a card is
// told why there is none, and all else runs on the processor.
func TestNoCard(t *testing.T) {
	none := []string{"ATTNSCOPE_LIBCUDA=/nowhere/libcuda.so.1"}
	f := openFixture(t, "llama")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")[:40]}))
	out := filepath.Join(t.TempDir(), "x.attn")
	for _, args := range [][]string{
		{"capture", "-m", f.dir, "-p", p, "-o", out, "--device", "cuda"},
		{"capture", "-m", f.dir, "-p", p, "--dry-run", "--device", "cuda:1"},
		{"generate", "-m", f.dir, "-p", p, "--device", "cuda"},
		{"reproduce", "windows", "-m", f.dir, "-o", t.TempDir(), "--device", "cuda"},
	} {
		code, stdout, stderr := programWith(t, none, args...)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if code != 1 || stdout != "" || len(lines) != 2 || !strings.Contains(lines[0], "--device cuda") || !strings.Contains(lines[1], "hint") {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want 1 and one error with its hint", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := programWith(t, none, "capture", "-m", f.dir, "-p", p, "-o", out, "--device", "gpu"); code != 2 || !strings.Contains(stderr, "want auto, cpu, cuda or cuda:i") || !strings.Contains(stderr, `did you mean "cuda"?`) {
		t.Errorf("--device gpu: exit %d, %q; want 2", code, stderr)
	}
	code, _, stderr := programWith(t, none, "capture", "-m", f.dir, "-p", p, "-o", out, "--max-new-tokens", "2", "--device", "auto")
	if note := strings.Count(stderr, "no card is used"); code != 0 || note != wantNotes {
		t.Errorf("--device auto: exit %d, %d notes that no card is used, want %d: %s", code, note, wantNotes, stderr)
	}
	code, stdout, _ := programWith(t, none, "info", "--devices", "--json")
	var list []struct {
		Device, About string
		Usable        bool
	}
	if err := json.Unmarshal([]byte(stdout), &list); code != 0 || err != nil || len(list) != 2 || !list[0].Usable || list[1].Usable || list[1].Device != "cuda" || !strings.Contains(list[1].About, wantWhy) {
		t.Errorf("info --devices --json: exit %d, %v, %s; want cpu, and cuda with a reason that says %q", code, err, stdout, wantWhy)
	}
}
