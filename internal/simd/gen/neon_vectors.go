package main

// neonTable writes the address of a table to R16.
func neonTable(name string) { ins("MOVD $%s<>(SB), R16", name) }

// neonLoadExp loads the constants of exp into registers 23 to 31.
func neonLoadExp() {
	neonTable("expc")
	for i, disp := range []int{cLeast, cOne, c2, c3, c4, c5, cLn2, cMagic, cLog2e} {
		constant(disp, 23+i)
	}
}

// neonExp replaces register x by exp(x). Registers n to n+3 are overwritten.
func neonExp(x, n int) {
	p, q, below := n+1, n+2, n+3
	fcmgt.write(below, 23, x) // false for NaN, which stays NaN
	copyOf(n, 30)
	fmla.write(n, x, 31)
	fsub.write(p, n, 30)
	fmls.write(x, p, 29)
	copyOf(p, 27)
	fmla.write(p, x, 28)
	for _, c := range []int{26, 25, 24, 24} {
		copyOf(q, c)
		fmla.write(q, p, x)
		p, q = q, p
	}
	ins("VSHL $23, V%d.S4, V%d.S4", n, n)
	ins("VADD V%d.S4, V%d.S4, V%d.S4", n, p, x)
	bic.write(x, x, below)
}

// addLanes leaves the sum of the lanes of registers a and b in F0: of a and b, then of
// halves, then of neighbors, as the kernels for AVX2 do. Register 1 is overwritten.
func addLanes(a, b int) {
	fadd.write(0, a, b)
	ins("VEXT $8, V0.B16, V0.B16, V1.B16")
	fadd.write(0, 0, 1)
	ins("VEXT $4, V0.B16, V0.B16, V1.B16")
	fadd.write(0, 0, 1)
}

// quarters calls body for each of the four registers of 16 values.
func quarters(body func(i int)) {
	for i := range 4 {
		body(i)
	}
}

func neonVectors() {
	neonElementwise()
	neonSums()
	operation{
		name: "expSum", signature: "n int, x *float32, m float32, sum *float32", size: 32,
		pointers: []pointer{{"x+8", "R1", 64}, {"sum+24", "R2", 0}},
		before: func() {
			neonLoadExp()
			argument("m+16", 22)
			zero(20, 21)
		},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R1", 0)
				fsub.write(0, 0, 22)
				neonExp(0, 1)
				storeNEON(0, 16*i, "R1")
				fadd.write(20+i%2, 20+i%2, 0)
			})
		},
		after: func() {
			addLanes(20, 21)
			ins("FMOVS F0, (R2)")
		},
	}.neon()
	operation{
		name: "max", signature: "n int, x *float32, max *float32", size: 24,
		pointers: []pointer{{"x+8", "R1", 64}, {"max+16", "R2", 0}},
		before: func() {
			ins("FMOVS (R1), F0")
			ins("VDUP V0.S[0], V0.S4")
		},
		each: func() {
			loadPair(0, "R1", 1, 2)
			loadPair(32, "R1", 3, 4)
			fmax.write(1, 1, 2)
			fmax.write(3, 3, 4)
			fmax.write(1, 1, 3)
			fmax.write(0, 0, 1)
		},
		after: func() {
			largestOf(0, 0)
			ins("FMOVS F0, (R2)")
		},
	}.neon()
	operation{
		name: "siluMul", signature: "n int, dst, gate, up *float32", size: 32,
		pointers: []pointer{{"dst+8", "R1", 64}, {"gate+16", "R2", 64}, {"up+24", "R3", 64}},
		before: func() {
			neonLoadExp()
			neonTable("siluc")
			constant(0, 22)
		},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R2", 5)
				fneg.write(0, 5)
				fmin.write(0, 0, 22) // exp must stay finite: silu(-80) is 0 in float32 sums
				neonExp(0, 1)
				fadd.write(0, 0, 24)
				fdiv.write(0, 5, 0)
				loadNEON(16*i, "R3", 6)
				fmul.write(0, 0, 6)
				storeNEON(0, 16*i, "R1")
			})
		},
	}.neon()
	neonRowSums()
	neonPeak()
}

// neonElementwise writes the operations whose elements do not depend on each other.
func neonElementwise() {
	operation{
		name: "scale", signature: "n int, x *float32, s float32", size: 20,
		pointers: []pointer{{"x+8", "R1", 64}},
		before:   func() { argument("s+16", 0) },
		each: func() {
			for _, i := range []int{0, 2} {
				loadPair(16*i, "R1", 1, 2)
				fmul.write(1, 1, 0)
				fmul.write(2, 2, 0)
				storePair(1, 2, 16*i, "R1")
			}
		},
	}.neon()
	operation{
		name: "axpy", signature: "n int, dst, x *float32, s float32", size: 28,
		pointers: []pointer{{"dst+8", "R1", 64}, {"x+16", "R2", 64}},
		before:   func() { argument("s+24", 0) },
		each: func() { // the product is rounded, as in the other sets
			for _, i := range []int{0, 2} {
				loadPair(16*i, "R2", 1, 2)
				loadPair(16*i, "R1", 3, 4)
				fmul.write(1, 1, 0)
				fmul.write(2, 2, 0)
				fadd.write(3, 3, 1)
				fadd.write(4, 4, 2)
				storePair(3, 4, 16*i, "R1")
			}
		},
	}.neon()
	operation{
		name: "mulScaled", signature: "n int, dst, x, y *float32, s float32", size: 36,
		pointers: []pointer{{"dst+8", "R1", 64}, {"x+16", "R2", 64}, {"y+24", "R3", 64}},
		before:   func() { argument("s+32", 0) },
		each: func() {
			for _, i := range []int{0, 2} {
				loadPair(16*i, "R2", 1, 2)
				loadPair(16*i, "R3", 3, 4)
				fmul.write(1, 1, 0)
				fmul.write(2, 2, 0)
				fmul.write(1, 1, 3)
				fmul.write(2, 2, 4)
				storePair(1, 2, 16*i, "R1")
			}
		},
	}.neon()
	operation{
		name: "addFixed", signature: "n int, dst *int64, x *float32", size: 24,
		pointers: []pointer{{"dst+8", "R1", 128}, {"x+16", "R2", 64}},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R2", 0)
				fcvtlS2.write(1, 0)
				fcvtlS.write(0, 0)
				fixed.write(0, 0)
				fixed.write(1, 1)
				loadPair(32*i, "R1", 2, 3)
				ins("VADD V0.D2, V2.D2, V2.D2")
				ins("VADD V1.D2, V3.D2, V3.D2")
				storePair(2, 3, 32*i, "R1")
			})
		},
	}.neon()
	operation{
		name: "addWide", signature: "n int, dst *float64, x *float32", size: 24,
		pointers: []pointer{{"dst+8", "R1", 128}, {"x+16", "R2", 64}},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R2", 0)
				fcvtlS2.write(1, 0)
				fcvtlS.write(0, 0)
				loadPair(32*i, "R1", 2, 3)
				faddD.write(2, 2, 0)
				faddD.write(3, 3, 1)
				storePair(2, 3, 32*i, "R1")
			})
		},
	}.neon()
	operation{
		name: "addDoubles", signature: "n int, dst, x *float64", size: 24,
		pointers: []pointer{{"dst+8", "R1", 128}, {"x+16", "R2", 128}},
		each: func() {
			quarters(func(i int) {
				loadPair(32*i, "R1", 0, 1)
				loadPair(32*i, "R2", 2, 3)
				faddD.write(0, 0, 2)
				faddD.write(1, 1, 3)
				storePair(0, 1, 32*i, "R1")
			})
		},
	}.neon()
	operation{
		name: "narrowScaled", signature: "n int, dst *float32, x *float64, s float64", size: 32,
		pointers: []pointer{{"dst+8", "R1", 64}, {"x+16", "R2", 128}},
		before: func() {
			ins("FMOVD s+24(FP), F4")
			ins("VDUP V4.D[0], V4.D2")
		},
		each: func() {
			quarters(func(i int) {
				loadPair(32*i, "R2", 0, 1)
				fmulD.write(0, 0, 4)
				fmulD.write(1, 1, 4)
				fcvtnD.write(0, 0)
				fcvtnD2.write(0, 1)
				storeNEON(0, 16*i, "R1")
			})
		},
	}.neon()
}

// addDoubleLanes leaves the sum of four pairs of registers, of two float64 each, in F0:
// in the order of the kernels for AVX2. The first pair is in registers 0 and 1.
func addDoubleLanes() {
	for _, pair := range [][2]int{{0, 2}, {4, 6}, {0, 4}} {
		faddD.write(pair[0], pair[0], pair[1])
		faddD.write(pair[0]+1, pair[0]+1, pair[1]+1)
	}
	faddD.write(0, 0, 1)
	sumOfPair(0, 0)
}

// neonSums writes sums in float64 and sums of rows.
func neonSums() {
	operation{
		name: "sumSquares", signature: "n int, x *float32, sum *float64", size: 24,
		pointers: []pointer{{"x+8", "R1", 64}, {"sum+16", "R2", 0}},
		before:   func() { zero(0, 1, 2, 3, 4, 5, 6, 7) },
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R1", 8)
				fcvtlS2.write(9, 8)
				fcvtlS.write(8, 8)
				fmlaD.write(2*i, 8, 8)
				fmlaD.write(2*i+1, 9, 9)
			})
		},
		after: func() {
			addDoubleLanes()
			ins("FMOVD F0, (R2)")
		},
	}.neon()
	operation{
		name: "sumWhere", signature: "n int, x, y *float32, t float32, sum *float64", size: 40,
		pointers: []pointer{{"x+8", "R1", 64}, {"y+16", "R2", 64}, {"sum+32", "R3", 0}},
		before: func() {
			argument("t+24", 16)
			zero(0, 1, 2, 3, 4, 5, 6, 7)
		},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R1", 8)
				loadNEON(16*i, "R2", 9)
				fcmge.write(8, 8, 16)
				ins("VAND V8.B16, V9.B16, V8.B16")
				fcvtlS2.write(9, 8)
				fcvtlS.write(8, 8)
				faddD.write(2*i, 2*i, 8)
				faddD.write(2*i+1, 2*i+1, 9)
			})
		},
		after: func() {
			addDoubleLanes()
			ins("FMOVD F0, (R3)")
		},
	}.neon()
	operation{
		name: "sumRows", signature: "n int, dst, x *float32, stride, rows int", size: 40,
		pointers: []pointer{{"dst+8", "R1", 64}, {"x+16", "R2", 64}, {"stride+24", "R3", 0}, {"rows+32", "R4", 0}},
		before:   func() { ins("LSL $2, R3") },
		each: func() {
			zero(0, 1, 2, 3)
			ins("MOVD R2, R5")
			ins("MOVD R4, R6")
			line("sumRowsNEON_row:")
			loadPair(0, "R5", 4, 5)
			loadPair(32, "R5", 6, 7)
			quarters(func(i int) { fadd.write(i, i, 4+i) })
			ins("ADD R3, R5")
			ins("SUB $1, R6")
			ins("CBNZ R6, sumRowsNEON_row")
			storePair(0, 1, 0, "R1")
			storePair(2, 3, 32, "R1")
		},
	}.neon()
}

// neonRowSums writes the kernel for Σ x[j], Σ x[j]·j and Σ x[j]·log2 x[j], each summed
// in float64. The exponent of x is separated as an integer before the logarithm.
//
//	V0 to V5    the three sums, two registers each
//	V6, V7      positions; V8 has the number of positions in both
//	V16 to V22  coefficients of the logarithm; V23 √½ as an integer, V24 1
func neonRowSums() {
	operation{
		name: "rowSums", signature: "n int, x *float32, out *[3]float64", size: 24,
		pointers: []pointer{{"x+8", "R1", 64}, {"out+16", "R2", 0}},
		before: func() {
			zero(0, 1, 2, 3, 4, 5)
			neonTable("places")
			loadPair(0, "R16", 6, 7)
			ins("FMOVD 32(R16), F8")
			ins("VDUP V8.D[0], V8.D2")
			neonTable("logc")
			for i := range len(logConstants) + 1 {
				constant(4*i, 16+i)
			}
			neonTable("expc")
			constant(cOne, 24)
		},
		each: func() {
			const x, e, t, p, q, low, high = 9, 10, 11, 12, 13, 14, 15
			quarters(func(i int) {
				loadNEON(16*i, "R1", x)
				fcvtlS.write(low, x)
				fcvtlS2.write(high, x)
				faddD.write(0, 0, low)
				faddD.write(1, 1, high)
				fmlaD.write(2, low, 6)
				fmlaD.write(3, high, 7)
				faddD.write(6, 6, 8)
				faddD.write(7, 7, 8)
				ins("VSUB V23.S4, V%d.S4, V%d.S4", x, e)
				sshr23.write(e, e)
				ins("VSHL $23, V%d.S4, V%d.S4", e, t)
				ins("VSUB V%d.S4, V%d.S4, V%d.S4", t, x, t)
				scvtf.write(e, e)
				fsub.write(t, t, 24)
				last := len(logConstants) - 1
				from, to := 16+last, p
				for c := last - 1; c >= 0; c-- {
					copyOf(to, 16+c)
					fmla.write(to, from, t)
					from, to = to, p+q-to
				}
				fmla.write(e, from, t)
				fmul.write(e, e, x)
				fcvtlS.write(low, e)
				fcvtlS2.write(high, e)
				faddD.write(4, 4, low)
				faddD.write(5, 5, high)
			})
		},
		after: func() {
			for i := range 3 {
				faddD.write(2*i, 2*i, 2*i+1)
				sumOfPair(2*i, 2*i)
				ins("FMOVD F%d, %d(R2)", 2*i, 8*i)
			}
		},
	}.neon()
}

// neonPeak runs n rounds of 24 multiply-adds in registers.
func neonPeak() {
	line("// func peakNEON(n int)")
	line("TEXT ·peakNEON(SB), NOSPLIT, $0-8")
	ins("MOVD n+0(FP), R0")
	for i := range 26 {
		zero(i)
	}
	line("peakNEON_loop:")
	for i := range 24 {
		fmla.write(i, 24, 25)
	}
	ins("SUB $1, R0")
	ins("CBNZ R0, peakNEON_loop")
	ins("RET")
	line("")
}
