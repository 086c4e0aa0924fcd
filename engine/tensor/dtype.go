package tensor

import "fmt"

// DType is the type of a tensor's elements in its file.
type DType uint8

// The types of safetensors and GGUF files that are supported.
const (
	Unknown DType = iota
	F32
	F16
	BF16
	F64
	I8
	U8
	I16
	U16
	I32
	U32
	I64
	U64
	Bool
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	IQ4_NL
	IQ4_XS
	MXFP4
	TQ2_0
	TQ1_0
	IQ1_S
	IQ1_M
	IQ2_XXS
	IQ2_XS
	IQ2_S
	IQ3_XXS
	IQ3_S
	F8_E4M3
	F8_E5M2
)

// layout holds, for each type, its name and the numbers of elements and bytes per
// block.
var layout = [...]struct {
	name         string
	block, bytes int
}{
	Unknown: {"unknown", 1, 0},
	F32:     {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2}, F64: {"F64", 1, 8},
	I8: {"I8", 1, 1}, U8: {"U8", 1, 1}, I16: {"I16", 1, 2}, U16: {"U16", 1, 2},
	I32: {"I32", 1, 4}, U32: {"U32", 1, 4}, I64: {"I64", 1, 8}, U64: {"U64", 1, 8}, Bool: {"BOOL", 1, 1},
	Q4_0: {"Q4_0", 32, 18}, Q4_1: {"Q4_1", 32, 20},
	Q5_0: {"Q5_0", 32, 22}, Q5_1: {"Q5_1", 32, 24}, Q8_0: {"Q8_0", 32, 34},
	Q2_K: {"Q2_K", 256, 84}, Q3_K: {"Q3_K", 256, 110}, Q4_K: {"Q4_K", 256, 144},
	Q5_K: {"Q5_K", 256, 176}, Q6_K: {"Q6_K", 256, 210},
	IQ4_NL: {"IQ4_NL", 32, 18}, IQ4_XS: {"IQ4_XS", 256, 136}, MXFP4: {"MXFP4", 32, 17}, TQ2_0: {"TQ2_0", 256, 66},
	TQ1_0: {"TQ1_0", 256, 54}, IQ1_S: {"IQ1_S", 256, 50}, IQ1_M: {"IQ1_M", 256, 56},
	IQ2_XXS: {"IQ2_XXS", 256, 66}, IQ2_XS: {"IQ2_XS", 256, 74}, IQ2_S: {"IQ2_S", 256, 82},
	IQ3_XXS: {"IQ3_XXS", 256, 98}, IQ3_S: {"IQ3_S", 256, 110},
	F8_E4M3: {"F8_E4M3", 1, 1}, F8_E5M2: {"F8_E5M2", 1, 1},
}

func (d DType) String() string {
	if int(d) < len(layout) {
		return layout[d].name
	}
	return fmt.Sprintf("dtype %d", uint8(d))
}

// ParseDType returns the type with the given name, or Unknown if there is none.
func ParseDType(name string) DType {
	for d, l := range layout {
		if l.name == name && d != 0 {
			return DType(d)
		}
	}
	return Unknown
}

// Bytes returns the size of n elements. It fails if they do not fill whole blocks.
func (d DType) Bytes(n int) (int, error) {
	if d == Unknown || int(d) >= len(layout) {
		return 0, fmt.Errorf("%s cannot be read", d)
	}
	l := layout[d]
	if n%l.block != 0 {
		return 0, fmt.Errorf("%d elements of %s: want a multiple of %d", n, d, l.block)
	}
	return n / l.block * l.bytes, nil
}

// FloatTypes names the supported types of unquantized weights.
func FloatTypes() []string { return []string{F32.String(), F16.String(), BF16.String()} }

// BlockTypes names the quantized types, all of which are types of GGUF files.
func BlockTypes() []string {
	var names []string
	for _, l := range layout {
		if l.block > 1 {
			names = append(names, l.name)
		}
	}
	return names
}
