package main

// neonMoves writes the operations that mostly move or compare values.
func neonMoves() {
	operation{
		name: "joinPlanes", signature: "n int, dst *float32, p0, p1, p2, p3 *byte", size: 48,
		pointers: []pointer{
			{"dst+8", "R1", 64},
			{"p0+16", "R2", 16},
			{"p1+24", "R3", 16},
			{"p2+32", "R4", 16},
			{"p3+40", "R5", 16},
		},
		each: func() {
			for i, r := range []string{"R2", "R3", "R4", "R5"} {
				loadNEON(0, r, i)
			}
			ins("VST4 [V0.B16, V1.B16, V2.B16, V3.B16], (R1)")
		},
	}.neon()
	operation{
		name: "joinHalves", signature: "n int, dst *float32, p0, p1 *byte", size: 32,
		pointers: []pointer{{"dst+8", "R1", 64}, {"p0+16", "R2", 16}, {"p1+24", "R3", 16}},
		each: func() {
			loadNEON(0, "R2", 0)
			loadNEON(0, "R3", 1)
			ins("VZIP1 V1.B16, V0.B16, V2.B16")
			ins("VZIP2 V1.B16, V0.B16, V3.B16")
			for half := range 2 {
				fcvtlH.write(4, 2+half)
				fcvtlH2.write(5, 2+half)
				storePair(4, 5, 32*half, "R1")
			}
		},
	}.neon()
	neonPack8()
	for i := range 2 {
		line("DATA bitc<>+%d(SB)/8, $0x8040201008040201 // a bit for each of eight bytes", 8*i)
	}
	line("GLOBL bitc<>(SB), RODATA|NOPTR, $16")
	line("")
	neonComparisons()
	neonRounding()
}

// neonPack8 writes 8 rows of k values, k a multiple of 8, as columns of a panel. The
// rows are in R1 to R8. Two squares of four are transposed at a time.
func neonPack8() {
	line("// func pack8NEON(k int, panel, b *float32, ldb int)")
	line("TEXT ·pack8NEON(SB), NOSPLIT, $0-32")
	ins("MOVD k+0(FP), R0")
	ins("MOVD panel+8(FP), R10")
	ins("MOVD b+16(FP), R1")
	ins("MOVD ldb+24(FP), R9")
	ins("LSL $2, R9")
	for row := 1; row < 8; row++ {
		ins("ADD R9, R%d, R%d", row, row+1)
	}
	ins("LSR $2, R0")
	line("pack8NEON_loop:")
	for row := range 8 {
		ins("FMOVQ.P 16(R%d), F%d", row+1, row)
	}
	for square := range 2 {
		r, to := 4*square, 16+4*square
		for half, zip := range []string{"VZIP1", "VZIP2"} {
			ins("%s V%d.S4, V%d.S4, V8.S4", zip, r+2, r)
			ins("%s V%d.S4, V%d.S4, V9.S4", zip, r+3, r+1)
			ins("VZIP1 V9.S4, V8.S4, V%d.S4", to+2*half)
			ins("VZIP2 V9.S4, V8.S4, V%d.S4", to+2*half+1)
		}
	}
	for column := range 4 {
		storePair(16+column, 20+column, 128*column, "R10")
	}
	ins("ADD $512, R10")
	ins("SUB $1, R0")
	ins("CBNZ R0, pack8NEON_loop")
	ins("RET")
	line("")
}

// neonComparisons writes the operations that compare values with bounds.
func neonComparisons() {
	operation{
		name: "between", signature: "n int, x *float32, lo, hi float32, bits *uint16", size: 32,
		pointers: []pointer{{"x+8", "R1", 64}, {"bits+24", "R2", 2}},
		before: func() {
			argument("lo+16", 16)
			argument("hi+20", 17)
			neonTable("bitc")
			loadNEON(0, "R16", 18)
		},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R1", i)
				fcmgt.write(4+i, 17, i)
				fcmge.write(i, i, 16)
				ins("VAND V%d.B16, V%d.B16, V%d.B16", 4+i, i, i)
			})
			// A byte for each value, then the bit of its place, then the sum of eight.
			ins("VUZP1 V1.H8, V0.H8, V0.H8")
			ins("VUZP1 V3.H8, V2.H8, V2.H8")
			ins("VUZP1 V2.B16, V0.B16, V0.B16")
			ins("VAND V18.B16, V0.B16, V0.B16")
			for range 3 {
				ins("VADDP V0.B16, V0.B16, V0.B16")
			}
			ins("VMOV V0.H[0], R3")
			ins("MOVH R3, (R2)")
		},
	}.neon()
	operation{
		name: "countNotBelow", signature: "n int, x *float32, t float32, count *int64", size: 32,
		pointers: []pointer{{"x+8", "R1", 64}, {"count+24", "R3", 0}},
	}.neonCount("t+16")
	operation{
		name: "countBoth", signature: "n int, x, y *float32, tx, ty float32, count *int64", size: 40,
		pointers: []pointer{{"x+8", "R1", 64}, {"y+16", "R2", 64}, {"count+32", "R3", 0}},
	}.neonCount("tx+24", "ty+28")
}

// neonCount writes an operation that counts the positions where each of one or two
// vectors, its first pointers, is at least a bound; R3 has the address of the result.
// Each lane can count up to 2^32.
func (o operation) neonCount(bounds ...string) {
	o.before = func() {
		for i, b := range bounds {
			argument(b, 16+i)
		}
		zero(0, 1)
	}
	o.each = func() {
		quarters(func(i int) {
			for n := range bounds {
				loadNEON(16*i, o.pointers[n].reg, 2+n)
				fcmge.write(2+n, 2+n, 16+n)
			}
			if len(bounds) > 1 {
				ins("VAND V3.B16, V2.B16, V2.B16")
			}
			ins("VSUB V2.S4, V%d.S4, V%d.S4", i%2, i%2)
		})
	}
	o.after = func() {
		ins("VADD V1.S4, V0.S4, V0.S4")
		ins("VADDV V0.S4, V0")
		ins("VMOV V0.S[0], R4")
		ins("MOVD R4, (R3)")
	}
	o.neon()
}

// neonRounding writes the rounding of activations.
func neonRounding() {
	operation{
		name: "roundBF16", signature: "n int, dst *uint16, x *float32", size: 24,
		pointers: []pointer{{"dst+8", "R1", 32}, {"x+16", "R2", 64}},
		before: func() {
			ins("MOVD $1, R3")
			ins("VDUP R3, V16.S4")
			ins("MOVD $0x7fff, R3")
			ins("VDUP R3, V17.S4")
		},
		each: func() {
			quarters(func(i int) {
				loadNEON(16*i, "R2", 0)
				ins("VUSHR $16, V0.S4, V1.S4")
				ins("VAND V16.B16, V1.B16, V1.B16")
				ins("VADD V17.S4, V0.S4, V0.S4")
				ins("VADD V1.S4, V0.S4, V0.S4")
				if i%2 == 0 {
					shrnS.write(2, 0)
				} else {
					shrnS2.write(2, 0)
					storeNEON(2, 8*(i-1), "R1")
				}
			})
		},
	}.neon()
}
