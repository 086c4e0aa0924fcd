//go:build !unix

package checkpoint

import (
	"io"
	"os"
)

// mapFile reads the file: this system has no mmap.
func (m *mapped) mapFile(f *os.File) error {
	m.data = make([]byte, m.size)
	m.free = func() error { return nil }
	if _, err := io.ReadFull(f, m.data); err != nil {
		return err
	}
	return f.Close()
}

// forget does nothing without mmap.
func forget([]byte) {}

// ahead does nothing without mmap.
func ahead([]byte) {}
