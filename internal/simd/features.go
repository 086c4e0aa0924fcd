package simd

import "strings"

// Features describes the kernels in use: their instruction set, and the narrow types for
// which the processor has products, such as "neon kernels, products of bfloat16 and int8".
func Features() string {
	var narrow []string
	if HasDotBF16() {
		narrow = append(narrow, "bfloat16")
	}
	if HasDotI8() {
		narrow = append(narrow, "int8")
	}
	text := Path() + " kernels"
	if len(narrow) > 0 {
		text += ", products of " + strings.Join(narrow, " and ")
	}
	if reason != "" {
		text += " (" + reason + ")"
	}
	return text
}
