//go:build unix

package checkpoint

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps the file read-only. All processes that map it share its pages.
func (m *mapped) mapFile(f *os.File) error {
	m.file = f
	m.free = func() error { return nil }
	if m.size == 0 {
		return nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(m.size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m.data = data
	m.free = func() error { return unix.Munmap(data) }
	return nil
}

// forget lets the system reclaim the pages that lie completely within b, a part of a
// mapped file. They are read again on the next access.
func forget(b []byte) {
	if len(b) == 0 {
		return
	}
	page := os.Getpagesize()
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & uintptr(page-1))
	if whole := (len(b) - skip) / page * page; whole > 0 {
		_ = unix.Madvise(b[skip:skip+whole], unix.MADV_DONTNEED)
	}
}

// ahead asks the system to read the pages of b, a part of a mapped file.
func ahead(b []byte) {
	if len(b) == 0 {
		return
	}
	skip := int(uintptr(unsafe.Pointer(&b[0])) & uintptr(os.Getpagesize()-1))
	start := unsafe.Add(unsafe.Pointer(&b[0]), -skip) // the mapping begins at a page
	_ = unix.Madvise(unsafe.Slice((*byte)(start), len(b)+skip), unix.MADV_WILLNEED)
}
