package simd

import (
	"os"
	"unsafe"

	"golang.org/x/sys/cpu"
)

func init() {
	if cpu.X86.HasAVX512BF16 {
		avx512.dotBF16 = dots512
	}
	choose(os.Getenv("ATTNSCOPE_CPU"))
}

// choose selects the kernels for a value of ATTNSCOPE_CPU.
func choose(value string) {
	best := paths()
	switch value {
	case "", "amx", "amx-model":
	case "avx512":
		best = best[:min(3, len(best))]
	case "avx2":
		best = best[:min(2, len(best))]
	case "portable":
		best = best[:1]
	default:
		setting = unknownSetting(value, "amx", "amx-model", "avx512", "avx2", "portable")
	}
	active = byName(best[len(best)-1])
	activeTiles = noTiles
	switch {
	case value == "amx-model":
		activeTiles = modelTiles
		reason = "tiles are computed by a slow Go model, because ATTNSCOPE_CPU says so"
	case value != "" && value != "amx":
		reason = "ATTNSCOPE_CPU=" + value
	case !cpu.X86.HasAMXTile || !cpu.X86.HasAMXBF16:
		reason = "the processor has no AMX tiles for bfloat16"
	case active.name != "avx512":
		reason = "the processor has AMX, but not the AVX-512 that comes with it"
	case !permitTiles():
		reason = "the processor has AMX, but the system does not permit its use"
	default:
		activeTiles = hardwareTiles
		reason = "the processor has AMX, and the system permits its use"
	}
}

// paths lists the names of the sets that this processor can run, the fastest last.
func paths() []string {
	list := []string{"portable"}
	if !hasAVX2() {
		return list
	}
	list = append(list, "avx2")
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL {
		list = append(list, "avx512")
	}
	return list
}

// hasAVX2 reports whether the processor has AVX2, FMA and F16C.
func hasAVX2() bool {
	_, _, c, _ := cpuid(1, 0)
	return cpu.X86.HasAVX2 && cpu.X86.HasFMA && c>>29&1 == 1
}

func byName(name string) kernels {
	switch name {
	case "avx512":
		return avx512
	case "avx2":
		return avx2
	}
	return portable
}

var avx512 = kernels{
	name: "avx512",
	f32: []kernel{
		{14, 32, mul512x14},
		{8, 32, mul512x8},
		{4, 32, mul512x4},
		{3, 32, mul512x3},
		{2, 32, mul512x2},
		{1, 32, mul512x1},
	},
	bf16: []kernel{{4, 32, mulBF16512x4}, {3, 32, mulBF16512x3}, {2, 32, mulBF16512x2}, {1, 32, mulBF16512x1}},
	f16:  []kernel{{4, 32, mulF16512x4}, {3, 32, mulF16512x3}, {2, 32, mulF16512x2}, {1, 32, mulF16512x1}},

	unpack: [4]func(groups, size int, b unsafe.Pointer, dst *float32){
		unpackQ4F16_512, unpackQ4F32_512, unpackQ8F16_512, unpackQ8F32_512,
	},
	gemv: [4]func(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int){
		gemvQ4F16_512, gemvQ4F32_512, gemvQ8F16_512, gemvQ8F32_512,
	},
	gemvRows: [4][]rowsKernel{
		{{4, gemvRowsQ4F16_512x4}, {2, gemvRowsQ4F16_512x2}},
		{{4, gemvRowsQ4F32_512x4}, {2, gemvRowsQ4F32_512x2}},
		{{4, gemvRowsQ8F16_512x4}, {2, gemvRowsQ8F16_512x2}},
		{{4, gemvRowsQ8F32_512x4}, {2, gemvRowsQ8F32_512x2}},
	},
	widenBF16: widenBF16512,
	widenF16:  widenF16512,
	roundBF16: roundBF16_512,
	pause:     pause,
	peak:      peak512,
	peakOps:   12 * 16,
	vectors: vectors{
		expSum:     expSum512,
		max:        max512,
		scale:      scale512,
		axpy:       axpy512,
		sumRows:    sumRows512,
		siluMul:    siluMul512,
		sumSquares: sumSquares512,
		mulScaled:  mulScaled512,
		addFixed:   addFixed512,
		addWide:    addWide512,
		rowSums:    rowSums512,
	},
	moves:  movesAVX2,
	splits: splitsAVX2,
}

// dots512 are the products of bfloat16 pairs, which not all processors with AVX-512 have.
var dots512 = []kernel{
	{14, 32, dotBF16512x14},
	{8, 32, dotBF16512x8},
	{4, 32, dotBF16512x4},
	{2, 32, dotBF16512x2},
	{1, 32, dotBF16512x1},
}

var avx2 = kernels{
	name: "avx2",
	f32:  []kernel{{6, 16, mul256x6}, {4, 16, mul256x4}, {3, 32, mul256x3}, {2, 32, mul256x2}, {1, 32, mul256x1}},
	bf16: []kernel{{4, 16, mulBF16256x4}, {3, 32, mulBF16256x3}, {2, 32, mulBF16256x2}, {1, 32, mulBF16256x1}},
	f16:  []kernel{{4, 16, mulF16256x4}, {3, 32, mulF16256x3}, {2, 32, mulF16256x2}, {1, 32, mulF16256x1}},

	unpack: [4]func(groups, size int, b unsafe.Pointer, dst *float32){
		unpackQ4F16_256, unpackQ4F32_256, unpackQ8F16_256, unpackQ8F32_256,
	},
	gemv: [4]func(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int){
		gemvQ4F16_256, gemvQ4F32_256, gemvQ8F16_256, gemvQ8F32_256,
	},
	ints: [4]func(size int, b unsafe.Pointer, dst *float32){intsQ4_256, intsQ4_256, intsQ8_256, intsQ8_256},
	addGroup: [4]func(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32){
		addGroupF16_256, addGroupF32_256, addGroupF16_256, addGroupF32_256,
	},
	widenBF16: widenBF16256,
	widenF16:  widenF16256,
	pause:     pause,
	peak:      peak256,
	peakOps:   12 * 8,
	vectors: vectors{
		expSum:     expSum256,
		max:        max256,
		scale:      scale256,
		axpy:       axpy256,
		sumRows:    sumRows256,
		siluMul:    siluMul256,
		sumSquares: sumSquares256,
		mulScaled:  mulScaled256,
		addWide:    addWide256,
		rowSums:    rowSums256,
	},
	moves:  movesAVX2,
	splits: splitsAVX2,
}

// movesAVX2 holds the moves of both the AVX2 and the AVX-512 set: wider registers would
// not make them faster.
var movesAVX2 = moves{
	joinPlanes:    joinPlanes,
	joinHalves:    joinHalves,
	pack8:         pack8,
	between:       between,
	countNotBelow: countNotBelow,
	countBoth:     countBoth,
	sumWhere:      sumWhere,
	addDoubles:    addDoubles,
	narrowScaled:  narrowScaled,
}

// splitsAVX2 holds the packing of operands of tiles, for both sets.
var splitsAVX2 = splits{
	row:   [ExactTerms + 1]func(steps int, dst *uint16, x *float32){RoundedTerm: splitRow1, ExactTerms: splitRow3},
	pairs: splitPairs3,
	join:  joinPairs,
	groups: [4]func(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32){
		tileGroupsQ4F16_256, tileGroupsQ4F32_256, tileGroupsQ8F16_256, tileGroupsQ8F32_256,
	},
}
