package main

import "fmt"

// quant is a format of panels of quantized weights, weight = scale*q + offset. For each
// group of inputs a panel has 32 scales, 32 offsets and the integers. Scales and
// offsets are float16 or float32.
//
//	4 bits  [group/8][32] words of 32 bits, the first input in the lowest bits
//	8 bits  [group][32] bytes
type quant struct {
	bits int
	half bool // float16 scales
}

var quants = []quant{{4, true}, {4, false}, {8, true}, {8, false}}

// name returns the name of a kernel for the format.
func (q quant) name(kind string, w width) string {
	scale := "F32"
	if q.half {
		scale = "F16"
	}
	return fmt.Sprintf("%sQ%d%s_%s", kind, q.bits, scale, w.suffix)
}

// head returns the number of bytes of a group's scales and offsets.
func (q quant) head() int {
	if q.half {
		return 128
	}
	return 256
}

// load loads the scales (part 0) or offsets (part 1) of the v-th register of outputs of
// the group at the address in base.
func (q quant) load(w width, base string, part, v, dst int) {
	size := q.head() / 64
	disp := (part*32 + v*w.bytes/4) * size
	if q.half {
		ins("VCVTPH2PS %d(%s), %s", disp, base, w.r(dst))
		return
	}
	ins("VMOVUPS %d(%s), %s", disp, base, w.r(dst))
}

// gemv writes the kernel of y[32] = Σ_k x[k]·w[k][32], or y += with acc, for AVX-512.
// xs holds the sums of x over the groups.
//
//	Z0 to Z3  sums over a group
//	Z4, Z5    the results
//	Z31       a table of the numbers 0 to 15
func (q quant) gemv() {
	w := widths[0]
	name := q.name("gemv", w)
	gemvArguments(name)
	ins("VPXORD Z4, Z4, Z4")
	ins("VPXORD Z5, Z5, Z5")
	if q.bits == 4 {
		ins("VMOVUPS nibbles<>+0(SB), Z31")
		ins("SHRQ $3, R9")
	} else {
		ins("SHRQ $2, R9")
	}
	ins("TESTQ $1, acc+48(FP)")
	ins("JZ %s_group", name)
	ins("VMOVUPS (DX), Z4")
	ins("VMOVUPS 64(DX), Z5")
	line("%s_group:", name)
	for i := range 4 {
		ins("VPXORD Z%d, Z%d, Z%d", i, i, i)
	}
	for v := range 2 {
		q.load(w, "DI", 0, v, 16+v)
		q.load(w, "DI", 1, v, 18+v)
	}
	ins("PREFETCHT0 4096(DI)")
	ins("PREFETCHT0 4160(DI)")
	ins("ADDQ $%d, DI", q.head())
	ins("MOVQ R9, BX")
	line("%s_loop:", name)
	q.integers512(6, func(i, a, b int) {
		ins("VFMADD231PS.BCST %d(SI), Z%d, Z%d", 4*i, a, 2*(i%2))
		ins("VFMADD231PS.BCST %d(SI), Z%d, Z%d", 4*i, b, 2*(i%2)+1)
	})
	ins("ADDQ $%d, SI", 4*q.inputs())
	ins("DECQ BX")
	ins("JNZ %s_loop", name)
	ins("VADDPS Z2, Z0, Z0")
	ins("VADDPS Z3, Z1, Z1")
	ins("VFMADD231PS Z16, Z0, Z4")
	ins("VFMADD231PS Z17, Z1, Z5")
	ins("VFMADD231PS.BCST (R8), Z18, Z4")
	ins("VFMADD231PS.BCST (R8), Z19, Z5")
	ins("ADDQ $4, R8")
	ins("DECQ CX")
	ins("JNZ %s_group", name)
	ins("VMOVUPS Z4, (DX)")
	ins("VMOVUPS Z5, 64(DX)")
	w.end("")
}

// inputs returns the number of inputs per round of integers512.
func (q quant) inputs() int {
	if q.bits == 4 {
		return 8
	}
	return 4
}

// integers512 writes a round that converts the integers of some inputs to float32 and
// calls each for every input, with the registers of its first and last 16 outputs. They
// begin after the two registers of the words, and reuse each other's names.
func (q quant) integers512(words int, each func(i, a, b int)) {
	ins("PREFETCHT0 4096(DI)")
	ins("PREFETCHT0 4160(DI)")
	if q.bits == 4 {
		ins("VMOVDQU32 (DI), Z%d", words)
		ins("VMOVDQU32 64(DI), Z%d", words+1)
	}
	for i := range q.inputs() {
		a := words + 2 + 2*(i%2)
		if q.bits == 4 {
			ins("VPERMPS Z31, Z%d, Z%d", words, a)
			ins("VPERMPS Z31, Z%d, Z%d", words+1, a+1)
		} else {
			for half := range 2 {
				ins("VPMOVZXBD %d(DI), Z%d", 32*i+16*half, a+half)
				ins("VCVTDQ2PS Z%d, Z%d", a+half, a+half)
			}
		}
		each(i, a, a+1)
		if q.bits == 4 && i < 7 {
			ins("VPSRLD $4, Z%d, Z%d", words, words)
			ins("VPSRLD $4, Z%d, Z%d", words+1, words+1)
		}
	}
	ins("ADDQ $128, DI")
}

// gemvRows writes the kernel of y[r][32] += Σ_k x[r][k]·w[k][32] for two or four rows,
// for AVX-512: gemv with the integers converted once for all rows, which adds up each row
// in the same order.
//
//	Z0 to Z15   sums over a group, four registers per row
//	Z16 to Z23  the results, two registers per row
//	Z24 to Z29  words and integers; then scales and offsets
//	Z31         a table of the numbers 0 to 15
//	R10, R13    the addresses of the fourth row of x and of its sums
//	AX          the address of the group's scales
func (q quant) gemvRows(rows int) {
	w := widths[0]
	name := q.name("gemvRows", w) + fmt.Sprintf("x%d", rows)
	line("// func %s(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-64", name)
	ins("MOVQ groups+0(FP), CX")
	ins("MOVQ size+8(FP), R9")
	ins("MOVQ x+16(FP), SI")
	ins("MOVQ ldx+24(FP), R11")
	ins("MOVQ xs+32(FP), R8")
	ins("MOVQ ldxs+40(FP), R12")
	ins("MOVQ b+48(FP), DI")
	ins("MOVQ y+56(FP), DX")
	ins("SHLQ $2, R11")
	ins("SHLQ $2, R12")
	ins("LEAQ (SI)(R11*2), R10")
	ins("ADDQ R11, R10")
	ins("LEAQ (R8)(R12*2), R13")
	ins("ADDQ R12, R13")
	at := func(row int, base, stride, fourth string, disp int) string {
		return []string{
			fmt.Sprintf("%d(%s)", disp, base), fmt.Sprintf("%d(%s)(%s*1)", disp, base, stride),
			fmt.Sprintf("%d(%s)(%s*2)", disp, base, stride), fmt.Sprintf("%d(%s)", disp, fourth),
		}[row]
	}
	if q.bits == 4 {
		ins("VMOVUPS nibbles<>+0(SB), Z31")
		ins("SHRQ $3, R9")
	} else {
		ins("SHRQ $2, R9")
	}
	for v := range 2 * rows {
		ins("VMOVUPS %d(DX), Z%d", 64*v, 16+v)
	}
	line("%s_group:", name)
	for v := range 4 * rows {
		ins("VPXORD Z%d, Z%d, Z%d", v, v, v)
	}
	ins("MOVQ DI, AX")
	ins("ADDQ $%d, DI", q.head())
	ins("MOVQ R9, BX")
	line("%s_loop:", name)
	q.integers512(24, func(i, a, b int) {
		for row := range rows {
			x := at(row, "SI", "R11", "R10", 4*i)
			ins("VFMADD231PS.BCST %s, Z%d, Z%d", x, a, 4*row+2*(i%2))
			ins("VFMADD231PS.BCST %s, Z%d, Z%d", x, b, 4*row+2*(i%2)+1)
		}
	})
	ins("ADDQ $%d, SI", 4*q.inputs())
	if rows > 3 {
		ins("ADDQ $%d, R10", 4*q.inputs())
	}
	ins("DECQ BX")
	ins("JNZ %s_loop", name)
	for v := range 2 {
		q.load(w, "AX", 0, v, 24+v)
		q.load(w, "AX", 1, v, 26+v)
	}
	for row := range rows {
		for v := range 2 {
			sum, result := 4*row+v, 16+2*row+v
			ins("VADDPS Z%d, Z%d, Z%d", sum+2, sum, sum)
			ins("VFMADD231PS Z%d, Z%d, Z%d", 24+v, sum, result)
			ins("VFMADD231PS.BCST %s, Z%d, Z%d", at(row, "R8", "R12", "R13", 0), 26+v, result)
		}
	}
	ins("ADDQ $4, R8")
	ins("ADDQ $4, R13")
	ins("DECQ CX")
	ins("JNZ %s_group", name)
	for v := range 2 * rows {
		ins("VMOVUPS Z%d, %d(DX)", 16+v, 64*v)
	}
	w.end("")
}

// gemvArguments loads the arguments of a gemv kernel.
func gemvArguments(name string) {
	line("// func %s(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-56", name)
	ins("MOVQ groups+0(FP), CX")
	ins("MOVQ size+8(FP), R9")
	ins("MOVQ x+16(FP), SI")
	ins("MOVQ xs+24(FP), R8")
	ins("MOVQ b+32(FP), DI")
	ins("MOVQ y+40(FP), DX")
}

// gemv256 is gemv for AVX2.
//
//	Y0 to Y3   sums over a group
//	Y4 to Y7   the results
//	Y8 to Y11  words of 8 inputs
//	Y15        the mask of 4 bits
//	R10        the address of the group's scales
func (q quant) gemv256() {
	w := widths[1]
	name := q.name("gemv", w)
	gemvArguments(name)
	for v := range 4 {
		ins("VXORPS Y%d, Y%d, Y%d", 4+v, 4+v, 4+v)
	}
	if q.bits == 4 {
		ins("VPBROADCASTD nibbles<>+64(SB), Y15")
		ins("SHRQ $3, R9")
	}
	ins("TESTQ $1, acc+48(FP)")
	ins("JZ %s_group", name)
	for v := range 4 {
		ins("VMOVUPS %d(DX), Y%d", 32*v, 4+v)
	}
	line("%s_group:", name)
	for v := range 4 {
		ins("VXORPS Y%d, Y%d, Y%d", v, v, v)
	}
	ins("MOVQ DI, R10")
	ins("PREFETCHT0 4096(DI)")
	ins("PREFETCHT0 4160(DI)")
	ins("ADDQ $%d, DI", q.head())
	ins("MOVQ R9, BX")
	line("%s_loop:", name)
	ins("PREFETCHT0 4096(DI)")
	if q.bits == 4 {
		ins("PREFETCHT0 4160(DI)")
		for v := range 4 {
			ins("VMOVDQU %d(DI), Y%d", 32*v, 8+v)
		}
		for i := range 8 {
			ins("VBROADCASTSS %d(SI), Y14", 4*i)
			for v := range 4 {
				t := 12 + v%2
				ins("VPAND Y15, Y%d, Y%d", 8+v, t)
				ins("VCVTDQ2PS Y%d, Y%d", t, t)
				ins("VFMADD231PS Y14, Y%d, Y%d", t, v)
				if i < 7 {
					ins("VPSRLD $4, Y%d, Y%d", 8+v, 8+v)
				}
			}
		}
		ins("ADDQ $128, DI")
		ins("ADDQ $32, SI")
	} else {
		ins("VBROADCASTSS (SI), Y14")
		for v := range 4 {
			ins("VPMOVZXBD %d(DI), Y%d", 8*v, 8+v)
			ins("VCVTDQ2PS Y%d, Y%d", 8+v, 8+v)
			ins("VFMADD231PS Y14, Y%d, Y%d", 8+v, v)
		}
		ins("ADDQ $32, DI")
		ins("ADDQ $4, SI")
	}
	ins("DECQ BX")
	ins("JNZ %s_loop", name)
	ins("VBROADCASTSS (R8), Y14")
	for v := range 4 {
		q.load(w, "R10", 0, v, 12)
		ins("VFMADD231PS Y12, Y%d, Y%d", v, 4+v)
		q.load(w, "R10", 1, v, 12)
		ins("VFMADD231PS Y14, Y12, Y%d", 4+v)
	}
	ins("ADDQ $4, R8")
	ins("DECQ CX")
	ins("JNZ %s_group", name)
	for v := range 4 {
		ins("VMOVUPS Y%d, %d(DX)", 4+v, 32*v)
	}
	w.end("")
}

// unpack writes the kernel that unpacks groups of a panel to float32, [size][32] per
// group.
func (q quant) unpack(w width) {
	name := q.name("unpack", w)
	line("// func %s(groups, size int, b unsafe.Pointer, dst *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ groups+0(FP), CX")
	ins("MOVQ size+8(FP), R9")
	ins("MOVQ b+16(FP), DI")
	ins("MOVQ dst+24(FP), DX")
	n := 128 / w.bytes // registers of 32 outputs
	mask := 15
	if q.bits == 4 {
		if w.reg == "Z" {
			ins("VMOVUPS nibbles<>+0(SB), Z31")
		} else {
			ins("VPBROADCASTD nibbles<>+64(SB), Y%d", mask)
		}
		ins("SHRQ $3, R9")
	}
	line("%s_group:", name)
	for v := range n {
		q.load(w, "DI", 0, v, v)
		q.load(w, "DI", 1, v, n+v)
	}
	ins("ADDQ $%d, DI", q.head())
	ins("MOVQ R9, BX")
	line("%s_loop:", name)
	if q.bits == 4 {
		for v := range n {
			x, y := w.r(2*n+1), w.r(2*n+2)
			ins("VMOVUPS %d(DI), %s", v*w.bytes, x)
			for i := range 8 {
				if w.reg == "Z" {
					ins("VPERMPS Z31, %s, %s", x, y)
				} else {
					ins("VPAND Y%d, %s, %s", mask, x, y)
					ins("VCVTDQ2PS %s, %s", y, y)
				}
				ins("VFMADD213PS %s, %s, %s", w.r(n+v), w.r(v), y)
				ins("VMOVUPS %s, %d(DX)", y, i*128+v*w.bytes)
				if i < 7 {
					ins("VPSRLD $4, %s, %s", x, x)
				}
			}
		}
		ins("ADDQ $128, DI")
		ins("ADDQ $1024, DX")
	} else {
		for v := range n {
			y := w.r(2*n + 1 + v%4)
			ins("VPMOVZXBD %d(DI), %s", v*w.bytes/4, y)
			ins("VCVTDQ2PS %s, %s", y, y)
			ins("VFMADD213PS %s, %s, %s", w.r(n+v), w.r(v), y)
			ins("VMOVUPS %s, %d(DX)", y, v*w.bytes)
		}
		ins("ADDQ $32, DI")
		ins("ADDQ $128, DX")
	}
	ins("DECQ BX")
	ins("JNZ %s_loop", name)
	ins("DECQ CX")
	ins("JNZ %s_group", name)
	w.end("")
}

// ints writes the kernel that unpacks the integers of a group to float32, [size][32], for
// AVX2.
func ints(bits int) {
	name := fmt.Sprintf("intsQ%d_256", bits)
	line("// func %s(size int, b unsafe.Pointer, dst *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ size+0(FP), CX")
	ins("MOVQ b+8(FP), DI")
	ins("MOVQ dst+16(FP), DX")
	if bits == 4 {
		ins("VPBROADCASTD nibbles<>+64(SB), Y15")
		ins("SHRQ $3, CX")
	}
	line("%s_loop:", name)
	for v := range 4 {
		if bits == 8 {
			ins("VPMOVZXBD %d(DI), Y%d", 8*v, v)
			ins("VCVTDQ2PS Y%d, Y%d", v, v)
			ins("VMOVUPS Y%d, %d(DX)", v, 32*v)
			continue
		}
		ins("VMOVDQU %d(DI), Y%d", 32*v, v)
		for i := range 8 {
			ins("VPAND Y15, Y%d, Y4", v)
			ins("VCVTDQ2PS Y4, Y4")
			ins("VMOVUPS Y4, %d(DX)", 128*i+32*v)
			if i < 7 {
				ins("VPSRLD $4, Y%d, Y%d", v, v)
			}
		}
	}
	if bits == 8 {
		ins("ADDQ $32, DI")
		ins("ADDQ $128, DX")
	} else {
		ins("ADDQ $128, DI")
		ins("ADDQ $1024, DX")
	}
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// addGroup writes the kernel of y[r] += sums[r]*scale + xs[r]*offset for some rows of 32
// outputs and the scales and offsets of a group, in the order of gemv256.
func (q quant) addGroup() {
	w := widths[1]
	name := "addGroupF32_256"
	if q.half {
		name = "addGroupF16_256"
	}
	line("// func %s(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-48", name)
	ins("MOVQ rows+0(FP), CX")
	ins("MOVQ sums+8(FP), SI")
	ins("MOVQ xs+16(FP), R8")
	ins("MOVQ stride+24(FP), R9")
	ins("SHLQ $2, R9")
	ins("MOVQ b+32(FP), DI")
	ins("MOVQ y+40(FP), DX")
	for v := range 4 {
		q.load(w, "DI", 0, v, v)
		q.load(w, "DI", 1, v, 4+v)
	}
	line("%s_loop:", name)
	ins("VBROADCASTSS (R8), Y8")
	for v := range 4 {
		ins("VMOVUPS %d(DX), Y9", 32*v)
		ins("VFMADD231PS %d(SI), Y%d, Y9", 32*v, v)
		ins("VFMADD231PS Y8, Y%d, Y9", 4+v)
		ins("VMOVUPS Y9, %d(DX)", 32*v)
	}
	ins("ADDQ $128, SI")
	ins("ADDQ $128, DX")
	ins("ADDQ R9, R8")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// widen writes the kernel that widens bfloat16 or float16 to float32.
func (w width) widen(kind string) {
	name := "widen" + kind + w.suffix
	line("// func %s(n int, dst *float32, x *uint16)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	ins("PREFETCHT0 1024(SI)")
	for disp := 0; disp < 64; disp += w.bytes {
		widenLoad(kind, fmt.Sprintf("%d(SI)", disp/2), w.r(0))
		ins("VMOVUPS %s, %d(DI)", w.r(0), disp)
	}
	ins("ADDQ $32, SI")
	ins("ADDQ $64, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	w.end("")
}

// widenLoad loads a register of half-precision values, widened to float32.
func widenLoad(kind, from, to string) {
	if kind == "F16" {
		ins("VCVTPH2PS %s, %s", from, to)
		return
	}
	ins("VPMOVZXWD %s, %s", from, to)
	ins("VPSLLD $16, %s, %s", to, to)
}

// quantized writes the kernels for quantized panels and for half precision, and two
// functions that need assembler: cpuid and pause.
func quantized() {
	for i := range 16 {
		line("DATA nibbles<>+%d(SB)/4, $%d.0", 4*i, i)
	}
	line("DATA nibbles<>+64(SB)/4, $15")
	line("GLOBL nibbles<>(SB), RODATA|NOPTR, $68")
	line("")
	for _, q := range quants {
		q.gemv()
		q.gemv256()
		q.gemvRows(4)
		q.gemvRows(2)
		for _, w := range widths {
			q.unpack(w)
		}
	}
	ints(4)
	ints(8)
	quants[0].addGroup()
	quants[1].addGroup()
	for _, w := range widths {
		w.widen("BF16")
		w.widen("F16")
	}
	line("// func cpuid(leaf, sub uint32) (a, b, c, d uint32)")
	line("TEXT ·cpuid(SB), NOSPLIT, $0-24")
	ins("MOVL leaf+0(FP), AX")
	ins("MOVL sub+4(FP), CX")
	ins("CPUID")
	ins("MOVL AX, a+8(FP)")
	ins("MOVL BX, b+12(FP)")
	ins("MOVL CX, c+16(FP)")
	ins("MOVL DX, d+20(FP)")
	ins("RET")
	line("")
	line("// func pause(n int)")
	line("TEXT ·pause(SB), NOSPLIT, $0-8")
	ins("MOVQ n+0(FP), CX")
	line("pause_loop:")
	ins("PAUSE")
	ins("DECQ CX")
	ins("JNZ pause_loop")
	ins("RET")
	line("")
}
