package simd

import (
	"os"
	"unsafe"
)

func init() {
	if processorHasBF16() {
		neon.dotBF16 = []kernel{
			{6, 16, dotBF16NEONx6},
			{4, 16, dotBF16NEONx4},
			{2, 32, dotBF16NEONx2},
			{1, 32, dotBF16NEONx1},
		}
	}
	active = neon
	switch value := os.Getenv("ATTNSCOPE_CPU"); value {
	case "", "neon":
		reason = "every arm64 processor has NEON"
	case "portable":
		active = portable
		reason = "ATTNSCOPE_CPU=portable"
	default:
		setting = unknownSetting(value, "neon", "portable")
	}
}

// paths lists the names of the sets that this processor can run, the fastest last.
// Every arm64 processor that Go supports has NEON.
func paths() []string { return []string{"portable", "neon"} }

func byName(name string) kernels {
	if name == "neon" {
		return neon
	}
	return portable
}

var neon = kernels{
	name: "neon",
	f32:  []kernel{{6, 16, mulNEONx6}, {4, 16, mulNEONx4}, {3, 32, mulNEONx3}, {2, 32, mulNEONx2}, {1, 32, mulNEONx1}},
	bf16: []kernel{{4, 16, mulBF16NEONx4}, {3, 32, mulBF16NEONx3}, {2, 32, mulBF16NEONx2}, {1, 32, mulBF16NEONx1}},
	f16:  []kernel{{4, 16, mulF16NEONx4}, {3, 32, mulF16NEONx3}, {2, 32, mulF16NEONx2}, {1, 32, mulF16NEONx1}},

	unpack: [4]func(groups, size int, b unsafe.Pointer, dst *float32){
		unpackQ4F16NEON, unpackQ4F32NEON, unpackQ8F16NEON, unpackQ8F32NEON,
	},
	gemv: [4]func(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int){
		gemvQ4F16NEON, gemvQ4F32NEON, gemvQ8F16NEON, gemvQ8F32NEON,
	},
	ints: [4]func(size int, b unsafe.Pointer, dst *float32){intsQ4NEON, intsQ4NEON, intsQ8NEON, intsQ8NEON},
	addGroup: [4]func(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32){
		addGroupF16NEON, addGroupF32NEON, addGroupF16NEON, addGroupF32NEON,
	},
	widenBF16: widenBF16NEON,
	widenF16:  widenF16NEON,
	roundBF16: roundBF16NEON,
	pause:     pauseNEON,
	peak:      peakNEON,
	peakOps:   24 * 4,
	vectors: vectors{
		expSum:     expSumNEON,
		max:        maxNEON,
		scale:      scaleNEON,
		axpy:       axpyNEON,
		sumRows:    sumRowsNEON,
		siluMul:    siluMulNEON,
		sumSquares: sumSquaresNEON,
		mulScaled:  mulScaledNEON,
		addFixed:   addFixedNEON,
		addWide:    addWideNEON,
		rowSums:    rowSumsNEON,
	},
	moves: moves{
		joinPlanes:    joinPlanesNEON,
		joinHalves:    joinHalvesNEON,
		pack8:         pack8NEON,
		between:       betweenNEON,
		countNotBelow: countNotBelowNEON,
		countBoth:     countBothNEON,
		sumWhere:      sumWhereNEON,
		addDoubles:    addDoublesNEON,
		narrowScaled:  narrowScaledNEON,
	},
}
