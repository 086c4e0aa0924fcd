//go:build cuda

package cuda

/*
#include "launch.h"
*/
import "C"

import (
	"fmt"
	"math"
	"unsafe"

	"gorgonia.org/cu"
)

// launcher launches kernels on a stream. It must be used on the card's thread.
type launcher struct {
	*kernels
	stream cu.Stream
}

func (k *kernels) on(s cu.Stream) launcher { return launcher{k, s} }

// dims holds the blocks of a grid and the threads of a block; y and z may be 0, which
// means 1.
type dims struct{ x, y, z, threads int }

// grid returns dims that are empty if one of x, y and z is 0.
func grid(x, y, z, threads int) dims {
	if x*y*z == 0 {
		return dims{}
	}
	return dims{x, y, z, threads}
}

// launch starts a kernel, or collects it while a graph is open. An empty grid launches
// nothing.
func (l launcher) launch(name string, d dims, params ...any) error {
	f, ok := l.fn[name]
	if !ok {
		return fmt.Errorf("no kernel %s", name)
	}
	y, z := max(d.y, 1), max(d.z, 1)
	if d.x == 0 {
		return nil
	}
	if y > 65535 || z > 65535 {
		return fmt.Errorf("kernel %s: a grid of %d x %d x %d blocks, want at most 65535 in y and z", name, d.x, y, z)
	}
	k := C.kernel_launch{
		f: C.ulonglong(*(*uintptr)(unsafe.Pointer(&f))), n: C.int(len(params)),
		x: C.uint(d.x), y: C.uint(y), z: C.uint(z), threads: C.uint(d.threads), shared: C.uint(l.shared(name)),
	}
	if len(params) > len(k.params) {
		return fmt.Errorf("kernel %s: %d parameters, want at most %d", name, len(params), len(k.params))
	}
	for i, p := range params {
		switch v := p.(type) {
		case cu.DevicePtr:
			k.params[i] = C.ulonglong(v)
		case uint64:
			k.params[i] = C.ulonglong(v)
		case int:
			if v > math.MaxInt32 || v < math.MinInt32 {
				return fmt.Errorf("kernel %s: parameter %d is %d, want a number of 32 bits", name, i, v)
			}
			k.params[i] = C.ulonglong(uint32(int32(v)))
		case float32:
			k.params[i] = C.ulonglong(math.Float32bits(v))
		default:
			panic(fmt.Sprintf("cuda: kernel %s: parameter %d is a %T", name, i, p))
		}
	}
	if l.graph != nil {
		l.graph.add(name, k)
		return nil
	}
	l.times.mark(name)
	if err := launchNow(name, &k, *(*C.CUstream)(unsafe.Pointer(&l.stream))); err != nil {
		return err
	}
	l.times.mark("")
	return nil
}

// launchNow launches a kernel on a stream.
func launchNow(name string, k *C.kernel_launch, s C.CUstream) error {
	if err := code("cuLaunchKernel", C.launch_now(k, s)); err != nil {
		return fmt.Errorf("kernel %s: %w", name, err)
	}
	return nil
}

// flag converts a Boolean to a kernel parameter.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
