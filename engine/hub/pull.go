package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync/atomic"
	"syscall"

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
	s, err := c.Look(ctx, m, revision)
	if err != nil {
		return "", err
	}
	return s.Fetch(ctx)
}

// mostRefused is the number of attempts to list files while connections are refused:
// fewer than for a busy hub, because the cause is often that there is no network.
const mostRefused = 3

// list asks the hub for the commit and the files of a revision. It asks again while the
// hub is busy, and for a short time if it refuses connections.
func (c *Client) list(ctx context.Context, m Model, revision string) (string, []file, error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.Endpoint, m.ID, url.PathEscape(revision))
	attempts := c.retrying("the list of files")
	for {
		commit, files, err := c.listOnce(ctx, m, address)
		var busy *busyError
		refused := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
		if !errors.As(err, &busy) && !(refused && attempts.failed < mostRefused-1) {
			return commit, files, err
		}
		if err := attempts.again(ctx, err); err != nil {
			return "", nil, err
		}
	}
}

func (c *Client) listOnce(ctx context.Context, m Model, address string) (string, []file, error) {
	resp, err := c.get(ctx, address, "")
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
