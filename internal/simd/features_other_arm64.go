//go:build !linux && !darwin

package simd

import "golang.org/x/sys/cpu"

// features reports whether the processor has FEAT_DotProd and FEAT_BF16. Nothing tells
// about the latter here.
func features() (dotProd, bf16 bool) { return cpu.ARM64.HasASIMDDP, false }
