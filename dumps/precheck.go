package dumps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/internal/filelock"
)

// CheckCreate returns the error that [Create] would return for the same arguments, such
// as [ErrComplete], and changes no file. It lets a caller refuse a run before the work
// begins. That a file can be written it finds out by creating an empty one in the
// same folder, which it removes.
func CheckCreate(path string, h *Header, options CreateOptions) error {
	w := &Writer{path: path, options: options, header: h, done: map[string]bool{}}
	if _, err := w.checkExisting(); err != nil {
		return err
	}
	f, err := os.OpenFile(w.partial(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return checkFolder(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := filelock.Lock(f); err != nil {
		return fmt.Errorf("%s: %w", w.partial(), err)
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 {
		return err
	}
	if !options.Resume {
		if options.Force {
			return nil
		}
		return unfinished(w.partial())
	}
	scan, err := scanFile(f, fi.Size(), w.partial())
	switch {
	case errors.Is(err, ErrCorrupt): // it is kept under another name, and all prompts are run
		return nil
	case err != nil:
		return err
	}
	_, err = sameRun(w.partial(), scan.header, h)
	return err
}

// unfinished is the error for a partial file that is neither continued nor replaced.
func unfinished(path string) error {
	return fmt.Errorf(
		"%s exists: it holds an unfinished capture; use --resume to continue it or --force to start over", path)
}

// checkFolder returns an error if no file can be created beside path.
func checkFolder(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = fmt.Errorf("%s: cannot be created: %w", path, at.Err)
		}
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
