//go:build unix

package cpu

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory of hugePage bytes or more is aligned to hugePage; memory of less than
// mapLeast bytes is on the heap.
const (
	hugePage = 2 << 20
	mapLeast = 128 << 10
)

// slab is zeroed memory for weights and caches. Large slabs are outside the garbage
// collector's heap, so that the collector does not wait for a gigabyte of garbage
// because of a gigabyte of weights. They use huge pages if the kernel supports them.
// Code that reads a slab's memory must keep the slab reachable until it has finished.
type slab struct {
	mapped []byte
	data   []byte
}

func newSlab(bytes int) *slab {
	if bytes < mapLeast {
		return &slab{data: heapBytes(bytes)}
	}
	room := bytes
	if bytes >= hugePage {
		room += hugePage
	}
	m, err := unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return &slab{data: heapBytes(bytes)}
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

// free returns the memory to the system; the slab must not be used afterwards.
func (s *slab) free() {
	if s != nil && s.mapped != nil {
		_ = unix.Madvise(s.mapped, unix.MADV_DONTNEED)
	}
}
