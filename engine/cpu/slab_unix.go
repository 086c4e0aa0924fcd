//go:build unix

package cpu

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size that large memory is aligned to; what is smaller than
// mapLeast lies on the heap.
const (
	hugePage = 2 << 20
	mapLeast = 128 << 10
)

// slab is zeroed memory for weights and caches. Large ones lie outside the
// garbage collector's heap, so that a gigabyte of weights does not let it collect
// a gigabyte of garbage, in huge pages where the kernel has them. What reads a
// slab's memory must hold the slab until it has finished.
type slab struct {
	mapped []byte
	data   []byte
}

func newSlab(bytes int) *slab {
	if bytes < mapLeast {
		return &slab{data: plain(bytes)}
	}
	room := bytes
	if bytes >= hugePage {
		room += hugePage
	}
	m, err := unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return &slab{data: plain(bytes)}
	}
	s := &slab{mapped: m, data: m[:bytes:bytes]}
	if bytes >= hugePage {
		at := int(-uintptr(unsafe.Pointer(&m[0])) & (hugePage - 1))
		s.data = m[at : at+bytes : at+bytes]
		adviseHuge(s.data)
	}
	runtime.AddCleanup(s, func(m []byte) { _ = unix.Munmap(m) }, m)
	return s
}

// free gives the memory back before the collector finds out.
func (s *slab) free() {
	if s != nil && s.mapped != nil {
		_ = unix.Madvise(s.mapped, unix.MADV_DONTNEED)
	}
}
