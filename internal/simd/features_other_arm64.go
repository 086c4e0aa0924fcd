//go:build !linux && !darwin

package simd

// processorHasBF16 is false, because this system does not say whether the processor has
// FEAT_BF16.
func processorHasBF16() bool { return false }
