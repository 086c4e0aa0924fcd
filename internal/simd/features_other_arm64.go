//go:build !linux && !darwin

package simd

// processorHasBF16 reports whether the processor has FEAT_BF16, which nothing tells here.
func processorHasBF16() bool { return false }
