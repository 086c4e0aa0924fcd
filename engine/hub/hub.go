// Package hub finds models in the shared cache of the Hugging Face hub and fetches the
// files that are missing. Layout, environment variables, locks and hashes are the same
// as in the hub's own client, huggingface_hub, so that each finds the files of the
// other.
//
//	CACHE/models--OWNER--NAME/refs/REVISION            has the commit of a revision
//	CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE    is a link to
//	CACHE/models--OWNER--NAME/blobs/HASH               the content
//
// For example:
//
//	m, ok := hub.ParseModel("HuggingFaceTB/SmolLM2-135M")
//	client := hub.FromEnv()
//	dir, err := client.Find(m, "main")
//	if errors.Is(err, hub.ErrNotCached) {
//		dir, err = client.Pull(ctx, m, "main")
//	}
package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/attnscope/attnscope/internal/jsonerr"
)

// Client fetches from one hub into one cache.
type Client struct {
	Endpoint string // https://host
	Token    string // sent only to the endpoint, never from https to http; may be empty
	Cache    string // folder
	Offline  bool   // Pull returns an error
	Log      func(line string)
	Progress func(done, total int64) // bytes; called by several goroutines

	once    sync.Once
	http    *http.Client
	pause   time.Duration       // before the second attempt of a file; doubles with each attempt
	silence time.Duration       // a connection that sends no byte for this long is closed
	waited  func(time.Duration) // if set, receives the pauses, which are then skipped
	hashed  func(blob string)   // if set, is told which cached blobs are read to check them
}

// FromEnv returns a client configured by the environment variables of the hub:
// HF_ENDPOINT, HF_TOKEN or the token file, HF_HUB_CACHE or HF_HOME, and HF_HUB_OFFLINE.
func FromEnv() *Client {
	home := os.Getenv("HF_HOME")
	if home == "" {
		if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
			home = filepath.Join(dir, "huggingface")
		} else if user, err := os.UserHomeDir(); err == nil {
			home = filepath.Join(user, ".cache", "huggingface")
		}
	}
	c := &Client{
		Endpoint: "https://huggingface.co",
		Cache:    filepath.Join(home, "hub"),
		pause:    time.Second,
		silence:  30 * time.Second,
	}
	if s := os.Getenv("HF_ENDPOINT"); s != "" {
		c.Endpoint = strings.TrimRight(s, "/")
	}
	for _, name := range []string{"HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"} {
		if s := os.Getenv(name); s != "" {
			c.Cache = s
		}
	}
	switch strings.ToLower(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "on", "yes", "true":
		c.Offline = true
	}
	c.Token = os.Getenv("HF_TOKEN")
	if c.Token == "" {
		path := os.Getenv("HF_TOKEN_PATH")
		if path == "" {
			path = filepath.Join(home, "token")
		}
		if text, err := os.ReadFile(path); err == nil {
			c.Token = strings.TrimSpace(string(text))
		}
	}
	return c
}

func (c *Client) log(format string, args ...any) {
	if c.Log != nil {
		c.Log(fmt.Sprintf(format, args...))
	}
}

// Model is a model of the hub: "owner/name" or, for one file, "owner/name:FILE.gguf".
type Model struct {
	ID   string
	File string // a .gguf file; empty: the safetensors, configuration and tokenizer
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$`)

// ParseModel parses the name of a model. It returns false if the name cannot be a hub id.
func ParseModel(name string) (Model, bool) {
	id, file, _ := strings.Cut(name, ":")
	ok := idPattern.MatchString(id) && len(id) <= 96
	ok = ok && !strings.Contains(id, "..") && !strings.Contains(id, "--")
	if file != "" {
		ok = ok && strings.HasSuffix(file, ".gguf") && safePath(file)
	}
	return Model{id, file}, ok && !strings.HasSuffix(name, ":")
}

// safePath reports whether a name stays inside the folder that it is joined to.
func safePath(name string) bool {
	return name != "" && filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsAny(name, "\\:\x00")
}

// repo returns the folder of a model in the cache.
func (c *Client) repo(m Model) string {
	return filepath.Join(c.Cache, "models--"+strings.ReplaceAll(m.ID, "/", "--"))
}

// Commit returns the commit that a path in the cache belongs to; it is empty for paths
// that are not in the snapshot of a commit.
func (c *Client) Commit(path string) string {
	inside, err := filepath.Rel(c.Cache, path)
	if err != nil {
		return ""
	}
	parts := strings.Split(filepath.ToSlash(inside), "/")
	if len(parts) < 3 || parts[1] != "snapshots" {
		return ""
	}
	return parts[2]
}

// ErrNotCached reports that a model is not in the cache, or is incomplete there.
var ErrNotCached = errors.New("not in the hub cache")

// Find returns the folder of a model's snapshot in the cache, or the path of its .gguf
// file. revision is a branch, a tag or a commit; empty means main. Find does not use
// the network: if the model is not completely in the cache, the error wraps
// [ErrNotCached]. A blob whose content does not have the hash that is its name is an
// error. Each blob is read for this only once.
func (c *Client) Find(m Model, revision string) (string, error) {
	if revision == "" {
		revision = "main"
	}
	if !safePath(revision) {
		return "", fmt.Errorf("revision %q: want a branch, a tag or a commit", revision)
	}
	commit := revision
	if text, err := os.ReadFile(filepath.Join(c.repo(m), "refs", filepath.FromSlash(revision))); err == nil {
		if commit = strings.TrimSpace(string(text)); !safePath(commit) {
			return "", fmt.Errorf("%s: has %q, want a commit: delete it", filepath.Join(c.repo(m), "refs", revision), commit)
		}
	}
	dir := filepath.Join(c.repo(m), "snapshots", commit)
	missing := fmt.Errorf("%s: %w (%s)", m.ID, ErrNotCached, c.Cache)
	if m.File != "" {
		for _, part := range parts(m.File) {
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(part))); err != nil {
				return "", missing
			}
		}
		var list []string
		for _, part := range parts(m.File) {
			list = append(list, filepath.Join(dir, filepath.FromSlash(part)))
		}
		return filepath.Join(dir, filepath.FromSlash(m.File)), c.checkSnapshot(m, list)
	}
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return "", missing
	}
	if shards, err := shardsOf(filepath.Join(dir, indexFile)); err == nil {
		for _, s := range shards {
			if _, err := os.Stat(filepath.Join(dir, s)); err != nil {
				return "", missing
			}
		}
		return dir, c.checkSnapshot(m, readBySnapshot(dir))
	}
	if list, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); len(list) == 0 {
		return "", missing
	}
	return dir, c.checkSnapshot(m, readBySnapshot(dir))
}

var splitName = regexp.MustCompile(`^(.*)-00001-of-(\d{5})\.gguf$`)

// parts lists the files of a GGUF model: the file itself or, if it is the first of
// several, all of them.
func parts(file string) []string {
	m := splitName.FindStringSubmatch(file)
	if m == nil {
		return []string{file}
	}
	count, _ := strconv.Atoi(m[2])
	var list []string
	for i := range max(count, 1) {
		list = append(list, fmt.Sprintf("%s-%05d-of-%s.gguf", m[1], i+1, m[2]))
	}
	return list
}

const indexFile = "model.safetensors.index.json"

// shardsOf lists the files that an index of shards names.
func shardsOf(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, jsonerr.Plain(text, err))
	}
	seen := map[string]bool{}
	var list []string
	for _, f := range index.Map {
		if !seen[f] && safePath(f) {
			seen[f] = true
			list = append(list, f)
		}
	}
	return list, nil
}

// needed selects the files of a repository that opening the model needs.
func needed(files []file) ([]file, error) {
	by := map[string]file{}
	for _, f := range files {
		by[f.Name] = f
	}
	var list []file
	take := func(names ...string) bool {
		found := false
		for _, n := range names {
			if f, ok := by[n]; ok {
				list = append(list, f)
				found = true
			}
		}
		return found
	}
	if !take("config.json") {
		return nil, errors.New("it has no config.json" + ggufHint(files))
	}
	take("generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
		"chat_template.jinja", "chat_template.json")
	if !take("tokenizer.json") {
		take("tokenizer.model")
	}
	weights := regexp.MustCompile(`^model(-\d+-of-\d+)?\.safetensors$`)
	n := len(list)
	sharded := take(indexFile)
	for _, f := range files {
		if weights.MatchString(f.Name) && (!sharded || strings.Contains(f.Name, "-of-")) {
			list = append(list, f)
		}
	}
	if len(list) == n {
		return nil, errors.New("it has no model*.safetensors, and other weight formats are not supported" +
			ggufHint(files))
	}
	return list, nil
}

// ggufHint lists the GGUF files of a repository, if it has any.
func ggufHint(files []file) string {
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".gguf") {
			names = append(names, f.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; it has GGUF files; name one as OWNER/NAME:FILE: " + strings.Join(names, ", ")
}
