package simd

import "golang.org/x/sys/unix"

// processorHasBF16 reports whether the processor has FEAT_BF16.
func processorHasBF16() bool {
	value, err := unix.SysctlUint32("hw.optional.arm.FEAT_BF16")
	return err == nil && value != 0
}
