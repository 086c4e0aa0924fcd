//go:build unix

package dumps

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock makes this process the file's only writer until the file is closed. Where the
// file system has no locks, such as Lustre mounted without them, lock succeeds without
// locking: users must see to it that only one capture writes a file.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errors.New("another process is writing it")
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
		return nil
	}
	return err
}
