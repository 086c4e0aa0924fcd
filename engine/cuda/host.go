//go:build cuda

package cuda

/*
#include <cuda.h>
*/
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// What gorgonia.org/cu does not wrap. Its handles are structs of one pointer
// (a test holds that), so ours is read out of them.

func code(name string, r C.CUresult) error {
	switch r {
	case C.CUDA_SUCCESS:
		return nil
	case C.CUDA_ERROR_OUT_OF_MEMORY:
		return call(name, cu.OutOfMemory)
	}
	var text *C.char
	if C.cuGetErrorName(r, &text) == C.CUDA_SUCCESS && text != nil {
		return fmt.Errorf("%s: CUDA error %s", name, C.GoString(text))
	}
	return fmt.Errorf("%s: CUDA error %d", name, int(r))
}

// pinned is page-locked host memory: the card copies into it while the program
// goes on, which Go's own memory must not be used for.
type pinned struct {
	at    unsafe.Pointer
	bytes int64
}

func allocPinned(n int64) (p pinned, err error) {
	err = code("cuMemHostAlloc", C.cuMemHostAlloc(&p.at, C.size_t(n), 0))
	p.bytes = n
	return p, err
}

func (p *pinned) free() {
	if p.at != nil {
		C.cuMemFreeHost(p.at)
	}
	*p = pinned{}
}

// floats are the first n floats from a byte offset.
func (p pinned) floats(offset int64, n int) []float32 {
	if offset+4*int64(n) > p.bytes {
		panic("cuda: past the end of pinned memory")
	}
	return unsafe.Slice((*float32)(unsafe.Add(p.at, offset)), n)
}

// halves are the first n 16-bit numbers from a byte offset.
func (p pinned) halves(offset int64, n int) []uint16 {
	if offset+2*int64(n) > p.bytes {
		panic("cuda: past the end of pinned memory")
	}
	return unsafe.Slice((*uint16)(unsafe.Add(p.at, offset)), n)
}

// allowShared lifts a kernel's limit of 48 KiB dynamic shared memory.
func allowShared(f cu.Function, n int) error {
	h := *(*C.CUfunction)(unsafe.Pointer(&f))
	return code("cuFuncSetAttribute", C.cuFuncSetAttribute(h, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(n)))
}
