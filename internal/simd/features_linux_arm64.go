package simd

import (
	"encoding/binary"
	"os"
)

// features reports whether the processor has FEAT_DotProd and FEAT_BF16. The kernel
// passes its list of features to every process; x/sys/cpu does not have all of them.
func features() (dotProd, bf16 bool) {
	const (
		hwcap, hwcap2 = 16, 26 // AT_HWCAP, AT_HWCAP2
		asimdDP       = 1 << 20
		bf16Bit       = 1 << 14
	)
	pairs, _ := os.ReadFile("/proc/self/auxv") // without it, neither is used
	for ; len(pairs) >= 16; pairs = pairs[16:] {
		value := binary.LittleEndian.Uint64(pairs[8:])
		switch binary.LittleEndian.Uint64(pairs) {
		case hwcap:
			dotProd = value&asimdDP != 0
		case hwcap2:
			bf16 = value&bf16Bit != 0
		}
	}
	return dotProd, bf16
}
