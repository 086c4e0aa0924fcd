package main

import (
	"fmt"
	"math"
)

// width is a register width: each vector operation has a kernel with Z registers for
// AVX-512 and one with Y registers for AVX2. Both process 16 values at a time.
type width struct {
	reg    string
	suffix string
	bytes  int
}

var widths = []width{{"Z", "512", 64}, {"Y", "256", 32}}

// r returns the name of register i.
func (w width) r(i int) string { return fmt.Sprintf("%s%d", w.reg, i) }

// expConstants lists the constants of exp, in the order of expc. They approximate e^r
// on [-ln2/2, ln2/2] by 1 + r + c2 r² + ... + c5 r⁵, with a relative error of 1.1e-7.
var expConstants = []struct {
	bits    uint32
	meaning string
}{
	{0x3fb8aa3b, "log2(e)"},
	{0x4b400000, "1.5 * 2^23: adding it rounds to an integer"},
	{0x3f317218, "ln2"},
	{0x3c083138, "c5"},
	{0x3d2b950f, "c4"},
	{0x3e2aabd7, "c3"},
	{0x3efffefe, "c2"},
	{0x3f800000, "1"},
	{0xc2ae0000, "-87: below it exp is given as 0"},
}

// Offsets of the constants in expc.
const (
	cLog2e = 4 * iota
	cMagic
	cLn2
	c5
	c4
	c3
	c2
	cOne
	cLeast
)

func data() {
	for i, c := range expConstants {
		line("DATA expc<>+%d(SB)/4, $%#08x // %s", 4*i, c.bits, c.meaning)
	}
	line("GLOBL expc<>(SB), RODATA|NOPTR, $%d", 4*len(expConstants))
	line("")
}

// expBody replaces register x by exp(x); registers n and p are overwritten. The
// constants are in the registers that loadExp loads.
func (w width) expBody(x, n, p int) {
	X, N, P := w.r(x), w.r(n), w.r(p)
	if w.reg == "Z" {
		ins("VCMPPS $5, Z23, %s, K1", X) // not below: NaN stays NaN
		ins("VMOVAPS Z30, %s", N)
		ins("VFMADD231PS Z31, %s, %s", X, N)
		ins("VSUBPS Z30, %s, %s", N, P)
		ins("VFNMADD231PS Z29, %s, %s", P, X)
		ins("VMOVAPS Z28, %s", P)
		for _, c := range []int{27, 26, 25, 24, 24} {
			ins("VFMADD213PS Z%d, %s, %s", c, X, P)
		}
		ins("VPSLLD $23, %s, %s", N, N)
		ins("VPADDD.Z %s, %s, K1, %s", N, P, X)
		return
	}
	ins("VCMPPS $5, Y15, %s, Y14", X)
	ins("VMOVAPS Y13, %s", N)
	ins("VFMADD231PS Y12, %s, %s", X, N)
	ins("VSUBPS Y13, %s, %s", N, P)
	ins("VFNMADD231PS Y11, %s, %s", P, X)
	ins("VBROADCASTSS expc<>+%d(SB), %s", c5, P)
	for _, c := range []int{10, 9, 8, 7, 7} {
		ins("VFMADD213PS Y%d, %s, %s", c, X, P)
	}
	ins("VPSLLD $23, %s, %s", N, N)
	ins("VPADDD %s, %s, %s", N, P, X)
	ins("VANDPS Y14, %s, %s", X, X)
}

// loadExp loads the constants of exp: into registers 23 to 31 for AVX-512; into 7 to
// 13 and 15 for AVX2, where c5 stays in memory.
func (w width) loadExp() {
	regs := [][2]int{
		{31, cLog2e}, {30, cMagic}, {29, cLn2}, {28, c5}, {27, c4}, {26, c3}, {25, c2}, {24, cOne}, {23, cLeast},
	}
	if w.reg == "Y" {
		regs = [][2]int{
			{12, cLog2e}, {13, cMagic}, {11, cLn2}, {10, c4}, {9, c3}, {8, c2}, {7, cOne}, {15, cLeast},
		}
	}
	for _, r := range regs {
		ins("VBROADCASTSS expc<>+%d(SB), %s", r[1], w.r(r[0]))
	}
}

// reduce leaves the sum or maximum of the lanes of register 0 in X0; register 1 is
// overwritten.
func (w width) reduce(op string) {
	if w.reg == "Z" {
		ins("VEXTRACTF64X4 $1, Z0, Y1")
		ins("%s Y1, Y0, Y0", op)
	}
	ins("VEXTRACTF128 $1, Y0, X1")
	ins("%s X1, X0, X0", op)
	ins("VPSHUFD $0x4e, X0, X1")
	ins("%s X1, X0, X0", op)
	ins("VPSHUFD $0xb1, X0, X1")
	ins("%s X1, X0, X0", op)
}

// each writes a loop over CX values, 16 at a time, that advances the given registers.
func (w width) each(label string, advance []string, body func(disp int)) {
	ins("SHRQ $4, CX")
	line("%s:", label)
	for disp := 0; disp < 64; disp += w.bytes {
		body(disp)
	}
	for _, r := range advance {
		ins("ADDQ $64, %s", r)
	}
	ins("DECQ CX")
	ins("JNZ %s", label)
}

func (w width) expSum() {
	name := "expSum" + w.suffix
	line("// func %s(n int, x *float32, m float32, sum *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("MOVQ sum+24(FP), DX")
	w.loadExp()
	m, sum := 22, 21
	if w.reg == "Y" {
		m, sum = 6, 5
	}
	ins("VBROADCASTSS m+16(FP), %s", w.r(m))
	ins("VXORPS %s, %s, %s", w.r(sum), w.r(sum), w.r(sum))
	w.each(name+"_loop", []string{"SI"}, func(disp int) {
		ins("VMOVUPS %d(SI), %s", disp, w.r(0))
		ins("VSUBPS %s, %s, %s", w.r(m), w.r(0), w.r(0))
		w.expBody(0, 1, 2)
		ins("VMOVUPS %s, %d(SI)", w.r(0), disp)
		ins("VADDPS %s, %s, %s", w.r(0), w.r(sum), w.r(sum))
	})
	ins("VMOVAPS %s, %s", w.r(sum), w.r(0))
	w.reduce("VADDPS")
	w.end("VMOVSS X0, (DX)")
}

// end writes the last instruction, if any, and the return.
func (w width) end(last string) {
	if last != "" {
		ins("%s", last)
	}
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

func (w width) max() {
	name := "max" + w.suffix
	line("// func %s(n int, x *float32, max *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("MOVQ max+16(FP), DX")
	ins("VBROADCASTSS (SI), %s", w.r(0))
	w.each(name+"_loop", []string{"SI"}, func(disp int) { ins("VMAXPS %d(SI), %s, %s", disp, w.r(0), w.r(0)) })
	w.reduce("VMAXPS")
	w.end("VMOVSS X0, (DX)")
}

func (w width) scale() {
	name := "scale" + w.suffix
	line("// func %s(n int, x *float32, s float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-20", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("VBROADCASTSS s+16(FP), %s", w.r(0))
	w.each(name+"_loop", []string{"SI"}, func(disp int) {
		ins("VMULPS %d(SI), %s, %s", disp, w.r(0), w.r(1))
		ins("VMOVUPS %s, %d(SI)", w.r(1), disp)
	})
	w.end("")
}

func (w width) add() {
	name := "axpy" + w.suffix
	line("// func %s(n int, dst, x *float32, s float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-28", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("VBROADCASTSS s+24(FP), %s", w.r(0))
	w.each(name+"_loop", []string{"SI", "DI"}, func(disp int) {
		ins("VMULPS %d(SI), %s, %s", disp, w.r(0), w.r(1))
		ins("VADDPS %d(DI), %s, %s", disp, w.r(1), w.r(1))
		ins("VMOVUPS %s, %d(DI)", w.r(1), disp)
	})
	w.end("")
}

// sumRows writes a kernel for dst[j] = Σ_r x[r*stride+j].
func (w width) sumRows() {
	name := "sumRows" + w.suffix
	line("// func %s(n int, dst, x *float32, stride, rows int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-40", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("MOVQ stride+24(FP), R8")
	ins("SHLQ $2, R8")
	ins("MOVQ rows+32(FP), R9")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	vectors := 64 / w.bytes
	for v := range vectors {
		ins("VXORPS %s, %s, %s", w.r(v), w.r(v), w.r(v))
	}
	ins("MOVQ SI, R10")
	ins("MOVQ R9, R11")
	line("%s_row:", name)
	for v := range vectors {
		ins("VADDPS %d(R10), %s, %s", v*w.bytes, w.r(v), w.r(v))
	}
	ins("ADDQ R8, R10")
	ins("DECQ R11")
	ins("JNZ %s_row", name)
	for v := range vectors {
		ins("VMOVUPS %s, %d(DI)", w.r(v), v*w.bytes)
	}
	ins("ADDQ $64, SI")
	ins("ADDQ $64, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	w.end("")
}

// siluMul writes a kernel for g/(1+exp(-g)) * u.
func (w width) siluMul() {
	name := "siluMul" + w.suffix
	line("// func %s(n int, dst, gate, up *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ gate+16(FP), SI")
	ins("MOVQ up+24(FP), R8")
	w.loadExp()
	one := 24
	if w.reg == "Y" {
		one = 7
	}
	w.each(name+"_loop", []string{"SI", "DI", "R8"}, func(disp int) {
		ins("VMOVUPS %d(SI), %s", disp, w.r(3))
		ins("VXORPS %s, %s, %s", w.r(0), w.r(0), w.r(0))
		ins("VSUBPS %s, %s, %s", w.r(3), w.r(0), w.r(0))
		// exp must stay finite: silu(-80) is 0 in float32 sums.
		ins("VBROADCASTSS siluc<>+0(SB), %s", w.r(1))
		ins("VMINPS %s, %s, %s", w.r(0), w.r(1), w.r(0))
		w.expBody(0, 1, 2)
		ins("VADDPS %s, %s, %s", w.r(one), w.r(0), w.r(0))
		ins("VDIVPS %s, %s, %s", w.r(0), w.r(3), w.r(0))
		ins("VMULPS %d(R8), %s, %s", disp, w.r(0), w.r(0))
		ins("VMOVUPS %s, %d(DI)", w.r(0), disp)
	})
	w.end("")
}

// sumSquares writes a kernel that sums squares in float64.
func (w width) sumSquares() {
	name := "sumSquares" + w.suffix
	line("// func %s(n int, x *float32, sum *float64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("MOVQ sum+16(FP), DX")
	for i := range 4 {
		ins("VXORPS %s, %s, %s", w.r(i), w.r(i), w.r(i))
	}
	i := 0
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for disp := 0; disp < 64; disp += w.bytes / 2 {
		ins("VCVTPS2PD %d(SI), %s", disp, w.r(4))
		ins("VFMADD231PD %s, %s, %s", w.r(4), w.r(4), w.r(i%4))
		i++
	}
	ins("ADDQ $64, SI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VADDPD %s, %s, %s", w.r(1), w.r(0), w.r(0))
	ins("VADDPD %s, %s, %s", w.r(3), w.r(2), w.r(2))
	ins("VADDPD %s, %s, %s", w.r(2), w.r(0), w.r(0))
	if w.reg == "Z" {
		ins("VEXTRACTF64X4 $1, Z0, Y1")
		ins("VADDPD Y1, Y0, Y0")
	}
	ins("VEXTRACTF128 $1, Y0, X1")
	ins("VADDPD X1, X0, X0")
	ins("VPSHUFD $0x4e, X0, X1")
	ins("VADDPD X1, X0, X0")
	w.end("VMOVSD X0, (DX)")
}

// mulScaled writes a kernel for x * s * y.
func (w width) mulScaled() {
	name := "mulScaled" + w.suffix
	line("// func %s(n int, dst, x, y *float32, s float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-36", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("MOVQ y+24(FP), R8")
	ins("VBROADCASTSS s+32(FP), %s", w.r(0))
	w.each(name+"_loop", []string{"SI", "DI", "R8"}, func(disp int) {
		ins("VMULPS %d(SI), %s, %s", disp, w.r(0), w.r(1))
		ins("VMULPS %d(R8), %s, %s", disp, w.r(1), w.r(1))
		ins("VMOVUPS %s, %d(DI)", w.r(1), disp)
	})
	w.end("")
}

// addFixed writes a kernel that adds float32 times 2^40 to int64, for AVX-512 only.
func addFixed() {
	line("// func addFixed512(n int, dst *int64, x *float32)")
	line("TEXT ·addFixed512(SB), NOSPLIT, $0-24")
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("VBROADCASTSS siluc<>+4(SB), Z0")
	ins("SHRQ $4, CX")
	line("addFixed512_loop:")
	ins("VMULPS (SI), Z0, Z1")
	ins("VEXTRACTF64X4 $1, Z1, Y2")
	ins("VCVTTPS2QQ Y1, Z3")
	ins("VCVTTPS2QQ Y2, Z4")
	ins("VPADDQ (DI), Z3, Z3")
	ins("VPADDQ 64(DI), Z4, Z4")
	ins("VMOVUPS Z3, (DI)")
	ins("VMOVUPS Z4, 64(DI)")
	ins("ADDQ $64, SI")
	ins("ADDQ $128, DI")
	ins("DECQ CX")
	ins("JNZ addFixed512_loop")
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// addWide writes a kernel that adds float32 to float64.
func (w width) addWide() {
	name := "addWide" + w.suffix
	line("// func %s(n int, dst *float64, x *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for disp := 0; disp < 64; disp += w.bytes / 2 {
		ins("VCVTPS2PD %d(SI), %s", disp, w.r(0))
		ins("VADDPD %d(DI), %s, %s", 2*disp, w.r(0), w.r(0))
		ins("VMOVUPS %s, %d(DI)", w.r(0), 2*disp)
	}
	ins("ADDQ $64, SI")
	ins("ADDQ $128, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	w.end("")
}

// logConstants lists l0 to l6 of log2(m) = t (l0 + l1 t + ... + l6 t⁶), t = m-1, for m
// from √½ to √2, with an error of 3.3e-7.
var logConstants = []uint32{0x3fb8aa62, 0xbf38ac17, 0x3ef5ff83, 0xbeb7c9d9, 0x3e9832d0, 0xbe8b9f0d, 0x3e2ebab4}

// rowSums writes a kernel for Σ x[j], Σ x[j]·j and Σ x[j]·log2 x[j], each summed in
// float64. The exponent of x is separated as an integer before the logarithm.
func (w width) rowSums() {
	name := "rowSums" + w.suffix
	line("// func %s(n int, x *float32, out *[3]float64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("MOVQ out+16(FP), DX")
	const step, half, one, x, e, t, p, c = 4, 5, 6, 7, 8, 9, 10, 11
	for i := range 3 {
		ins("VXORPS %s, %s, %s", w.r(i), w.r(i), w.r(i))
	}
	ins("VMOVUPS places<>+0(SB), %s", w.r(3))
	ins("VBROADCASTSD places<>+%d(SB), %s", w.bytes, w.r(step)) // the number of float64 in a register
	ins("VBROADCASTSS logc<>+%d(SB), %s", 4*len(logConstants), w.r(half))
	ins("VBROADCASTSS expc<>+%d(SB), %s", cOne, w.r(one))
	if w.reg == "Z" {
		for i := range logConstants {
			ins("VBROADCASTSS logc<>+%d(SB), Z%d", 4*i, 16+i)
		}
	}
	w.each(name+"_loop", []string{"SI"}, func(disp int) {
		for _, at := range []int{disp, disp + w.bytes/2} {
			ins("VCVTPS2PD %d(SI), %s", at, w.r(12))
			ins("VADDPD %s, %s, %s", w.r(12), w.r(0), w.r(0))
			ins("VFMADD231PD %s, %s, %s", w.r(12), w.r(3), w.r(1))
			ins("VADDPD %s, %s, %s", w.r(step), w.r(3), w.r(3))
		}
		ins("VMOVUPS %d(SI), %s", disp, w.r(x))
		ins("VPSUBD %s, %s, %s", w.r(half), w.r(x), w.r(e))
		ins("VPSRAD $23, %s, %s", w.r(e), w.r(e))
		ins("VPSLLD $23, %s, %s", w.r(e), w.r(t))
		ins("VPSUBD %s, %s, %s", w.r(t), w.r(x), w.r(t))
		ins("VCVTDQ2PS %s, %s", w.r(e), w.r(e))
		ins("VSUBPS %s, %s, %s", w.r(one), w.r(t), w.r(t))
		last := len(logConstants) - 1
		ins("VBROADCASTSS logc<>+%d(SB), %s", 4*last, w.r(p))
		for i := last - 1; i >= 0; i-- {
			from := w.r(16 + i)
			if w.reg == "Y" {
				from = w.r(c)
				ins("VBROADCASTSS logc<>+%d(SB), %s", 4*i, from)
			}
			ins("VFMADD213PS %s, %s, %s", from, w.r(t), w.r(p))
		}
		ins("VFMADD213PS %s, %s, %s", w.r(e), w.r(t), w.r(p))
		ins("VMULPS %s, %s, %s", w.r(x), w.r(p), w.r(p))
		if w.reg == "Z" {
			ins("VEXTRACTF64X4 $1, Z%d, Y%d", p, c)
			ins("VCVTPS2PD Y%d, Z12", p)
			ins("VCVTPS2PD Y%d, Z13", c)
		} else {
			ins("VEXTRACTF128 $1, Y%d, X%d", p, c)
			ins("VCVTPS2PD X%d, Y12", p)
			ins("VCVTPS2PD X%d, Y13", c)
		}
		ins("VADDPD %s, %s, %s", w.r(12), w.r(2), w.r(2))
		ins("VADDPD %s, %s, %s", w.r(13), w.r(2), w.r(2))
	})
	for i := range 3 {
		if w.reg == "Z" {
			ins("VEXTRACTF64X4 $1, Z%d, Y%d", i, c)
			ins("VADDPD Y%d, Y%d, Y%d", c, i, i)
		}
		ins("VEXTRACTF128 $1, Y%d, X%d", i, c)
		ins("VADDPD X%d, X%d, X%d", c, i, i)
		ins("VPSHUFD $0x4e, X%d, X%d", i, c)
		ins("VADDPD X%d, X%d, X%d", c, i, i)
		ins("VMOVSD X%d, %d(DX)", i, 8*i)
	}
	w.end("")
}

// peak runs n times 12 multiply-adds in registers: the upper bound that products are
// compared with.
func (w width) peak() {
	name := "peak" + w.suffix
	line("// func %s(n int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-8", name)
	ins("MOVQ n+0(FP), CX")
	for i := range 14 {
		ins("VXORPS %s, %s, %s", w.r(i), w.r(i), w.r(i))
	}
	line("%s_loop:", name)
	for i := range 12 {
		ins("VFMADD231PS %s, %s, %s", w.r(12), w.r(13), w.r(i))
	}
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	w.end("")
}

// tables writes the constants of the operations on vectors.
func tables() {
	data()
	line("DATA siluc<>+0(SB)/4, $0x42a00000 // 80")
	line("DATA siluc<>+4(SB)/4, $0x53800000 // 2^40")
	line("GLOBL siluc<>(SB), RODATA|NOPTR, $8")
	line("")
	for i, bits := range append(logConstants, 0x3f3504f3) {
		line("DATA logc<>+%d(SB)/4, $%#08x", 4*i, bits)
	}
	line("GLOBL logc<>(SB), RODATA|NOPTR, $%d", 4*len(logConstants)+4)
	for i := range 9 {
		line("DATA places<>+%d(SB)/8, $%#016x // %d", 8*i, math.Float64bits(float64(i)), i)
	}
	line("GLOBL places<>(SB), RODATA|NOPTR, $72")
	line("")
}

func vectors() {
	tables()
	for _, w := range widths {
		w.expSum()
		w.max()
		w.scale()
		w.add()
		w.sumRows()
		w.siluMul()
		w.sumSquares()
		w.mulScaled()
		w.addWide()
		w.rowSums()
		w.peak()
	}
	addFixed()
}
