// Package cuda runs decoders on an NVIDIA card. It is built with the tag cuda; without
// the tag, or without a card, Devices says why there is no card.
//
// To build with the tag, no CUDA toolkit is needed: include/cuda.h is part of the
// package. To start the program, no driver is needed: tramp looks up libcuda.so.1 at run
// time. docs/CUDA.md describes how the package is built and tested.
//
//	list, why := cuda.Devices()         // why is empty if there is a card
//	m, err := cuda.Load(0, decoder, cuda.Options{})
//	s := m.NewSequence()
//	err = s.Forward(ctx, tokens, cuda.Pass{LogitsFrom: len(tokens) - 1, Logits: take})
package cuda

import (
	"fmt"

	"github.com/attnscope/attnscope/internal/sizes"
)

// Device is a card.
type Device struct {
	Index      int    `json:"index"`
	Name       string `json:"name"`
	Capability [2]int `json:"compute_capability"`
	Memory     int64  `json:"memory_bytes"`
	Free       int64  `json:"free_bytes"`    // 0 if the card cannot be used
	Driver     [2]int `json:"driver_cuda"`   // CUDA version of the driver
	Why        string `json:"why,omitempty"` // why the card cannot be used; empty if it can
}

// The oldest driver and card that can run the kernels.
var (
	NeedDriver     = [2]int{11, 0} // PTX 7.0
	NeedCapability = [2]int{8, 0}  // Ampere: bfloat16 products
)

// NoDeviceError says why a card cannot be used.
type NoDeviceError struct{ Why string }

func (e *NoDeviceError) Error() string { return e.Why }

// UnsupportedError says that a model needs something that the kernels do not support.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return e.What + " cannot run on a card yet" }

// Hint tells the user what to do.
func (e *UnsupportedError) Hint() string { return "--device cpu runs it on the processor" }

// MemoryError says that the card's memory is too small for something.
type MemoryError struct {
	What               string
	Want, Free, Memory int64 // bytes
	hint               string
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the card's memory is too small for %s: %s wanted, %s of %s free", e.What, sizes.Text(e.Want), sizes.Text(e.Free), sizes.Text(e.Memory))
}

// Hint tells the user what to do.
func (e *MemoryError) Hint() string { return e.hint }
