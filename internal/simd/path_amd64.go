package simd

import (
	"os"
	"unsafe"

	"golang.org/x/sys/cpu"
)

func init() {
	has2 := cpu.X86.HasAVX2 && cpu.X86.HasFMA
	has512 := has2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL
	switch os.Getenv("ATTNSCOPE_CPU") {
	case "portable":
		has2, has512 = false, false
	case "avx2":
		has512 = false
	}
	switch {
	case has512:
		use(avx512)
	case has2:
		use(avx2)
	}
}

func paths() []string {
	list := []string{"portable"}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
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
		{14, 32, mul512x14}, {8, 32, mul512x8}, {4, 32, mul512x4}, {2, 32, mul512x2}, {1, 32, mul512x1},
	},
	bf16: []kernel{
		{14, 32, mulBF512x14}, {8, 32, mulBF512x8}, {4, 32, mulBF512x4}, {2, 32, mulBF512x2}, {1, 32, mulBF512x1},
	},
	expSum: expSum512,
	max:    max512,
}

var avx2 = kernels{
	name: "avx2",
	f32:  []kernel{{6, 16, mul256x6}, {4, 16, mul256x4}, {2, 16, mul256x2}, {1, 16, mul256x1}},
	bf16: []kernel{{6, 16, mulBF256x6}, {4, 16, mulBF256x4}, {2, 16, mulBF256x2}, {1, 16, mulBF256x1}},

	expSum: expSum256,
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

var _ unsafe.Pointer
