package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// memoryOf returns the first two sizes of the line memory of a dry run: the whole and the
// weights.
func memoryOf(t *testing.T, args ...string) (total, weights float64) {
	t.Helper()
	out := must(t, append(args, "--dry-run")...)
	var units [2]string
	line := out[strings.Index(out, "memory"):]
	if _, err := fmt.Sscanf(line, "memory %g %3s: weights %g %3s", &total, &units[0], &weights, &units[1]); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	bytes := map[string]float64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	return total * bytes[units[0]], weights * bytes[units[1]]
}

// TestMemoryLimit records a model whose weights do not fit in --memory: the run says so,
// takes the memory that --dry-run says, and gives the tables of a run in memory.
func TestMemoryLimit(t *testing.T) {
	dir := t.TempDir()
	model := randomLlama(t, 1024, 6)
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "a", "input_ids": make([]int, 300)})+"\n"+
		jsonOf(map[string]any{"id": "b", "input_ids": []int{1, 2, 3, 4, 5, 6, 7, 8, 9}})+"\n"+
		jsonOf(map[string]any{"id": "c", "input_ids": []int{5, 4, 3, 2, 1}, "response_ids": []int{6, 7}}))
	args := []string{"capture", "-m", model, "-p", p, "--max-new-tokens", "3", "--ignore-eos", "--threads", "2", "--window-rows", "16"}
	all, weights := memoryOf(t, args...)
	limit := fmt.Sprintf("%dM", int(all-weights/2)>>20)
	predicted, held := memoryOf(t, append(args, "--memory", limit)...)
	if held > weights*3/4 || predicted > all-weights/2 {
		t.Errorf("--memory %s: %.0f bytes, of which weights %.0f; without it %.0f, %.0f", limit, predicted, held, all, weights)
	}
	dry := must(t, append(args, "--memory", limit, "--dry-run")...)
	if !strings.Contains(dry, "6 layers, ") || !strings.Contains(dry, "are read from the file in each pass: about 4 passes over 3 prompts together") {
		t.Errorf("--dry-run does not say what is read from the file: %s", dry)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for _, memory := range []string{"auto", limit} {
		dump := filepath.Join(dir, memory+".attn")
		cmd := exec.Command(self, append(args, "--memory", memory, "-o", dump)...)
		cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MAIN=1")
		out, peak, err := peakOf(cmd)
		if err != nil {
			t.Fatalf("--memory %s: %v: %s", memory, err, out)
		}
		streams := strings.Contains(out, "are read from the file in each pass")
		t.Logf("--memory %s: peak %.0f MB; %s", memory, peak/1e6, out)
		if streams != (memory == limit) {
			t.Errorf("--memory %s says %s", memory, out)
		}
		if memory == limit && (peak > 1.2*predicted || peak < 0.7*predicted) {
			t.Errorf("--memory %s: a peak of %.0f bytes, --dry-run says %.0f", memory, peak, predicted)
		}
		must(t, "verify", dump)
		tables = append(tables, must(t, "hitrate", dump, "--window", "4", "--format", "tsv"))
	}
	if tables[0] != tables[1] {
		t.Errorf("the tables differ:\n%s\n%s", tables[0], tables[1])
	}
	for _, c := range []struct {
		memory, want string
		exit         int
	}{
		{"10M", "--memory 10M: the run takes at least", 1},
		{"much", "--memory much: want auto, or a size such as 6G or 800M", 2},
		{"-1G", "--memory -1G: want", 2},
	} {
		for _, verb := range [][]string{{"capture", "-o", filepath.Join(dir, "x.attn")}, {"generate", "--capacity", "8", "--window", "4"}} {
			more := append(verb, "-m", model, "-p", p, "--memory", c.memory)
			if code, _, errs := call(t, more...); code != c.exit || !strings.Contains(errs, c.want) {
				t.Errorf("%s --memory %s: exit %d: %s", verb[0], c.memory, code, errs)
			}
		}
	}
	plain := must(t, "generate", "-m", model, "-p", p, "--capacity", "8", "--window", "4", "--max-new-tokens", "2", "--summary", "--format", "tsv")
	streamed := must(t, "generate", "-m", model, "-p", p, "--capacity", "8", "--window", "4", "--max-new-tokens", "2", "--summary", "--format", "tsv", "--memory", limit)
	if cut(plain) != cut(streamed) {
		t.Errorf("generate: the tables differ:\n%s\n%s", plain, streamed)
	}
}

// peakOf runs a command and returns what it prints and its largest resident memory. The
// kernel's own maximum would include the memory of this process before the command began.
func peakOf(cmd *exec.Cmd) (out string, peak float64, err error) {
	var text bytes.Buffer
	cmd.Stdout = &text
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	done := make(chan error)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			return text.String(), peak, err
		case <-time.After(5 * time.Millisecond):
			name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
			kb, ok := fieldOf(os.DirFS("/"), fmt.Sprintf("proc/%d/status", cmd.Process.Pid), "VmHWM:")
			if ok && name == cmd.Path {
				peak = 1024 * float64(kb)
			}
		}
	}
}

// cut leaves out the columns of times and of memory.
func cut(tsv string) string {
	lines := strings.Split(strings.TrimSpace(tsv), "\n")
	keep := map[int]bool{}
	for i, name := range strings.Split(lines[0], "\t") {
		keep[i] = !strings.Contains(name, "tok_s") && !strings.Contains(name, "peak") && !strings.Contains(name, "seconds")
	}
	var out []string
	for _, line := range lines {
		for i, cell := range strings.Split(line, "\t") {
			if keep[i] {
				out = append(out, cell)
			}
		}
	}
	return strings.Join(out, " ")
}
