package experiments

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestCheckResults: only results of the same model and settings may be replaced.
func TestCheckResults(t *testing.T) {
	const mine = `{"experiment": "windows", "seed": 3, "quick": true, "capture": {"model": "m"}}`
	for name, c := range map[string]struct{ file, text, want string }{
		"nothing":     {"table.csv", "", ""},
		"the same":    {"run.json", mine, ""},
		"no capture":  {"run.json", `{"experiment": "windows", "seed": 3, "quick": true}`, ""},
		"a readme":    {"README.md", "mine", "it is not of this experiment, whose run.json is missing"},
		"other notes": {"run.json", `{"experiment": "needle"}`, "it is not of this experiment"},
		"not JSON":    {"run.json", "x", "it is not of this experiment"},
		"the model":   {"run.json", `{"experiment": "windows", "capture": {"model": "n"}}`, "results of model n; this run has model m"},
		"the seed":    {"run.json", `{"experiment": "windows"}`, "results of seed 0; this run has seed 3"},
		"the size":    {"run.json", `{"experiment": "windows", "seed": 3}`, "results with quick false; this run has quick true"},
	} {
		l := &Lab{Dir: t.TempDir(), ModelID: "m", Seed: 3, Quick: true}
		path := filepath.Join(l.Dir, "windows", c.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := l.CheckResults(Experiment{Name: "windows"})
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var exists *ExistsError
		if !errors.As(err, &exists) || *exists != (ExistsError{path, c.want}) {
			t.Errorf("%s: error %v, want %s exists: %s", name, err, path, c.want)
		}
	}
}
