// Package outfile writes result files atomically: a run that fails leaves no file and
// does not change an existing one. The content goes to a temporary file in the same
// folder, which is renamed at the end.
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

// Check returns an error if there is something at path that no file may replace: a device,
// a pipe or a socket.
func Check(path string) error {
	at, err := os.Lstat(path)
	const special = fs.ModeDevice | fs.ModeNamedPipe | fs.ModeSocket | fs.ModeIrregular
	if err == nil && at.Mode()&special != 0 {
		return fmt.Errorf("%s is a device, a pipe or a socket, which a file would replace", path)
	}
	return nil
}

// Write creates or replaces the file at path with what write writes to its argument,
// with mode 0644. It returns the error of write unchanged; errors of the file system
// name path instead of the temporary file.
func Write(path string, write func(w io.Writer) error) (err error) {
	if err := Check(path); err != nil {
		return err
	}
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

// named returns err with path instead of the temporary file tmp, or instead of any
// file if tmp is empty.
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
