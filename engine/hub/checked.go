package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The content of a blob is compared with its name, which is its hash, once: when it is
// fetched, or when a blob that another program has left in the cache is used for the
// first time. A marker then remembers the blob's size, time and inode, so that later
// openings do not read the file twice. A blob that has changed since is checked again.
//
//	CACHE/.locks/models--OWNER--NAME/HASH.checked    "SIZE MTIME INODE"
//
// The hub's own client keeps its locks there and lists nothing of it. If that folder
// cannot be written, the marker is in the user's own cache folder.

// markers lists the possible paths of the marker of a blob.
func (c *Client) markers(m Model, hash string) []string {
	model := filepath.Base(c.repo(m))
	list := []string{filepath.Join(c.Cache, ".locks", model, hash+".checked")}
	if own, err := os.UserCacheDir(); err == nil {
		where := sha256.Sum256([]byte(c.Cache))
		list = append(list, filepath.Join(own, "attnscope", "checked", hex.EncodeToString(where[:8]), model, hash+".checked"))
	}
	return list
}

// stamp describes the state of a file that a marker remembers.
func stamp(fi os.FileInfo) string {
	return fmt.Sprintf("%d %d %d\n", fi.Size(), fi.ModTime().UnixNano(), inode(fi))
}

// markChecked remembers that the content of a blob has the right hash.
func (c *Client) markChecked(m Model, hash, blob string) {
	fi, err := os.Stat(blob)
	if err != nil {
		return
	}
	for _, path := range c.markers(m, hash) {
		if os.MkdirAll(filepath.Dir(path), 0o755) == nil && os.WriteFile(path, []byte(stamp(fi)), 0o644) == nil {
			return
		}
	}
}

// checkBlob returns an error if the content of a blob does not have the hash that is its
// name. It reads the content only if no marker says that this was done before.
func (c *Client) checkBlob(m Model, hash, blob string) error {
	fi, err := os.Stat(blob)
	if err != nil {
		return err
	}
	for _, path := range c.markers(m, hash) {
		if text, err := os.ReadFile(path); err == nil && string(text) == stamp(fi) {
			return nil
		}
	}
	if c.hashed != nil {
		c.hashed(blob)
	}
	got, err := hashOf(blob, len(hash), fi.Size())
	if err != nil {
		return err
	}
	if got != hash {
		return &changedError{blob: blob, got: got}
	}
	c.markChecked(m, hash, blob)
	return nil
}

// changedError reports a blob whose content does not have the hash that is its name.
type changedError struct{ blob, got string }

func (e *changedError) Error() string {
	return fmt.Sprintf("%s: the cached content has hash %s, its name says otherwise: "+
		"the file is damaged; delete it and run the same command to fetch it again", e.blob, e.got)
}

// checkSnapshot checks the blobs that the files of a snapshot link to.
func (c *Client) checkSnapshot(m Model, paths []string) error {
	for _, path := range paths {
		target, err := os.Readlink(path)
		if err != nil {
			continue // a copy, on file systems without links
		}
		if hash := filepath.Base(target); hexadecimal(hash) {
			if err := c.checkBlob(m, hash, filepath.Join(filepath.Dir(path), target)); err != nil {
				return fmt.Errorf("%s: %s: %w", m.ID, filepath.Base(path), err)
			}
		}
	}
	return nil
}

// readBySnapshot lists the files of a snapshot that opening the model may read.
func readBySnapshot(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".json", ".jinja", ".model", ".safetensors":
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// hashOf returns the hash of a file of size bytes: SHA-256 if digits is 64, else SHA-1
// with the header that git puts before the content.
func hashOf(path string, digits int, size int64) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	var h hash.Hash
	if digits == 2*sha256.Size {
		h = sha256.New()
	} else {
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", size)
	}
	if _, err := io.Copy(h, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hexadecimal reports whether a text is a SHA-1 or a SHA-256.
func hexadecimal(s string) bool {
	return (len(s) == 2*sha1.Size || len(s) == 2*sha256.Size) && strings.Trim(s, "0123456789abcdef") == ""
}
