// Package hub reads models from the hub's shared cache and fetches what is
// missing: the layout, the variables and the hashes are those of the hub's own
// client, so that both see each other's files.
//
//	CACHE/models--OWNER--NAME/refs/REVISION            a commit
//	CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE    a link to
//	CACHE/models--OWNER--NAME/blobs/HASH               the file
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
)

// Client fetches from one hub into one cache.
type Client struct {
	Endpoint string // https://host
	Token    string // sent to the endpoint's host alone; may be empty
	Cache    string
	Offline  bool
	Log      func(line string)
	Progress func(done, total int64) // bytes; called from several goroutines

	once    sync.Once
	http    *http.Client
	pause   time.Duration // before the second try of a file; doubles
	silence time.Duration // without a byte, after which a connection is given up
}

// FromEnv is a client by the hub's variables: HF_ENDPOINT, HF_TOKEN or the token
// file, HF_HUB_CACHE or HF_HOME, HF_HUB_OFFLINE.
func FromEnv() *Client {
	home := os.Getenv("HF_HOME")
	if home == "" {
		if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
			home = filepath.Join(dir, "huggingface")
		} else if user, err := os.UserHomeDir(); err == nil {
			home = filepath.Join(user, ".cache", "huggingface")
		}
	}
	c := &Client{Endpoint: "https://huggingface.co", Cache: filepath.Join(home, "hub"), pause: time.Second, silence: 30 * time.Second}
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
	if c.Token = os.Getenv("HF_TOKEN"); c.Token == "" {
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

// Model names what is wanted: "owner/name", or "owner/name:FILE.gguf" for one
// file.
type Model struct {
	ID   string
	File string // a .gguf file, empty: the safetensors and what goes with them
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$`)

// ParseModel reads a name; false for what cannot be a hub id.
func ParseModel(name string) (Model, bool) {
	id, file, _ := strings.Cut(name, ":")
	ok := idPattern.MatchString(id) && !strings.Contains(id, "..") && !strings.Contains(id, "--") && len(id) <= 96
	if file != "" {
		ok = ok && strings.HasSuffix(file, ".gguf") && safePath(file)
	}
	return Model{id, file}, ok && !strings.HasSuffix(name, ":")
}

// safePath says that a name stays below the folder it is joined to.
func safePath(name string) bool {
	return name != "" && filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsAny(name, "\\:\x00")
}

func (c *Client) repo(m Model) string {
	return filepath.Join(c.Cache, "models--"+strings.ReplaceAll(m.ID, "/", "--"))
}

// ErrNotCached says that a model is not, or not whole, in the cache.
var ErrNotCached = errors.New("not in the hub cache")

// Find looks a model up in the cache alone. revision is a branch, a tag or a
// commit; empty: main. It returns the snapshot's folder, or the .gguf file.
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
			return "", fmt.Errorf("%s: holds %q, want a commit: delete it", filepath.Join(c.repo(m), "refs", revision), commit)
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
		return filepath.Join(dir, filepath.FromSlash(m.File)), nil
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
		return dir, nil
	}
	if list, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); len(list) == 0 {
		return "", missing
	}
	return dir, nil
}

var splitName = regexp.MustCompile(`^(.*)-00001-of-(\d{5})\.gguf$`)

// parts names the files of a GGUF model: itself, and where it is the first of
// several all of them.
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
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	seen, list := map[string]bool{}, []string(nil)
	for _, f := range index.Map {
		if !seen[f] && safePath(f) {
			seen[f], list = true, append(list, f)
		}
	}
	return list, nil
}

// needed chooses, of a repository's files, those that a model is opened with.
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
				list, found = append(list, f), true
			}
		}
		return found
	}
	if !take("config.json") {
		return nil, errors.New("it has no config.json" + ggufHint(files))
	}
	take("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
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
		return nil, errors.New("it has no model*.safetensors, and other formats of weights are not read" + ggufHint(files))
	}
	return list, nil
}

// ggufHint lists the GGUF files of a repository that has some.
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
	return "; it has GGUF files, name one as OWNER/NAME:FILE: " + strings.Join(names, ", ")
}
