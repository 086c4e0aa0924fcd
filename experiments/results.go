package experiments

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ExistsError says that the folder of an experiment holds files that a run would replace
// although they do not belong to it.
type ExistsError struct {
	Path string // of a file that would be replaced
	What string // whose it is
}

func (e *ExistsError) Error() string { return e.Path + " exists: " + e.What }

// CheckResults returns an *ExistsError if the folder of an experiment holds results of
// another model or other settings, or a README.md that is not the experiment's. What an
// equal run left there is continued.
func (l *Lab) CheckResults(e Experiment) error {
	dir := filepath.Join(l.Dir, e.Name)
	path := filepath.Join(dir, "run.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		readme := filepath.Join(dir, "README.md")
		if _, err := os.Stat(readme); err == nil {
			return &ExistsError{readme, "it is not of this experiment, whose run.json is missing"}
		}
		return nil
	}
	if err != nil {
		return err
	}
	var was runNotes
	if err := json.Unmarshal(text, &was); err != nil || was.Experiment != e.Name {
		return &ExistsError{path, "it is not of this experiment"}
	}
	switch {
	case was.Capture != nil && was.Capture.Model != l.ModelID:
		return &ExistsError{path, fmt.Sprintf("results of model %s; this run has model %s", was.Capture.Model, l.ModelID)}
	case was.Seed != l.Seed:
		return &ExistsError{path, fmt.Sprintf("results of seed %d; this run has seed %d", was.Seed, l.Seed)}
	case was.Quick != l.Quick:
		return &ExistsError{path, fmt.Sprintf("results with quick %t; this run has quick %t", was.Quick, l.Quick)}
	}
	return nil
}
