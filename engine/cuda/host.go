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

// This file contains the driver functions that gorgonia.org/cu does not wrap. The
// handles of that package are structs of one pointer, as a test checks, so the pointer
// can be read from them.

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

// pinned is page-locked host memory. The card copies to it while the program continues;
// memory on the Go heap cannot be used for that.
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

// floats returns n floats from a byte offset.
func (p pinned) floats(offset int64, n int) []float32 {
	if offset+4*int64(n) > p.bytes {
		panic("cuda: past the end of pinned memory")
	}
	return unsafe.Slice((*float32)(unsafe.Add(p.at, offset)), n)
}

// halves returns n 16-bit numbers from a byte offset.
func (p pinned) halves(offset int64, n int) []uint16 {
	if offset+2*int64(n) > p.bytes {
		panic("cuda: past the end of pinned memory")
	}
	return unsafe.Slice((*uint16)(unsafe.Add(p.at, offset)), n)
}

// allowShared raises a kernel's limit of 48 KiB of dynamic shared memory to n bytes.
func allowShared(f cu.Function, n int) error {
	h := *(*C.CUfunction)(unsafe.Pointer(&f))
	return code("cuFuncSetAttribute", C.cuFuncSetAttribute(h, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(n)))
}
