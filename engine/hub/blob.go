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
	"strings"
)

// fetch fetches one file into the cache and links it into the snapshot. report is called
// with the number of bytes as they arrive.
func (c *Client) fetch(ctx context.Context, m Model, commit string, f *file, report func(int64)) error {
	blob := filepath.Join(c.repo(m), "blobs", f.hash())
	unlock, err := lockFile(ctx, filepath.Join(c.Cache, ".locks", filepath.Base(c.repo(m)), f.hash()+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	snapshot := filepath.Join(c.repo(m), "snapshots", commit, filepath.FromSlash(f.Name))
	if fi, err := os.Stat(blob); err == nil && fi.Size() == f.bytes() {
		err := c.checkBlob(m, f.hash(), blob)
		if err == nil {
			report(f.bytes())
			return link(blob, snapshot)
		}
		var changed *changedError
		if !errors.As(err, &changed) {
			return err
		}
		c.log("%s: the cached content has hash %s, the hub lists %s; fetching it again", f.Name, changed.got, f.hash())
	}
	part := blob + ".incomplete"
	var have int64
	if fi, err := os.Stat(part); err == nil {
		have = fi.Size()
	}
	if have > f.bytes() {
		have = 0
	}
	report(have)
	address := c.address(m, commit, f.Name)
	attempts := c.retrying(f.Name)
	for have < f.bytes() || f.bytes() == 0 {
		n, err := c.download(ctx, m, address, part, have, f.bytes(), report)
		have += n
		if err == nil && have >= f.bytes() {
			break
		}
		if n > 0 {
			attempts.progress()
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err := attempts.again(ctx, err); err != nil {
			return fmt.Errorf("%d of %d bytes were fetched, the same command resumes from there: %w", have, f.bytes(), err)
		}
	}
	if err := check(part, f); err != nil {
		os.Remove(part)
		return err
	}
	if err := os.Rename(part, blob); err != nil {
		return err
	}
	c.markChecked(m, f.hash(), blob)
	return link(blob, snapshot)
}

// temporary reports whether another attempt may succeed: err is a connection error, or
// the hub is busy.
func temporary(err error) bool {
	var busy *busyError
	var address *url.Error
	return errors.As(err, &busy) || errors.As(err, &address) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errSilent) ||
		strings.Contains(err.Error(), "connection")
}

var errSilent = errors.New("the connection sent no data for too long")

// download appends the content from byte have on to the file part. It returns the number
// of bytes that part has gained, which is negative if the hub starts over.
func (c *Client) download(
	ctx context.Context, m Model, address, part string, have, size int64, report func(int64),
) (n int64, err error) {
	ctx, watch := c.watchSilence(ctx)
	defer watch.stop()
	rest := ""
	if have > 0 {
		rest = fmt.Sprintf("bytes=%d-", have)
	}
	resp, err := c.get(ctx, address, rest)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := c.refused(resp, m); err != nil {
		return 0, err
	}
	if err := checkStart(resp, have); err != nil {
		return 0, err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if resp.StatusCode != http.StatusPartialContent || have == 0 {
		flags = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
		n = -have
		report(-have)
	}
	out, err := os.OpenFile(part, flags, 0o644)
	if err != nil {
		return n, err
	}
	body := watch.hear(resp.Body)
	buf := make([]byte, 256<<10)
	for {
		k, err := body.Read(buf)
		if have+n+int64(k) > size {
			out.Close()
			return n, fmt.Errorf("the hub sends more than the %d bytes that it lists", size)
		}
		if k > 0 {
			if _, err := out.Write(buf[:k]); err != nil {
				out.Close()
				return n, err
			}
			n += int64(k)
			report(int64(k))
		}
		if err == nil {
			continue
		}
		if closed := out.Close(); err == io.EOF {
			err = closed
		}
		return n, err
	}
}

// check compares the hash of a file with the hash that the hub lists.
func check(path string, f *file) error {
	got, err := hashOf(path, len(f.hash()), f.bytes())
	if err != nil {
		return err
	}
	if got != f.hash() {
		return fmt.Errorf("the fetched file has hash %s, the hub lists %s: it was deleted; "+
			"try again, or ask the model's owner", got, f.hash())
	}
	return nil
}

// link adds a blob to a snapshot, as a relative link or, if the file system does not
// support links, as a copy.
func link(blob, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	tmp := path + ".tmp"
	os.Remove(tmp)
	if err := os.Symlink(target, tmp); err != nil {
		if err := copyFile(blob, tmp); err != nil {
			return err
		}
	}
	return os.Rename(tmp, path)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
