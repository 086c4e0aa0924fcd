//go:build unix

package main

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// freeBytes returns the free space of the disk that a file is written to.
func freeBytes(path string) (int64, bool) {
	var s unix.Statfs_t
	if path == "" || unix.Statfs(filepath.Dir(path), &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
