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
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attnscope/attnscope/internal/jsonerr"
)

// saved is the content of job.json: the state that outlives the submitter.
type saved struct {
	Token         string   `json:"token"` // part of the names of the jobs, to find them again
	Output        string   `json:"output"`
	Capture       []string `json:"capture"`
	Shards        int      `json:"shards"`
	Prompts       int      `json:"prompts"`
	PromptsSHA256 string   `json:"prompts_sha256"`
	Rounds        []round  `json:"rounds"`
	Merged        string   `json:"merged,omitempty"` // time
}

// round is one array job. It is saved without its id before sbatch is called, and with
// its id afterwards.
type round struct {
	Name      string `json:"name"`
	Job       string `json:"job,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Tasks     string `json:"tasks"`           // its shards, "0-3,7"
	First     int    `json:"first,omitempty"` // the shard of task 0
	Submitted string `json:"submitted"`
}

// now returns the current time in the format of job.json.
func now() string { return time.Now().UTC().Format(time.RFC3339) }

// load reads job.json. It returns nil if there is none.
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
		return nil, fmt.Errorf("%s: %w: use --force to start over", path, jsonerr.Plain(text, err))
	}
	return s, nil
}

// save writes job.json.
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

// replace writes a file so that readers see either the old or the new content.
func replace(path string, text []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// checkSame returns an error that names the first difference between the saved job and j.
func (s *saved) checkSame(dir string, j *Job) error {
	differs := func(what string, a, b any) error {
		return fmt.Errorf("%s: %s is %v there and %v here: cannot resume; use --force to start over", dir, what, a, b)
	}
	if s.Shards != j.Shards {
		return differs("--shards", s.Shards, j.Shards)
	}
	if s.PromptsSHA256 != j.PromptsSHA256 {
		return fmt.Errorf("%s: the prompts are different (prompts_sha256 %.12s there, %.12s here): "+
			"cannot resume; use --force to start over", dir, s.PromptsSHA256, j.PromptsSHA256)
	}
	there := argumentValues(s.Capture)
	here := argumentValues(j.Capture)
	names := slices.Collect(maps.Keys(there))
	names = slices.AppendSeq(names, maps.Keys(here))
	slices.Sort(names)
	for _, name := range names {
		if there[name] != here[name] {
			return differs(name, there[name], here[name])
		}
	}
	return nil
}

// argument is the value of a command-line argument, for comparison and for errors.
type argument struct {
	given bool
	value string
}

func (a argument) String() string {
	if value := strings.TrimSpace(a.value); value != "" {
		return value
	}
	if a.given {
		return "set"
	}
	return "not given"
}

// argumentValues returns the arguments by name. If an argument is given more than once,
// all its values are kept, in order.
func argumentValues(args []string) map[string]argument {
	m := map[string]argument{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		m[name] = argument{given: true, value: m[name].value + value + " "}
	}
	return m
}

// create makes the state folder of a new run.
func create(dir string, j *Job) (*saved, error) {
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
	s := &saved{
		Token:  hex.EncodeToString(token),
		Output: j.Out, Capture: j.Capture,
		Shards: j.Shards, Prompts: j.Prompts, PromptsSHA256: j.PromptsSHA256,
	}
	return s, s.save(dir)
}

// copyProgram copies the executable into the state folder: the executable of `go run`
// exists only while the submitter runs, and a rebuild must not change a running job.
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

// jobs returns the ids of all array jobs, and the cluster of the last one.
func (s *saved) jobs() (ids []string, cluster string) {
	for _, r := range s.Rounds {
		if r.Job != "" {
			ids = append(ids, r.Job)
			cluster = r.Cluster
		}
	}
	return ids, cluster
}
