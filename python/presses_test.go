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
	py := kvpressPython(t)
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
	runCheck(t, py, "testdata/check_presses.py", "../engine/model/testdata/qwen3", prompts, dir)
}

// TestDatasets: prompts come from datasets and from addresses, results go back to them,
// and a model is recorded from a data frame.
func TestDatasets(t *testing.T) {
	runCheck(t, kvpressPython(t), "testdata/check_datasets.py", "../engine/model/testdata/qwen3", t.TempDir())
}

// kvpressPython returns a Python with kvpress and the package datasets, which it needs.
func kvpressPython(t *testing.T) string {
	t.Helper()
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with kvpress: set ATTNSCOPE_LONG=1 and ATTNSCOPE_KVPRESS_PYTHON (make test-long)")
	}
	py := cmp.Or(os.Getenv("ATTNSCOPE_KVPRESS_PYTHON"), os.Getenv("ATTNSCOPE_PYTHON"), "python3")
	if err := exec.Command(py, "-c", "import kvpress, zstandard, pandas").Run(); err != nil {
		t.Skipf("SKIPPED: %s has no kvpress: name a Python that has it in ATTNSCOPE_KVPRESS_PYTHON", py)
	}
	return py
}

// runCheck runs a script of testdata, which prints "fine" at its end.
func runCheck(t *testing.T, py string, args ...string) {
	t.Helper()
	cmd := exec.Command(py, args...)
	cmd.Env = append(os.Environ(), "ATTNSCOPE="+program(t), "TQDM_DISABLE=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "fine") {
		t.Fatalf("%v\n%s", err, out)
	}
}
