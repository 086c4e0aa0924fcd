// Package outfile writes result files so that a run that fails leaves none, and
// replaces none: beside the path first, then renamed.
package outfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes path hold what write writes. Errors name path, not the file
// beside it.
func Write(path string, write func(w io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return named(path, "", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = named(path, f.Name(), err)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// named puts path in the place of the temporary file, tmp; empty: whatever file
// the error names.
func named(path, tmp string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) && (tmp == "" || at.Path == tmp) {
		return fmt.Errorf("%s: %w", path, at.Err)
	}
	var link *os.LinkError
	if errors.As(err, &link) && link.Old == tmp {
		return fmt.Errorf("%s: %w", path, link.Err)
	}
	return err
}
