package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

// TestMemoryOfALongPrompt records 8,000 tokens and a reply of 128 in a process of
// its own: it stays under the weights and 1.5 GB, and within a fifth of what
// --dry-run says.
func TestMemoryOfALongPrompt(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, a minute or more on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t, "data/leval"), "qmsum-1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var longest struct {
		Document     string   `json:"document"`
		Instructions []string `json:"instructions"`
	}
	for line := range strings.Lines(string(text)) {
		r := longest
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Document) > len(longest.Document) {
			longest = r
		}
	}
	dump := filepath.Join(t.TempDir(), "x.attn")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "document": longest.Document, "instructions": longest.Instructions[:1]}))
	args := []string{"capture", "-p", p, "--max-prompt-tokens", "8000", "--truncate", "middle", "--ignore-eos", "-o", dump}
	var predicted, weights float64
	var units [2]string
	memory := must(t, append(args, "--dry-run")...)
	if _, err := fmt.Sscanf(memory[strings.Index(memory, "memory"):], "memory %g %3s: weights %g %3s", &predicted, &units[0], &weights, &units[1]); err != nil {
		t.Fatalf("%v in %q", err, memory)
	}
	bytes := map[string]float64{"MiB": 1 << 20, "GiB": 1 << 30}
	predicted, weights = predicted*bytes[units[0]], weights*bytes[units[1]]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MAIN=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	peak := 1024 * float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	t.Logf("peak %.3f GB, weights %.3f GB, --dry-run says %.3f GB", peak/1e9, weights/1e9, predicted/1e9)
	if peak > weights+1.5e9 || peak > 1.2*predicted || peak < 0.8*predicted {
		t.Errorf("peak %.0f bytes: want under weights (%.0f) and 1.5 GB, and --dry-run's %.0f within a fifth", peak, weights, predicted)
	}
	must(t, "verify", dump)
}
