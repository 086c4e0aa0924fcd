package simd

// Features describes the kernels in use: their instruction set, and whether the processor
// has products of bfloat16, such as "neon kernels, products of bfloat16".
func Features() string {
	text := Path() + " kernels"
	if HasDotBF16() {
		text += ", products of bfloat16"
	}
	if reason != "" {
		text += " (" + reason + ")"
	}
	return text
}
