package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/attnscope/attnscope/internal/parallel"
)

// file is a file of a repository, as the hub lists it.
type file struct {
	Name   string `json:"rfilename"`
	Size   int64  `json:"size"`
	BlobID string `json:"blobId"`
	LFS    *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// hash returns the name of the blob: the SHA-256 of a large file, git's SHA-1 of any
// other.
func (f *file) hash() string {
	if f.LFS != nil {
		return f.LFS.SHA256
	}
	return f.BlobID
}

func (f *file) bytes() int64 {
	if f.LFS != nil {
		return f.LFS.Size
	}
	return f.Size
}

// atOnce is the number of files that are fetched at the same time.
const atOnce = 4

// Pull fetches the files of a model that are missing in the cache and returns the same
// path as Find. An incomplete file is not visible in the cache; the next Pull resumes
// it. The hash of each file is checked.
func (c *Client) Pull(ctx context.Context, m Model, revision string) (string, error) {
	if revision == "" {
		revision = "main"
	}
	if c.Offline {
		return "", fmt.Errorf("%s: %w (%s), and offline mode forbids fetching it", m.ID, ErrNotCached, c.Cache)
	}
	commit, files, err := c.list(ctx, m, revision)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.ID, err)
	}
	if m.File != "" {
		list := files
		files = nil
		for _, part := range parts(m.File) {
			at := slices.IndexFunc(list, func(f file) bool { return f.Name == part })
			if at < 0 {
				return "", fmt.Errorf("%s: it has no %s%s", m.ID, part, ggufHint(list))
			}
			files = append(files, list[at])
		}
	} else if files, err = needed(files); err != nil {
		return "", fmt.Errorf("%s: %w", m.ID, err)
	}
	for i := range files {
		if f := &files[i]; !safePath(f.Name) || !hexadecimal(f.hash()) {
			return "", fmt.Errorf("%s: the hub lists file %q with hash %q: refused", m.ID, f.Name, f.hash())
		}
	}
	for _, dir := range []string{"blobs", "refs", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(c.repo(m), dir), 0o755); err != nil {
			return "", err
		}
	}
	if err := c.fetchAll(ctx, m, commit, files); err != nil {
		return "", err
	}
	if revision != commit {
		ref := filepath.Join(c.repo(m), "refs", filepath.FromSlash(revision))
		if err := os.MkdirAll(filepath.Dir(ref), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(ref, []byte(commit), 0o644); err != nil {
			return "", err
		}
	}
	return c.Find(m, commit)
}

func hexadecimal(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// list asks the hub for the commit and the files of a revision.
func (c *Client) list(ctx context.Context, m Model, revision string) (string, []file, error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.Endpoint, m.ID, url.PathEscape(revision))
	resp, err := c.get(ctx, address, 0)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if err := c.refused(resp, m); err != nil {
		return "", nil, err
	}
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []file `json:"siblings"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&answer); err != nil {
		return "", nil, fmt.Errorf("the hub's answer cannot be read: %w", err)
	}
	if !hexadecimal(answer.SHA) {
		return "", nil, fmt.Errorf("the hub answers with commit %q, want a hash", answer.SHA)
	}
	return answer.SHA, answer.Siblings, nil
}

// refused returns an error for a status other than success.
func (c *Client) refused(resp *http.Response, m Model) error {
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent:
		return nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		what := "then set HF_TOKEN to a token that may read it"
		if c.Token != "" {
			what = "since the token in use may not read it"
		}
		return fmt.Errorf("the hub refuses access (%s): the model is gated, private or does not exist; "+
			"ask for access at %s/%s, %s", resp.Status, c.Endpoint, m.ID, what)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("the hub has no such model, revision or file (%s): %s", resp.Status, resp.Request.URL.Path)
	}
	return &busyError{resp.Status}
}

// busyError reports an HTTP status that may be temporary.
type busyError struct{ status string }

func (e *busyError) Error() string { return "the hub answers " + e.status }

// get requests the content of an address from byte from on. It sends the token only to
// the endpoint's host.
func (c *Client) get(ctx context.Context, address string, from int64) (*http.Response, error) {
	c.once.Do(func() {
		c.http = &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: c.silence,
				MaxIdleConnsPerHost:   atOnce,
			},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if req.URL.Host != via[0].URL.Host {
					req.Header.Del("Authorization")
				}
				if len(via) > 10 {
					return errors.New("more than ten redirects")
				}
				return nil
			},
		}
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "attnscope")
	req.Header.Set("Accept-Encoding", "identity")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	return c.http.Do(req)
}

// fetchAll fetches files, atOnce at a time. The first error cancels the others.
func (c *Client) fetchAll(ctx context.Context, m Model, commit string, files []file) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var total int64
	for i := range files {
		total += files[i].bytes()
	}
	var done atomic.Int64
	report := func(n int64) {
		if c.Progress != nil {
			c.Progress(done.Add(n), total)
		}
	}
	err := parallel.TryLimit(ctx, atOnce, len(files), func(i int) error {
		err := c.fetch(ctx, m, commit, &files[i], report)
		if err != nil {
			err = fmt.Errorf("%s: %s: %w", m.ID, files[i].Name, err)
			cancel(err)
		}
		return err
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause // the first error, not a cancellation that it caused
	}
	return err
}
