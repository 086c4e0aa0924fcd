package python

import (
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPresses: a selection of attnscope runs inside of kvpress with the kept positions and
// the generated tokens of attnscope generate, and attnscope measures what presses keep.
func TestPresses(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with kvpress: set ATTNSCOPE_LONG=1 and ATTNSCOPE_KVPRESS_PYTHON (make test-long)")
	}
	py := cmp.Or(os.Getenv("ATTNSCOPE_KVPRESS_PYTHON"), os.Getenv("ATTNSCOPE_PYTHON"), "python3")
	if err := exec.Command(py, "-c", "import kvpress, zstandard, pandas").Run(); err != nil {
		t.Skipf("SKIPPED: %s has no kvpress: name a Python that has it in ATTNSCOPE_KVPRESS_PYTHON", py)
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var lines strings.Builder
	for i, length := range []int{90, 75} {
		ids := make([]int, length)
		for j := range ids {
			ids[j] = random.IntN(100)
		}
		if err := json.NewEncoder(&lines).Encode(map[string]any{"id": string(rune('a' + i)), "input_ids": ids}); err != nil {
			t.Fatal(err)
		}
	}
	prompts := filepath.Join(dir, "p.jsonl")
	if err := os.WriteFile(prompts, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(py, "testdata/check_presses.py", "../engine/model/testdata/qwen3", prompts, dir)
	cmd.Env = append(os.Environ(), "ATTNSCOPE="+program(t), "TQDM_DISABLE=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "fine") {
		t.Fatalf("%v\n%s", err, out)
	}
}
