package states

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/snapkv"
)

// TestAgainstKvpress compares the kvpress preset with the package itself.
// ATTNSCOPE_PYTHON names a Python that has kvpress (PyPI) and torch.
func TestAgainstKvpress(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with kvpress: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import kvpress").Run(); err != nil {
		t.Skipf("SKIPPED: %s has no kvpress: pip install kvpress, and name the Python in ATTNSCOPE_PYTHON", python)
	}
	kvpress, err := snapkv.FindPreset("kvpress")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []snapkv.Config{
		{Window: 64, Capacity: 128, Kernel: 5},
		{Window: 32, Capacity: 200, Kernel: 7},
		{Window: 16, Capacity: 40, Kernel: 1},
	} {
		c.Pooling = kvpress.Pooling
		c.Group = kvpress.Group
		path := filepath.Join(t.TempDir(), "states.safetensors")
		cmd := exec.Command(python, "testdata/kvpress_check.py", path,
			fmt.Sprint(c.Window), fmt.Sprint(c.Kernel), fmt.Sprint(c.Capacity), fmt.Sprint(i))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		x, _ := compress(t, path, c).Tensor("indices")
		got, err := x.Int32()
		if err != nil {
			t.Fatal(err)
		}
		for h, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			var want []int32
			if err := json.Unmarshal([]byte(line), &want); err != nil {
				t.Fatal(err)
			}
			mine := slices.Clone(got[h*c.Budget() : (h+1)*c.Budget()])
			for j := 400 - c.Window; j < 400; j++ {
				mine = append(mine, int32(j))
			}
			if !slices.Equal(mine, want) {
				t.Errorf("%+v, kv head %d: %v, kvpress keeps %v", c, h, mine, want)
			}
		}
	}
}
