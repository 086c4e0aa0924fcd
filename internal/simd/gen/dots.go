package main

import (
	"fmt"
	"strings"
)

// vdpbf16ps writes the instruction VDPBF16PS, dst += dot(a, b) of three 512-bit
// registers, as bytes, because the assembler does not support it. The encoding is
// EVEX.512.F3.0F38.W0 52 /r.
func vdpbf16ps(b, a, dst int) {
	not := func(v, bit int) byte { return byte(^v >> bit & 1) }
	p0 := not(dst, 3)<<7 | not(b, 4)<<6 | not(b, 3)<<5 | not(dst, 4)<<4 | 2
	p1 := byte(^a&15)<<3 | 1<<2 | 2
	p2 := byte(2<<5) | not(a, 4)<<3
	code := []byte{0x62, p0, p1, p2, 0x52, 0xc0 | byte(dst&7)<<3 | byte(b&7)}
	parts := make([]string, len(code))
	for i, c := range code {
		parts[i] = fmt.Sprintf("BYTE $%#02x", c)
	}
	ins("%s // VDPBF16PS Z%d, Z%d, Z%d", strings.Join(parts, "; "), b, a, dst)
}

// dots writes a kernel of rows x 32 elements over words of two bfloat16. A is row-major,
// B a panel [k][32].
func dots(rows int) {
	name := fmt.Sprintf("dotBF16512x%d", rows)
	prologue(name, rows)
	for i := range 2 * rows {
		ins("VPXORD Z%d, Z%d, Z%d", i, i, i)
	}
	if rows >= 8 {
		prefetchC(name, rows)
	}
	loop(name, rows, 128, func(u int) {
		ins("PREFETCHT0 %d(DI)", 2048+u*128)
		ins("PREFETCHT0 %d(DI)", 2048+u*128+64)
		ins("VMOVDQU32 %d(DI), Z30", u*128)
		ins("VMOVDQU32 %d(DI), Z31", u*128+64)
		for i := range rows {
			r := 28 + i%2
			ins("VPBROADCASTD %s, Z%d", rowAddr(i, 4*u), r)
			for h := range 2 {
				vdpbf16ps(r, 30+h, 2*i+h)
			}
		}
	})
	epilogue(name, rows, "Z", 64, 2)
}

// rounding writes the rounding of activations, 16 at a time.
func rounding() {
	line("// func roundBF16_512(n int, dst *uint16, x *float32)")
	line("TEXT ·roundBF16_512(SB), NOSPLIT, $0-24")
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("VPBROADCASTD roundc<>+0(SB), Z5")
	ins("VPBROADCASTD roundc<>+4(SB), Z6")
	ins("SHRQ $4, CX")
	line("roundBF16_512_loop:")
	ins("VMOVDQU32 (SI), Z0")
	ins("VPSRLD $16, Z0, Z1")
	ins("VPANDD Z5, Z1, Z1")
	ins("VPADDD Z6, Z0, Z0")
	ins("VPADDD Z1, Z0, Z0")
	ins("VPSRLD $16, Z0, Z0")
	ins("VPMOVDW Z0, (DI)")
	ins("ADDQ $64, SI")
	ins("ADDQ $32, DI")
	ins("DECQ CX")
	ins("JNZ roundBF16_512_loop")
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// dotKernels writes the kernels of products over words and of the rounding to words.
func dotKernels() {
	line("DATA roundc<>+0(SB)/4, $1")
	line("DATA roundc<>+4(SB)/4, $0x7fff")
	line("GLOBL roundc<>(SB), RODATA|NOPTR, $8")
	line("")
	for _, rows := range []int{14, 8, 4, 2, 1} {
		dots(rows)
	}
	rounding()
}
