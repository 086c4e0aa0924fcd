package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Snapshot is one commit of a model on the hub. Its small files (configuration and
// tokenizer) are in the cache; its weights may not be.
type Snapshot struct {
	client   *Client
	model    Model
	revision string
	commit   string
	weights  []file
}

// Weight is a file of weights on the hub.
type Weight struct {
	Name   string
	Size   int64
	SHA256 string // empty if the hub does not list it, as for files of less than 10 MB
}

// Look lists the files of a model on the hub and fetches the small ones into the cache.
// It fetches no weights.
func (c *Client) Look(ctx context.Context, m Model, revision string) (*Snapshot, error) {
	if revision == "" {
		revision = "main"
	}
	if c.Offline {
		return nil, fmt.Errorf("%s: %w (%s), and offline mode forbids fetching it", m.ID, ErrNotCached, c.Cache)
	}
	commit, files, err := c.list(ctx, m, revision)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.ID, err)
	}
	if files, err = filesOf(m, files); err != nil {
		return nil, fmt.Errorf("%s: %w", m.ID, err)
	}
	for i := range files {
		if f := &files[i]; !safePath(f.Name) || !hexadecimal(f.hash()) {
			return nil, fmt.Errorf("%s: the hub lists file %q with hash %q: refused", m.ID, f.Name, f.hash())
		}
		if n := files[i].bytes(); n < 0 {
			return nil, fmt.Errorf("%s: the hub lists file %q with %d bytes: refused", m.ID, files[i].Name, n)
		}
	}
	for _, dir := range []string{"blobs", "refs", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(c.repo(m), dir), 0o755); err != nil {
			return nil, err
		}
	}
	s := &Snapshot{client: c, model: m, revision: revision, commit: commit}
	var small []file
	for _, f := range files {
		if isWeights(f.Name) {
			s.weights = append(s.weights, f)
		} else {
			small = append(small, f)
		}
	}
	return s, c.fetchAll(ctx, m, commit, small)
}

// filesOf selects the files that opening a model needs.
func filesOf(m Model, list []file) ([]file, error) {
	if m.File == "" {
		return needed(list)
	}
	var files []file
	for _, part := range parts(m.File) {
		at := slices.IndexFunc(list, func(f file) bool { return f.Name == part })
		if at < 0 {
			return nil, fmt.Errorf("it has no %s%s", part, ggufHint(list))
		}
		files = append(files, list[at])
	}
	return files, nil
}

// isWeights reports whether a file of a repository holds weights.
func isWeights(name string) bool {
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".gguf")
}

// Path returns the folder of the snapshot in the cache, or the path that the .gguf file
// has there once it is fetched.
func (s *Snapshot) Path() string { return filepath.Join(s.Dir(), filepath.FromSlash(s.model.File)) }

// Dir returns the folder of the snapshot in the cache.
func (s *Snapshot) Dir() string { return filepath.Join(s.client.repo(s.model), "snapshots", s.commit) }

// Weights lists the files of weights in the order of their names, or of their numbers if
// they are parts of a GGUF model.
func (s *Snapshot) Weights() []Weight {
	var list []Weight
	for i := range s.weights {
		f := &s.weights[i]
		w := Weight{Name: f.Name, Size: f.bytes()}
		if f.LFS != nil {
			w.SHA256 = f.LFS.SHA256
		}
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b Weight) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Range reads n bytes of a file of weights from byte from on, without keeping them.
func (s *Snapshot) Range(ctx context.Context, name string, from, n int64) ([]byte, error) {
	address := s.client.address(s.model, s.commit, name)
	attempts := s.client.retrying(name)
	for {
		part, err := s.rangeOnce(ctx, address, from, n)
		if err == nil {
			return part, nil
		}
		if err := attempts.again(ctx, err); err != nil {
			return nil, fmt.Errorf("%s: %s: bytes %d to %d: %w", s.model.ID, name, from, from+n-1, err)
		}
	}
}

func (s *Snapshot) rangeOnce(ctx context.Context, address string, from, n int64) ([]byte, error) {
	ctx, watch := s.client.watchSilence(ctx)
	defer watch.stop()
	resp, err := s.client.get(ctx, address, fmt.Sprintf("bytes=%d-%d", from, from+n-1))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := s.client.refused(resp, s.model); err != nil {
		return nil, err
	}
	if err := checkStart(resp, from); err != nil {
		return nil, err
	}
	body := watch.hear(resp.Body)
	if resp.StatusCode != http.StatusPartialContent { // the whole file comes instead
		if _, err := io.CopyN(io.Discard, body, from); err != nil {
			return nil, err
		}
	}
	part := make([]byte, n)
	if _, err := io.ReadFull(body, part); errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	return part, nil
}

// Fetch fetches the weights that are missing in the cache, and returns what Find returns.
func (s *Snapshot) Fetch(ctx context.Context) (string, error) {
	c := s.client
	if err := c.fetchAll(ctx, s.model, s.commit, s.weights); err != nil {
		return "", err
	}
	if s.revision != s.commit {
		ref := filepath.Join(c.repo(s.model), "refs", filepath.FromSlash(s.revision))
		if err := os.MkdirAll(filepath.Dir(ref), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(ref, []byte(s.commit), 0o644); err != nil {
			return "", err
		}
	}
	return c.Find(s.model, s.commit)
}

// address returns where the hub serves a file of a commit.
func (c *Client) address(m Model, commit, name string) string {
	return fmt.Sprintf("%s/%s/resolve/%s/%s", c.Endpoint, m.ID, commit, (&url.URL{Path: name}).EscapedPath())
}
