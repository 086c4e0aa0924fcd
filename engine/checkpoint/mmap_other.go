//go:build !unix

package checkpoint

import (
	"io"
	"os"
)

// mapFile reads the file: this system has no mmap.
func mapFile(f *os.File, size int64) ([]byte, func() error, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(f, b)
	return b, func() error { return nil }, err
}

// forget does nothing without mmap.
func forget([]byte) {}
