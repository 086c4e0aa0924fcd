package main

// Operations that mostly move or compare values exist only for AVX2; both sets of
// kernels use them.

// pointer is a pointer argument, loaded into a register that advances by step bytes
// for every 16 values.
type pointer struct {
	arg, reg string
	step     int
}

// operation is a function of n values, 16 at a time.
type operation struct {
	name      string
	signature string
	size      int // bytes of the parameters
	pointers  []pointer
	before    func() // writes the code before the loop; nil: none
	each      func() // writes the body of the loop
	after     func() // writes the code after the loop; nil: none
}

func (o operation) write() {
	line("// func %s(%s)", o.name, o.signature)
	line("TEXT ·%s(SB), NOSPLIT, $0-%d", o.name, o.size)
	ins("MOVQ n+0(FP), CX")
	for _, p := range o.pointers {
		ins("MOVQ %s(FP), %s", p.arg, p.reg)
	}
	if o.before != nil {
		o.before()
	}
	ins("SHRQ $4, CX")
	line("%s_loop:", o.name)
	o.each()
	for _, p := range o.pointers {
		if p.step > 0 {
			ins("ADDQ $%d, %s", p.step, p.reg)
		}
	}
	ins("DECQ CX")
	ins("JNZ %s_loop", o.name)
	if o.after != nil {
		o.after()
	}
	width{reg: "Y"}.end("")
}

// joins writes the operations that assemble values from planes of their bytes, the
// lowest first.
func joins() {
	// Bytes are interleaved to words and words to values: 16 values in four quarters.
	planes := []string{"SI", "R8", "R9", "R10"}
	load := func(n int) {
		for i, r := range planes[:n] {
			ins("VMOVDQU (%s), X%d", r, i)
		}
	}
	halves := []string{"VPUNPCKLBW", "VPUNPCKHBW"}
	operation{
		name: "joinPlanes", signature: "n int, dst *float32, p0, p1, p2, p3 *byte", size: 48,
		pointers: []pointer{
			{"dst+8", "DI", 64},
			{"p0+16", "SI", 16},
			{"p1+24", "R8", 16},
			{"p2+32", "R9", 16},
			{"p3+40", "R10", 16},
		},
		each: func() {
			load(4)
			for half, op := range halves {
				ins("%s X1, X0, X4", op)
				ins("%s X3, X2, X5", op)
				ins("VPUNPCKLWD X5, X4, X6")
				ins("VPUNPCKHWD X5, X4, X7")
				ins("VMOVDQU X6, %d(DI)", 32*half)
				ins("VMOVDQU X7, %d(DI)", 32*half+16)
			}
		},
	}.write()
	operation{
		name: "joinHalves", signature: "n int, dst *float32, p0, p1 *byte", size: 32,
		pointers: []pointer{{"dst+8", "DI", 64}, {"p0+16", "SI", 16}, {"p1+24", "R8", 16}},
		each: func() {
			load(2)
			for half, op := range halves {
				ins("%s X1, X0, X2", op)
				ins("VCVTPH2PS X2, Y2")
				ins("VMOVUPS Y2, %d(DI)", 32*half)
			}
		},
	}.write()
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
		base := []string{"SI", "R10"}[i/4]
		return []string{"(" + base + ")", "(" + base + ")(R9*1)", "(" + base + ")(R9*2)", "(" + base + ")(R11*1)"}[i%4]
	}
	// Registers 0 to 3 hold the first four values of rows i and i+4, registers 4 to 7
	// their other four. Transposing the 4x4 blocks in each half completes the
	// transposition.
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

// between writes one bit per value, 16 per word: 1 if the value is in [lo, hi).
func between() {
	operation{
		name: "between", signature: "n int, x *float32, lo, hi float32, bits *uint16", size: 32,
		pointers: []pointer{{"x+8", "SI", 64}, {"bits+24", "DI", 2}},
		before: func() {
			ins("VBROADCASTSS lo+16(FP), Y0")
			ins("VBROADCASTSS hi+20(FP), Y5")
		},
		each: func() {
			for i := range 2 {
				ins("VMOVUPS %d(SI), Y%d", 32*i, 1+i)
				ins("VCMPPS $1, Y5, Y%d, Y%d", 1+i, 3+i)
				ins("VCMPPS $13, Y0, Y%d, Y%d", 1+i, 1+i)
				ins("VANDPS Y%d, Y%d, Y%d", 3+i, 1+i, 1+i)
				ins("VMOVMSKPS Y%d, %s", 1+i, []string{"AX", "DX"}[i])
			}
			ins("SHLL $8, DX")
			ins("ORL DX, AX")
			ins("MOVW AX, (DI)")
		},
	}.write()
}

// count completes an operation that counts the positions where each of one or two
// vectors, its first pointers, is at least a bound; its last pointer is the result.
// Each lane can count up to 2^31.
func (o operation) count(bounds ...string) operation {
	o.before = func() {
		for i, b := range bounds {
			ins("VBROADCASTSS %s(FP), Y%d", b, 4+i)
		}
		ins("VPXOR Y0, Y0, Y0")
		ins("VPXOR Y1, Y1, Y1")
	}
	o.each = func() {
		for i := range 2 {
			for n := range bounds {
				ins("VMOVUPS %d(%s), Y%d", 32*i, o.pointers[n].reg, 2+4*n+i)
				ins("VCMPPS $13, Y%d, Y%d, Y%d", 4+n, 2+4*n+i, 2+4*n+i)
			}
			if len(bounds) > 1 {
				ins("VANDPS Y%d, Y%d, Y%d", 6+i, 2+i, 2+i)
			}
			ins("VPSUBD Y%d, Y%d, Y%d", 2+i, i, i)
		}
	}
	o.after = func() {
		ins("VPADDD Y1, Y0, Y0")
		width{reg: "Y"}.reduce("VPADDD")
		ins("VMOVD X0, AX")
		ins("MOVQ AX, (%s)", o.pointers[len(o.pointers)-1].reg)
	}
	return o
}

func counts() {
	operation{
		name: "countNotBelow", signature: "n int, x *float32, t float32, count *int64", size: 32,
		pointers: []pointer{{"x+8", "SI", 64}, {"count+24", "DI", 0}},
	}.count("t+16").write()
	operation{
		name: "countBoth", signature: "n int, x, y *float32, tx, ty float32, count *int64", size: 40,
		pointers: []pointer{{"x+8", "SI", 64}, {"y+16", "R8", 64}, {"count+32", "DI", 0}},
	}.count("tx+24", "ty+28").write()
}

// sumWhere writes the sum, in float64, of y over the positions where x is at least t.
func sumWhere() {
	operation{
		name: "sumWhere", signature: "n int, x, y *float32, t float32, sum *float64", size: 40,
		pointers: []pointer{{"x+8", "SI", 64}, {"y+16", "R8", 64}, {"sum+32", "DI", 0}},
		before: func() {
			ins("VBROADCASTSS t+24(FP), X4")
			for i := range 4 {
				ins("VXORPS Y%d, Y%d, Y%d", i, i, i)
			}
		},
		each: func() {
			for i := range 4 {
				ins("VMOVUPS %d(SI), X5", 16*i)
				ins("VCMPPS $13, X4, X5, X5")
				ins("VANDPS %d(R8), X5, X5", 16*i)
				ins("VCVTPS2PD X5, Y5")
				ins("VADDPD Y5, Y%d, Y%d", i, i)
			}
		},
		after: func() {
			ins("VADDPD Y1, Y0, Y0")
			ins("VADDPD Y3, Y2, Y2")
			ins("VADDPD Y2, Y0, Y0")
			ins("VEXTRACTF128 $1, Y0, X1")
			ins("VADDPD X1, X0, X0")
			ins("VPSHUFD $0x4e, X0, X1")
			ins("VADDPD X1, X0, X0")
			ins("VMOVSD X0, (DI)")
		},
	}.write()
}

// doubles writes addDoubles, which adds float64, and narrowScaled, which writes
// float64 times s as float32.
func doubles() {
	operation{
		name: "addDoubles", signature: "n int, dst, x *float64", size: 24,
		pointers: []pointer{{"dst+8", "DI", 128}, {"x+16", "SI", 128}},
		each: func() {
			for i := range 4 {
				ins("VMOVUPD %d(DI), Y%d", 32*i, i)
				ins("VADDPD %d(SI), Y%d, Y%d", 32*i, i, i)
				ins("VMOVUPD Y%d, %d(DI)", i, 32*i)
			}
		},
	}.write()
	operation{
		name: "narrowScaled", signature: "n int, dst *float32, x *float64, s float64", size: 32,
		pointers: []pointer{{"dst+8", "DI", 64}, {"x+16", "SI", 128}},
		before:   func() { ins("VBROADCASTSD s+24(FP), Y4") },
		each: func() {
			for i := range 4 {
				ins("VMULPD %d(SI), Y4, Y%d", 32*i, i)
				ins("VCVTPD2PSY Y%d, X%d", i, i)
				ins("VMOVUPS X%d, %d(DI)", i, 16*i)
			}
		},
	}.write()
}

func moves() {
	joins()
	pack8()
	between()
	counts()
	sumWhere()
	doubles()
}
