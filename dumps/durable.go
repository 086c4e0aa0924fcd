package dumps

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// File is what a Writer needs of the file it writes.
type File interface {
	io.WriterAt
	Sync() error
}

// renameOpen gives a file its name, durably, and closes it. Where the system lets
// it, the file is locked until it has the name.
func renameOpen(f *os.File, from, to string) error {
	if runtime.GOOS == "windows" { // no open file is renamed there, no folder synced
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

// removeOpen removes a file and closes it, in the order that lets no other
// process take it up between.
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
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
