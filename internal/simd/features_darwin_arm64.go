package simd

import "golang.org/x/sys/unix"

// features reports whether the processor has FEAT_DotProd and FEAT_BF16.
func features() (dotProd, bf16 bool) {
	has := func(name string) bool {
		value, err := unix.SysctlUint32("hw.optional.arm." + name)
		return err == nil && value != 0
	}
	return has("FEAT_DotProd"), has("FEAT_BF16")
}
