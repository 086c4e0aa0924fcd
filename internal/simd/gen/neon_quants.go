package main

import "fmt"

// neonMasks loads the masks of the eight nibbles of a word into registers 22 to 29.
func neonMasks() {
	ins("MOVD $15, R17")
	ins("VDUP R17, V22.S4")
	for i := 1; i < 8; i++ {
		ins("VSHL $%d, V22.S4, V%d.S4", 4*i, 22+i)
	}
}

// neonByteTables loads, into registers 26 to 29, the places of the bytes of a register
// that become the four integers of each quarter.
func neonByteTables() {
	neonTable("bytec")
	loadPair(0, "R16", 26, 27)
	loadPair(32, "R16", 28, 29)
}

// neonInteger converts one nibble of each word to float32.
func neonInteger(d, word, nibble int) {
	ins("VAND V%d.B16, V%d.B16, V%d.B16", 22+nibble, word, d)
	ucvtfShifted(d, d, 4*nibble)
}

// neonByte converts the bytes of a quarter of a register to float32.
func neonByte(d, bytes, quarter int) {
	ins("VTBL V%d.B16, [V%d.B16], V%d.B16", 26+quarter, bytes, d)
	ucvtf.write(d, d)
}

// suffix returns the name of the format in the names of kernels.
func (q quant) suffix() string {
	switch q {
	case quant{4, true}:
		return "Q4F16NEON"
	case quant{4, false}:
		return "Q4F32NEON"
	case quant{8, true}:
		return "Q8F16NEON"
	}
	return "Q8F32NEON"
}

// neonLoad loads the scales (part 0) or offsets (part 1) of outputs 4v to 4v+7, at the
// address in a register, into registers r and r+1.
func (q quant) neonLoad(base string, part, v, r int) {
	size := q.head() / 64
	disp := (32*part + 4*v) * size
	if q.half {
		loadNEON(disp, base, r)
		fcvtlH2.write(r+1, r)
		fcvtlH.write(r, r)
		return
	}
	loadPair(disp, base, r, r+1)
}

// neonGemv writes the kernel of y[32] = Σ_k x[k]·w[k][32], or y += with acc.
//
//	V0 to V7    sums over a group
//	V8 to V15   the results
//	R7          the address of the group's scales
func (q quant) neonGemv() {
	name := "gemv" + q.suffix()
	line("// func %s(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-56", name)
	ins("MOVD groups+0(FP), R0")
	ins("MOVD size+8(FP), R1")
	ins("MOVD x+16(FP), R2")
	ins("MOVD xs+24(FP), R3")
	ins("MOVD b+32(FP), R4")
	ins("MOVD y+40(FP), R5")
	ins("MOVD acc+48(FP), R6")
	if q.bits == 4 {
		neonMasks()
		ins("LSR $3, R1")
	} else {
		neonByteTables()
		ins("LSR $2, R1")
	}
	zero(8, 9, 10, 11, 12, 13, 14, 15)
	ins("CBZ R6, %s_group", name)
	for v := 0; v < 8; v += 2 {
		loadPair(16*v, "R5", 8+v, 9+v)
	}
	line("%s_group:", name)
	zero(0, 1, 2, 3, 4, 5, 6, 7)
	ins("MOVD R4, R7")
	ins("ADD $%d, R4", q.head())
	ins("MOVD R1, R8")
	line("%s_loop:", name)
	if q.bits == 4 {
		loadPair(0, "R2", 30, 31)
		ins("ADD $32, R2")
		for from := 0; from < 8; from += 4 { // words of 16 outputs, in 16 to 19
			loadPair(16*from, "R4", 16, 17)
			loadPair(16*from+32, "R4", 18, 19)
			for i := range 8 {
				for v := range 4 {
					t := 20 + v%2
					neonInteger(t, 16+v, i)
					fmlaElement.write(from+v, t, 30+i/4, i%4)
				}
			}
		}
	} else {
		ins("FMOVQ.P 16(R2), F30")
		for i := range 4 {
			loadPair(32*i, "R4", 16, 17)
			for v := range 8 {
				t := 18 + v
				neonByte(t, 16+v/4, v%4)
				fmlaElement.write(v, t, 30, i)
			}
		}
	}
	ins("ADD $128, R4")
	ins("SUB $1, R8")
	ins("CBNZ R8, %s_loop", name)
	ins("FMOVS.P 4(R3), F20")
	for v := 0; v < 8; v += 2 {
		q.neonLoad("R7", 0, v, 16)
		q.neonLoad("R7", 1, v, 18)
		for i := range 2 {
			fmla.write(8+v+i, v+i, 16+i)
			fmlaElement.write(8+v+i, 18+i, 20, 0)
		}
	}
	ins("SUB $1, R0")
	ins("CBNZ R0, %s_group", name)
	for v := 0; v < 8; v += 2 {
		storePair(8+v, 9+v, 16*v, "R5")
	}
	ins("RET")
	line("")
}

// neonUnpack writes the kernel that unpacks groups of a panel to float32, [size][32]
// per group. Registers 0 to 7 hold scales, 8 to 15 offsets.
func (q quant) neonUnpack() {
	name := "unpack" + q.suffix()
	line("// func %s(groups, size int, b unsafe.Pointer, dst *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-32", name)
	ins("MOVD groups+0(FP), R0")
	ins("MOVD size+8(FP), R1")
	ins("MOVD b+16(FP), R2")
	ins("MOVD dst+24(FP), R3")
	if q.bits == 4 {
		neonMasks()
		ins("LSR $3, R1")
	} else {
		neonByteTables()
	}
	line("%s_group:", name)
	for v := 0; v < 8; v += 2 {
		q.neonLoad("R2", 0, v, v)
		q.neonLoad("R2", 1, v, 8+v)
	}
	ins("ADD $%d, R2", q.head())
	ins("MOVD R1, R4")
	line("%s_loop:", name)
	if q.bits == 4 {
		for v := range 8 {
			loadNEON(16*v, "R2", 16)
			for i := range 8 {
				neonInteger(18, 16, i)
				copyOf(19, 8+v)
				fmla.write(19, 18, v)
				storeNEON(19, 128*i+16*v, "R3")
			}
		}
		ins("ADD $128, R2")
		ins("ADD $1024, R3")
	} else {
		loadPair(0, "R2", 16, 17)
		for v := range 8 {
			t := 20 + v%2
			neonByte(18, 16+v/4, v%4)
			copyOf(t, 8+v)
			fmla.write(t, 18, v)
			if v%2 == 1 {
				storePair(20, 21, 16*(v-1), "R3")
			}
		}
		ins("ADD $32, R2")
		ins("ADD $128, R3")
	}
	ins("SUB $1, R4")
	ins("CBNZ R4, %s_loop", name)
	ins("SUB $1, R0")
	ins("CBNZ R0, %s_group", name)
	ins("RET")
	line("")
}

// neonInts writes the kernel that unpacks the integers of a group to float32, [size][32].
func neonInts(bits int) {
	name := fmt.Sprintf("intsQ%dNEON", bits)
	line("// func %s(size int, b unsafe.Pointer, dst *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVD size+0(FP), R0")
	ins("MOVD b+8(FP), R2")
	ins("MOVD dst+16(FP), R3")
	if bits == 4 {
		neonMasks()
		ins("LSR $3, R0")
	} else {
		neonByteTables()
	}
	line("%s_loop:", name)
	if bits == 4 {
		for v := 0; v < 8; v += 2 {
			loadPair(16*v, "R2", 16, 17)
			for i := range 8 {
				neonInteger(18, 16, i)
				neonInteger(19, 17, i)
				ins("ADD $%d, R3, R4", 128*i)
				storePair(18, 19, 16*v, "R4")
			}
		}
		ins("ADD $128, R2")
		ins("ADD $1024, R3")
	} else {
		loadPair(0, "R2", 16, 17)
		for v := 0; v < 8; v += 2 {
			neonByte(18, 16+v/4, v%4)
			neonByte(19, 16+v/4, v%4+1)
			storePair(18, 19, 16*v, "R3")
		}
		ins("ADD $32, R2")
		ins("ADD $128, R3")
	}
	ins("SUB $1, R0")
	ins("CBNZ R0, %s_loop", name)
	ins("RET")
	line("")
}

// neonAddGroup writes the kernel of y[r] += sums[r]*scale + xs[r]*offset for some rows of
// 32 outputs and the scales and offsets of a group, in the order of neonGemv. Registers 0
// to 7 hold scales, 8 to 15 offsets.
func (q quant) neonAddGroup() {
	name := "addGroupF32NEON"
	if q.half {
		name = "addGroupF16NEON"
	}
	line("// func %s(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-48", name)
	ins("MOVD rows+0(FP), R0")
	ins("MOVD sums+8(FP), R1")
	ins("MOVD xs+16(FP), R2")
	ins("MOVD stride+24(FP), R3")
	ins("LSL $2, R3")
	ins("MOVD b+32(FP), R4")
	ins("MOVD y+40(FP), R5")
	for v := 0; v < 8; v += 2 {
		q.neonLoad("R4", 0, v, v)
		q.neonLoad("R4", 1, v, 8+v)
	}
	line("%s_loop:", name)
	ins("FMOVS (R2), F20")
	for v := 0; v < 8; v += 2 {
		loadPair(16*v, "R1", 16, 17)
		loadPair(16*v, "R5", 18, 19)
		for i := range 2 {
			fmla.write(18+i, 16+i, v+i)
			fmlaElement.write(18+i, 8+v+i, 20, 0)
		}
		storePair(18, 19, 16*v, "R5")
	}
	ins("ADD $128, R1")
	ins("ADD $128, R5")
	ins("ADD R3, R2")
	ins("SUB $1, R0")
	ins("CBNZ R0, %s_loop", name)
	ins("RET")
	line("")
}

// neonWiden writes the kernel that widens bfloat16 or float16 to float32.
func neonWiden(kind string, low, high unary) {
	operation{
		name: "widen" + kind, signature: "n int, dst *float32, x *uint16", size: 24,
		pointers: []pointer{{"dst+8", "R1", 64}, {"x+16", "R2", 32}},
		each: func() {
			for half := range 2 {
				loadNEON(16*half, "R2", 0)
				low.write(1, 0)
				high.write(2, 0)
				storePair(1, 2, 32*half, "R1")
			}
		},
	}.neon()
}

// neonQuantized writes the kernels for quantized panels and for half precision, and a
// pause for loops that wait.
func neonQuantized() {
	for i := range 16 {
		line("DATA bytec<>+%d(SB)/4, $%#08x // byte %d, and zeros", 4*i, 0xffffff00+i, i)
	}
	line("GLOBL bytec<>(SB), RODATA|NOPTR, $64")
	line("")
	for _, q := range quants {
		q.neonGemv()
		q.neonUnpack()
	}
	neonInts(4)
	neonInts(8)
	quants[0].neonAddGroup()
	quants[1].neonAddGroup()
	neonWiden("BF16", shllH, shllH2)
	neonWiden("F16", fcvtlH, fcvtlH2)
	line("// func pauseNEON(n int)")
	line("TEXT ·pauseNEON(SB), NOSPLIT, $0-8")
	ins("MOVD n+0(FP), R0")
	line("pauseNEON_loop:")
	ins("YIELD")
	ins("SUB $1, R0")
	ins("CBNZ R0, pauseNEON_loop")
	ins("RET")
}
