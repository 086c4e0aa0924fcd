//go:build !unix

package cpu

// slab is zeroed memory for weights and caches.
type slab struct{ data []byte }

func newSlab(bytes int) *slab { return &slab{heapBytes(bytes)} }

func (*slab) free() {}
