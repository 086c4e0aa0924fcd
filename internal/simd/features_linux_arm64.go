package simd

import (
	"encoding/binary"
	"os"
)

// processorHasBF16 reports whether the processor has FEAT_BF16. The kernel passes its
// list of features to every process; x/sys/cpu does not have this one.
func processorHasBF16() bool {
	const (
		hwcap2  = 26 // AT_HWCAP2
		bf16Bit = 1 << 14
	)
	pairs, _ := os.ReadFile("/proc/self/auxv") // without it, it is not used
	for ; len(pairs) >= 16; pairs = pairs[16:] {
		if binary.LittleEndian.Uint64(pairs) == hwcap2 {
			return binary.LittleEndian.Uint64(pairs[8:])&bf16Bit != 0
		}
	}
	return false
}
