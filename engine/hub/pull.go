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
	"sync"
	"sync/atomic"
	"time"
)

// file is one of a repository's, as the hub lists them.
type file struct {
	Name   string `json:"rfilename"`
	Size   int64  `json:"size"`
	BlobID string `json:"blobId"`
	LFS    *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// hash is the name of the blob: sha256 of large files, git's sha1 of others.
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

// atOnce is how many files are fetched together.
const atOnce = 4

// Pull fetches what is missing of a model and returns what Find would. Files are
// whole or not there: what breaks off goes on the next time. Every file is
// compared with its hash.
func (c *Client) Pull(ctx context.Context, m Model, revision string) (string, error) {
	if revision == "" {
		revision = "main"
	}
	if c.Offline {
		return "", fmt.Errorf("%s: %w (%s), and offline mode forbids to fetch it", m.ID, ErrNotCached, c.Cache)
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

// list asks the hub for a revision's commit and files.
func (c *Client) list(ctx context.Context, m Model, revision string) (string, []file, error) {
	resp, err := c.get(ctx, fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.Endpoint, m.ID, url.PathEscape(revision)), 0)
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
		return "", nil, fmt.Errorf("the hub names commit %q", answer.SHA)
	}
	return answer.SHA, answer.Siblings, nil
}

// refused turns a status that no further try can change into an error.
func (c *Client) refused(resp *http.Response, m Model) error {
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent:
		return nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		what := "set HF_TOKEN to a token that may read it"
		if c.Token != "" {
			what = "the token in use may not read it"
		}
		return fmt.Errorf("the hub refuses access (%s): the model is gated, private or not there; ask for access at %s/%s, then %s", resp.Status, c.Endpoint, m.ID, what)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("the hub has no such model, revision or file (%s): %s", resp.Status, resp.Request.URL.Path)
	}
	return &busyError{resp.Status}
}

// busyError is a status that may pass.
type busyError struct{ status string }

func (e *busyError) Error() string { return "the hub answers " + e.status }

// get asks for an address from byte from on. The token goes to the endpoint's
// host and to no other.
func (c *Client) get(ctx context.Context, address string, from int64) (*http.Response, error) {
	c.once.Do(func() {
		c.http = &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: c.silence, MaxIdleConnsPerHost: atOnce,
			},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if req.URL.Host != via[0].URL.Host {
					req.Header.Del("Authorization")
				}
				if len(via) > 10 {
					return errors.New("more than ten redirections")
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

// fetchAll fetches files, some at once; the first error ends all.
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
	next := make(chan *file)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for f := range next {
				if err := c.fetch(ctx, m, commit, f, report); err != nil {
					cancel(fmt.Errorf("%s: %s: %w", m.ID, f.Name, err))
				}
			}
		}()
	}
	for i := range files {
		select {
		case next <- &files[i]:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
