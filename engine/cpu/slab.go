package cpu

import "unsafe"

// heapBytes allocates zeroed memory on the heap, aligned for float32.
func heapBytes(bytes int) []byte {
	if bytes == 0 {
		return nil
	}
	words := make([]uint64, (bytes+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), bytes)
}

// slabOf views a slab as elements of another type.
func slabOf[T float32 | uint32 | uint16 | byte](s *slab) []T {
	if len(s.data) == 0 {
		return nil
	}
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(&s.data[0])), len(s.data)/int(unsafe.Sizeof(zero)))
}
