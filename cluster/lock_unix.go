//go:build unix

package cluster

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock makes this process the only submitter until the file is closed.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
