//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"regexp"
	"unsafe"

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
	graph *graph     // collects launches while it is open; nil: none
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

// launch starts a kernel. gorgonia.org/cu copies eight bytes from the pointer to each
// parameter, so each parameter has its own slot. An empty grid launches nothing.
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
	slots := make([]uint64, len(params))
	for i, p := range params {
		switch v := p.(type) {
		case cu.DevicePtr:
			slots[i] = uint64(v)
		case uint64:
			slots[i] = v
		case int:
			if v > math.MaxInt32 || v < math.MinInt32 {
				return fmt.Errorf("kernel %s: parameter %d is %d, want a number of 32 bits", name, i, v)
			}
			slots[i] = uint64(uint32(int32(v)))
		case float32:
			slots[i] = uint64(math.Float32bits(v))
		default:
			panic(fmt.Sprintf("cuda: kernel %s: parameter %d is a %T", name, i, p))
		}
	}
	if l.graph != nil && l.graph.open {
		return l.graph.add(name, f, d, slots)
	}
	at := make([]unsafe.Pointer, len(slots))
	for i := range slots {
		at[i] = unsafe.Pointer(&slots[i])
	}
	l.times.mark(name)
	if err := f.Launch(d.x, y, z, d.threads, 1, 1, sharedBytes(name), l.stream, at); err != nil {
		return fmt.Errorf("kernel %s: %w", name, err)
	}
	l.times.mark("")
	return nil
}

// flag converts a Boolean to a kernel parameter.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
