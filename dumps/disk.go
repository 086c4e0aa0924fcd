package dumps

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/attnscope/attnscope/internal/filelock"
)

// File has the methods that a Writer needs of the file it writes.
type File interface {
	io.WriterAt
	Sync() error
}

// openLocked opens or creates a file for this process alone. The previous writer may
// have renamed the file while this process waited for the lock, so the locked file
// must still be the one at path.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := filelock.Lock(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		locked, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(locked, named) {
			return f, nil
		}
		f.Close()
	}
}

// renameOpen renames a file durably and closes it. Where the system allows it, the
// file stays locked until it has its new name.
func renameOpen(f *os.File, from, to string) error {
	if runtime.GOOS == "windows" { // open files cannot be renamed there, nor folders synced
		if err := f.Close(); err != nil {
			return err
		}
		return os.Rename(from, to)
	}
	err := os.Rename(from, to)
	if err == nil {
		err = syncFolder(to)
	}
	return errors.Join(err, f.Close())
}

// removeOpen removes a file and closes it, in an order that keeps other processes from
// opening it in between.
func removeOpen(f *os.File, path string) error {
	if runtime.GOOS == "windows" {
		return errors.Join(f.Close(), os.Remove(path))
	}
	return errors.Join(os.Remove(path), f.Close())
}

// syncFolder makes a rename in the folder of path durable.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// setAside renames a damaged file to the first free name: PATH.damaged,
// PATH.damaged2, ...
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		to := path + ".damaged"
		if n > 1 {
			to = fmt.Sprintf("%s.damaged%d", path, n)
		}
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			return to, os.Rename(path, to)
		}
	}
}
