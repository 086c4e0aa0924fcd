package main

// Operations that move more than they compute are in AVX2 alone: both paths use
// them.

// joinPlanes writes float32 whose bytes lie in four planes, the lowest first.
func joinPlanes() {
	const name = "joinPlanes"
	line("// func %s(n int, dst *float32, p0, p1, p2, p3 *byte)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-48", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	planes := []string{"SI", "R8", "R9", "R10"}
	for i, r := range planes {
		ins("MOVQ p%d+%d(FP), %s", i, 16+8*i, r)
	}
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	// Bytes are paired to words, words to the values: 16 of them in four quarters.
	for i, r := range planes {
		ins("VMOVDQU (%s), X%d", r, i)
	}
	for half, op := range []string{"VPUNPCKLBW", "VPUNPCKHBW"} {
		ins("%s X1, X0, X4", op)
		ins("%s X3, X2, X5", op)
		ins("VPUNPCKLWD X5, X4, X6")
		ins("VPUNPCKHWD X5, X4, X7")
		ins("VMOVDQU X6, %d(DI)", 32*half)
		ins("VMOVDQU X7, %d(DI)", 32*half+16)
	}
	for _, r := range planes {
		ins("ADDQ $16, %s", r)
	}
	ins("ADDQ $64, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

// joinHalves widens IEEE halves whose bytes lie in two planes, the lowest first.
func joinHalves() {
	const name = "joinHalves"
	line("// func %s(n int, dst *float32, p0, p1 *byte)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ p0+16(FP), SI")
	ins("MOVQ p1+24(FP), R8")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	ins("VMOVDQU (SI), X0")
	ins("VMOVDQU (R8), X1")
	for half, op := range []string{"VPUNPCKLBW", "VPUNPCKHBW"} {
		ins("%s X1, X0, X2", op)
		ins("VCVTPH2PS X2, Y2")
		ins("VMOVUPS Y2, %d(DI)", 32*half)
	}
	ins("ADDQ $16, SI")
	ins("ADDQ $16, R8")
	ins("ADDQ $64, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

// pack8 writes 8 rows of k values, k a multiple of 8, as columns of a panel.
func pack8() {
	const name = "pack8"
	line("// func %s(k int, panel, b *float32, ldb int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ k+0(FP), CX")
	ins("MOVQ panel+8(FP), DI")
	ins("MOVQ b+16(FP), SI")
	ins("MOVQ ldb+24(FP), R9")
	ins("SHLQ $2, R9")
	ins("LEAQ (SI)(R9*4), R10")
	ins("LEAQ (R9)(R9*2), R11")
	ins("SHRQ $3, CX")
	line("%s_loop:", name)
	row := func(i int) string {
		return []string{"(SI)", "(SI)(R9*1)", "(SI)(R9*2)", "(SI)(R11*1)", "(R10)", "(R10)(R9*1)", "(R10)(R9*2)", "(R10)(R11*1)"}[i]
	}
	// Registers 0 to 3 hold the first four values of rows i and i+4, 4 to 7 the
	// other four: what is left is to transpose squares of four in each half.
	for i := range 4 {
		ins("VMOVUPS %s, X%d", row(i), i)
		ins("VINSERTF128 $1, %s, Y%d, Y%d", row(i+4), i, i)
		ins("VMOVUPS %s, X%d", "16"+row(i), i+4)
		ins("VINSERTF128 $1, %s, Y%d, Y%d", "16"+row(i+4), i+4, i+4)
	}
	for half := range 2 {
		r := 4 * half
		ins("VUNPCKLPS Y%d, Y%d, Y8", r+1, r)
		ins("VUNPCKHPS Y%d, Y%d, Y9", r+1, r)
		ins("VUNPCKLPS Y%d, Y%d, Y10", r+3, r+2)
		ins("VUNPCKHPS Y%d, Y%d, Y11", r+3, r+2)
		for i, pair := range [][2]int{{8, 10}, {9, 11}} {
			ins("VUNPCKLPD Y%d, Y%d, Y12", pair[1], pair[0])
			ins("VUNPCKHPD Y%d, Y%d, Y13", pair[1], pair[0])
			ins("VMOVUPS Y12, %d(DI)", 128*(r+2*i))
			ins("VMOVUPS Y13, %d(DI)", 128*(r+2*i+1))
		}
	}
	ins("ADDQ $32, SI")
	ins("ADDQ $32, R10")
	ins("ADDQ $1024, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

// notBelow writes a bit a value, 16 to a word: whether it is t or more.
func notBelow() {
	const name = "notBelow"
	line("// func %s(n int, x *float32, t float32, bits *uint16)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("VBROADCASTSS t+16(FP), Y0")
	ins("MOVQ bits+24(FP), DI")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	ins("VMOVUPS (SI), Y1")
	ins("VMOVUPS 32(SI), Y2")
	ins("VCMPPS $13, Y0, Y1, Y1")
	ins("VCMPPS $13, Y0, Y2, Y2")
	ins("VMOVMSKPS Y1, AX")
	ins("VMOVMSKPS Y2, DX")
	ins("SHLL $8, DX")
	ins("ORL DX, AX")
	ins("MOVW AX, (DI)")
	ins("ADDQ $64, SI")
	ins("ADDQ $2, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

// between writes a bit a value, 16 to a word: whether it is lo or more and below hi.
func between() {
	const name = "between"
	line("// func %s(n int, x *float32, lo, hi float32, bits *uint16)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("VBROADCASTSS lo+16(FP), Y0")
	ins("VBROADCASTSS hi+20(FP), Y5")
	ins("MOVQ bits+24(FP), DI")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for i := range 2 {
		ins("VMOVUPS %d(SI), Y%d", 32*i, 1+i)
		ins("VCMPPS $13, Y0, Y%d, Y%d", 1+i, 3+i)
		ins("VCMPPS $1, Y5, Y%d, Y%d", 1+i, 1+i)
		ins("VANDPS Y%d, Y%d, Y%d", 1+i, 3+i, 1+i)
	}
	ins("VMOVMSKPS Y1, AX")
	ins("VMOVMSKPS Y2, DX")
	ins("SHLL $8, DX")
	ins("ORL DX, AX")
	ins("MOVW AX, (DI)")
	ins("ADDQ $64, SI")
	ins("ADDQ $2, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

// countBoth counts the places where x is tx or more and y is ty or more.
func countBoth() {
	const name = "countBoth"
	line("// func %s(n int, x, y *float32, tx, ty float32, count *int64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-40", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("MOVQ y+16(FP), R8")
	ins("VBROADCASTSS tx+24(FP), Y4")
	ins("VBROADCASTSS ty+28(FP), Y5")
	ins("MOVQ count+32(FP), DI")
	ins("VPXOR Y0, Y0, Y0")
	ins("VPXOR Y1, Y1, Y1")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for i := range 2 {
		ins("VMOVUPS %d(SI), Y%d", 32*i, 2+i)
		ins("VCMPPS $13, Y4, Y%d, Y%d", 2+i, 2+i)
		ins("VMOVUPS %d(R8), Y%d", 32*i, 6+i)
		ins("VCMPPS $13, Y5, Y%d, Y%d", 6+i, 6+i)
		ins("VANDPS Y%d, Y%d, Y%d", 6+i, 2+i, 2+i)
		ins("VPSUBD Y%d, Y%d, Y%d", 2+i, i, i)
	}
	ins("ADDQ $64, SI")
	ins("ADDQ $64, R8")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VPADDD Y1, Y0, Y0")
	width{reg: "Y"}.reduce("VPADDD")
	ins("VMOVD X0, AX")
	ins("MOVQ AX, (DI)")
	width{reg: "Y"}.end("")
}

// sumWhere adds up y in float64 where x is t or more.
func sumWhere() {
	const name = "sumWhere"
	line("// func %s(n int, x, y *float32, t float32, sum *float64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-40", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("MOVQ y+16(FP), R8")
	ins("VBROADCASTSS t+24(FP), X4")
	ins("MOVQ sum+32(FP), DI")
	for i := range 4 {
		ins("VXORPS Y%d, Y%d, Y%d", i, i, i)
	}
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for i := range 4 {
		ins("VMOVUPS %d(SI), X5", 16*i)
		ins("VCMPPS $13, X4, X5, X5")
		ins("VANDPS %d(R8), X5, X5", 16*i)
		ins("VCVTPS2PD X5, Y5")
		ins("VADDPD Y5, Y%d, Y%d", i, i)
	}
	ins("ADDQ $64, SI")
	ins("ADDQ $64, R8")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VADDPD Y1, Y0, Y0")
	ins("VADDPD Y3, Y2, Y2")
	ins("VADDPD Y2, Y0, Y0")
	ins("VEXTRACTF128 $1, Y0, X1")
	ins("VADDPD X1, X0, X0")
	ins("VPSHUFD $0x4e, X0, X1")
	ins("VADDPD X1, X0, X0")
	width{reg: "Y"}.end("VMOVSD X0, (DI)")
}

// countNotBelow counts the values that are t or more: up to 2^31 in a lane.
func countNotBelow() {
	const name = "countNotBelow"
	line("// func %s(n int, x *float32, t float32, count *int64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ x+8(FP), SI")
	ins("VBROADCASTSS t+16(FP), Y4")
	ins("MOVQ count+24(FP), DI")
	ins("VPXOR Y0, Y0, Y0")
	ins("VPXOR Y1, Y1, Y1")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for i := range 2 {
		ins("VMOVUPS %d(SI), Y%d", 32*i, 2+i)
		ins("VCMPPS $13, Y4, Y%d, Y%d", 2+i, 2+i)
		ins("VPSUBD Y%d, Y%d, Y%d", 2+i, i, i)
	}
	ins("ADDQ $64, SI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VPADDD Y1, Y0, Y0")
	width{reg: "Y"}.reduce("VPADDD")
	ins("VMOVD X0, AX")
	ins("MOVQ AX, (DI)")
	width{reg: "Y"}.end("")
}

// addDoubles adds float64.
func addDoubles() {
	const name = "addDoubles"
	line("// func %s(n int, dst, x *float64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for i := range 4 {
		ins("VMOVUPD %d(DI), Y%d", 32*i, i)
		ins("VADDPD %d(SI), Y%d, Y%d", 32*i, i, i)
		ins("VMOVUPD Y%d, %d(DI)", i, 32*i)
	}
	ins("ADDQ $128, SI")
	ins("ADDQ $128, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

// narrowScaled writes float64 times s as float32.
func narrowScaled() {
	const name = "narrowScaled"
	line("// func %s(n int, dst *float32, x *float64, s float64)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVQ n+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	ins("VBROADCASTSD s+24(FP), Y4")
	ins("SHRQ $4, CX")
	line("%s_loop:", name)
	for i := range 4 {
		ins("VMULPD %d(SI), Y4, Y%d", 32*i, i)
		ins("VCVTPD2PSY Y%d, X%d", i, i)
		ins("VMOVUPS X%d, %d(DI)", i, 16*i)
	}
	ins("ADDQ $128, SI")
	ins("ADDQ $64, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	width{reg: "Y"}.end("")
}

func moves() {
	joinPlanes()
	joinHalves()
	pack8()
	notBelow()
	between()
	countBoth()
	sumWhere()
	countNotBelow()
	addDoubles()
	narrowScaled()
}
