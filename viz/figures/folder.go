package figures

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/viz"
)

// folder saves figures in several formats.
type folder struct {
	dir     string
	formats []string // of [viz.Formats]
	style   viz.Style
	keep    bool     // a file that exists is an error
	written []string // paths of the files
}

// bothFormats are the formats of figures whose caller does not choose.
var bothFormats = []string{"png", "svg"}

// save writes a figure to name, without extension, below the folder.
func (d *folder) save(f *viz.Figure, name string) error {
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f.Meta = f.Meta.With("figure", filepath.ToSlash(name))
	f.Style = d.style
	if err := d.checkFree(path); err != nil {
		return err
	}
	for _, format := range d.formats {
		if err := f.Save(path + "." + format); err != nil {
			return err
		}
		d.written = append(d.written, path+"."+format)
	}
	return nil
}

// checkFree returns an error if a figure exists that must be kept.
func (d *folder) checkFree(path string) error {
	if !d.keep {
		return nil
	}
	for _, format := range d.formats {
		if _, err := os.Stat(path + "." + format); err == nil {
			return fmt.Errorf("%s.%s: %w", path, format, fs.ErrExist)
		}
	}
	return nil
}

// SafeName turns an id into the name of a file or folder. Characters other than
// letters, digits, "-", "_" and "." become "_", leading dots are removed, and long
// ids are cut. Unless only slashes were replaced, part of the id's hash is appended,
// so that different ids keep different names.
func SafeName(id string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, id)
	if s = strings.TrimLeft(s, "."); s == "" {
		return distinctName(s, id)
	}
	if len(s) > 100 || s != id {
		s = s[:min(len(s), 80)]
		if strings.ContainsAny(strings.ReplaceAll(id, "/", "_"), "\\\x00") || s != strings.ReplaceAll(id, "/", "_") {
			s = distinctName(s, id)
		}
	}
	return s
}

// distinctName appends part of the id's hash to a name.
func distinctName(name, id string) string {
	sum := sha256.Sum256([]byte(id))
	return name + "-" + hex.EncodeToString(sum[:4])
}
