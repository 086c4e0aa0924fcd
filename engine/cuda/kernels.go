//go:build cuda

package cuda

import (
	"fmt"
	"regexp"

	"gorgonia.org/cu"
)

// dtype is the type of the operands of products: activations, unquantized weights, keys
// and values.
type dtype uint8

const (
	f32 dtype = iota
	f16
	bf16
)

func (d dtype) String() string { return [...]string{"f32", "f16", "bf16"}[d] }

// bytes returns the size of an element.
func (d dtype) bytes() int64 {
	if d == f32 {
		return 4
	}
	return 2
}

// kernels holds the functions of a module, by name.
type kernels struct {
	fn    map[string]cu.Function
	times *stopwatch // of each launch
	graph *graph     // collects launches; nil: they are launched at once

	triton map[string]tritonKernel // the kernels of fn that Triton has compiled
}

// shared returns the dynamic shared memory of a kernel.
func (k *kernels) shared(name string) int {
	if t, ok := k.triton[name]; ok {
		return t.shared
	}
	return sharedBytes(name)
}

var entryName = regexp.MustCompile(`(?m)^\.visible \.entry (\w+)\(`)

// loadKernels looks up all functions that the PTX has, and raises the limit of shared memory for
// functions that need it.
func loadKernels(mod cu.Module, ptx string) (*kernels, error) {
	k := &kernels{fn: map[string]cu.Function{}}
	for _, m := range entryName.FindAllStringSubmatch(ptx, -1) {
		f, err := mod.Function(m[1])
		if err != nil {
			return nil, fmt.Errorf("kernel %s: %w", m[1], err)
		}
		if n := sharedBytes(m[1]); n > 48<<10 {
			if err := allowShared(f, n); err != nil {
				return nil, fmt.Errorf("kernel %s with %d bytes of shared memory: %w", m[1], n, err)
			}
		}
		k.fn[m[1]] = f
	}
	return k, nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
