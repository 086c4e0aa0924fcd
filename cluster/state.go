package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// saved is job.json: what has to outlive the submitter.
type saved struct {
	Token         string   `json:"token"` // in the names of the jobs, so that they can be found again
	Output        string   `json:"output"`
	Capture       []string `json:"capture"`
	Shards        int      `json:"shards"`
	Prompts       int      `json:"prompts"`
	PromptsSHA256 string   `json:"prompts_sha256"`
	Rounds        []round  `json:"rounds"`
	Merged        string   `json:"merged,omitempty"` // when
}

// round is one array job. It is written down without its id before sbatch is
// called, and with it afterwards.
type round struct {
	Name      string `json:"name"`
	Job       string `json:"job,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Tasks     string `json:"tasks"` // "0-3,7"
	Submitted string `json:"submitted"`
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// load reads job.json; nil where there is none yet.
func load(dir string) (*saved, error) {
	path := filepath.Join(dir, "job.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &saved{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %v: --force begins anew", path, err)
	}
	return s, nil
}

func (s *saved) save(dir string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	return replace(filepath.Join(dir, "job.json"), b.Bytes(), 0o644)
}

// replace writes a file so that a reader sees the old or the new one whole.
func replace(path string, text []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// fits says whether a state is that of this job; it names the first difference.
func (s *saved) fits(dir string, j *Job) error {
	differs := func(what string, a, b any) error {
		return fmt.Errorf("%s: %s is %v there and %v here: it cannot be gone on with; --force begins anew", dir, what, a, b)
	}
	if s.Shards != j.Shards {
		return differs("--shards", s.Shards, j.Shards)
	}
	if s.PromptsSHA256 != j.PromptsSHA256 {
		return fmt.Errorf("%s: the prompts are other ones (prompts_sha256 %.12s there, %.12s here): it cannot be gone on with; --force begins anew", dir, s.PromptsSHA256, j.PromptsSHA256)
	}
	values := func(args []string) map[string]string {
		m := map[string]string{}
		for _, a := range args {
			name, value, _ := strings.Cut(a, "=")
			m[name] += value + " "
		}
		return m
	}
	a, b := values(s.Capture), values(j.Capture)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for _, m := range []map[string]string{a, b} {
			for name := range m {
				if !yield(name) {
					return
				}
			}
		}
	}) {
		x, there := a[name]
		y, here := b[name]
		if x != y || there != here {
			show := func(v string, ok bool) string {
				if v = strings.TrimSpace(v); v != "" {
					return v
				}
				return map[bool]string{true: "set", false: "not given"}[ok]
			}
			return differs(name, show(x, there), show(y, here))
		}
	}
	return nil
}

// begin makes the state folder of a new run.
func begin(dir string, j *Job) (*saved, error) {
	for _, sub := range []string{"shards", "logs"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := copyProgram(j.Program, filepath.Join(dir, "attnscope")); err != nil {
		return nil, err
	}
	token := make([]byte, 3)
	if _, err := rand.Read(token); err != nil {
		return nil, err
	}
	s := &saved{Token: hex.EncodeToString(token), Output: j.Out, Capture: j.Capture, Shards: j.Shards, Prompts: j.Prompts, PromptsSHA256: j.PromptsSHA256}
	return s, s.save(dir)
}

// copyProgram keeps the executable beside the state: the one of `go run` is
// gone when the submitter is, and a rebuild must not change a run under way.
func copyProgram(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if closed := dst.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return os.Rename(to+".new", to)
}

// jobs lists the ids of all array jobs, and the cluster of the last.
func (s *saved) jobs() (ids []string, cluster string) {
	for _, r := range s.Rounds {
		if r.Job != "" {
			ids, cluster = append(ids, r.Job), r.Cluster
		}
	}
	return ids, cluster
}
