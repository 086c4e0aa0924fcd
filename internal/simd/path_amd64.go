package simd

import (
	"os"
	"unsafe"

	"golang.org/x/sys/cpu"
)

func init() {
	has2 := has256()
	has512 := has2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL
	switch os.Getenv("ATTNSCOPE_CPU") {
	case "portable":
		has2, has512 = false, false
	case "avx2":
		has512 = false
	}
	if cpu.X86.HasAVX512BF16 {
		avx512.dotBF16 = []kernel{{14, 32, dotBF16512x14}, {8, 32, dotBF16512x8}, {4, 32, dotBF16512x4}, {2, 32, dotBF16512x2}, {1, 32, dotBF16512x1}}
	}
	if cpu.X86.HasAVX512VNNI {
		avx512.dotI8 = []kernel{{14, 32, dotI8512x14}, {8, 32, dotI8512x8}, {4, 32, dotI8512x4}, {2, 32, dotI8512x2}, {1, 32, dotI8512x1}}
	}
	switch {
	case has512:
		use(avx512)
	case has2:
		use(avx2)
	}
}

// has256 says whether there are AVX2, FMA and F16C.
func has256() bool {
	_, _, c, _ := cpuid(1, 0)
	return cpu.X86.HasAVX2 && cpu.X86.HasFMA && c>>29&1 == 1
}

func paths() []string {
	list := []string{"portable"}
	if has256() {
		list = append(list, "avx2")
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL {
			list = append(list, "avx512")
		}
	}
	return list
}

var avx512 = kernels{
	name: "avx512",
	f32: []kernel{
		{14, 32, mul512x14}, {8, 32, mul512x8}, {4, 32, mul512x4}, {3, 32, mul512x3}, {2, 32, mul512x2}, {1, 32, mul512x1},
	},
	bf16: []kernel{{4, 32, mulBF16512x4}, {3, 32, mulBF16512x3}, {2, 32, mulBF16512x2}, {1, 32, mulBF16512x1}},
	f16:  []kernel{{4, 32, mulF16512x4}, {3, 32, mulF16512x3}, {2, 32, mulF16512x2}, {1, 32, mulF16512x1}},

	unpack:    [4]func(int, int, unsafe.Pointer, *float32){unpackQ4F16_512, unpackQ4F32_512, unpackQ8F16_512, unpackQ8F32_512},
	gemv:      [4]func(int, int, *float32, *float32, unsafe.Pointer, *float32, int){gemvQ4F16_512, gemvQ4F32_512, gemvQ8F16_512, gemvQ8F32_512},
	widenBF16: widenBF16512, widenF16: widenF16512, pause: pause, peak: peak512, peakWidth: 16,
	vectors: vectors{expSum512, max512, scale512, axpy512, sumRows512, siluMul512, sumSquares512, mulScaled512, addFixed512, addWide512, rowSums512},
	moves:   moves{joinPlanes, joinHalves, pack8, between, countNotBelow, countBoth, sumWhere, addDoubles, narrowScaled},
}

var avx2 = kernels{
	name: "avx2",
	f32:  []kernel{{6, 16, mul256x6}, {4, 16, mul256x4}, {3, 16, mul256x3}, {2, 16, mul256x2}, {1, 16, mul256x1}},
	bf16: []kernel{{4, 16, mulBF16256x4}, {3, 16, mulBF16256x3}, {2, 16, mulBF16256x2}, {1, 16, mulBF16256x1}},
	f16:  []kernel{{4, 16, mulF16256x4}, {3, 16, mulF16256x3}, {2, 16, mulF16256x2}, {1, 16, mulF16256x1}},

	unpack:    [4]func(int, int, unsafe.Pointer, *float32){unpackQ4F16_256, unpackQ4F32_256, unpackQ8F16_256, unpackQ8F32_256},
	gemv:      [4]func(int, int, *float32, *float32, unsafe.Pointer, *float32, int){gemvQ4F16_256, gemvQ4F32_256, gemvQ8F16_256, gemvQ8F32_256},
	widenBF16: widenBF16256, widenF16: widenF16256, pause: pause, peak: peak256, peakWidth: 8,
	vectors: vectors{expSum256, max256, scale256, axpy256, sumRows256, siluMul256, sumSquares256, mulScaled256, nil, addWide256, rowSums256},
	moves:   moves{joinPlanes, joinHalves, pack8, between, countNotBelow, countBoth, sumWhere, addDoubles, narrowScaled},
}

// roundBF16 and roundI8 narrow n values, a multiple of 16, with AVX-512.
var roundBF16, roundI8 = roundBF16_512, roundI8_512

func byName(name string) kernels {
	switch name {
	case "avx512":
		return avx512
	case "avx2":
		return avx2
	}
	return portable
}
