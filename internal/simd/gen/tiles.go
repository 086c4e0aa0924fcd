package main

import (
	"fmt"
	"strings"

	"github.com/attnscope/attnscope/internal/simd/amx"
)

// tileIns is an AMX instruction: its bytes, because the assembler does not support AMX,
// and its form in AT&T syntax, which a test assembles with binutils.
type tileIns struct {
	code []byte
	text string
}

// tileCode holds all AMX instructions that were written, for the test.
var tileCode []tileIns

// put writes an instruction.
func (t tileIns) put() {
	parts := make([]string, len(t.code))
	for i, c := range t.code {
		parts[i] = fmt.Sprintf("BYTE $%#02x", c)
	}
	ins("%s // %s", strings.Join(parts, "; "), t.text)
	tileCode = append(tileCode, t)
}

// vex returns an instruction VEX.128.pp.0F38.W0 with low registers only. vvvv is the
// third operand.
func vex(pp, vvvv, opcode byte, rest ...byte) []byte {
	return append([]byte{0xc4, 0xe2, (^vvvv&15)<<3 | pp, opcode}, rest...)
}

// register numbers of the encoding
var regNumber = map[string]byte{"AX": 0, "CX": 1, "DX": 2, "BX": 3, "SI": 6, "DI": 7}

// tileMove writes TILELOADD or TILESTORED between a tile and memory: row i is at base +
// disp + i*index.
func tileMove(store bool, tile int, base, index string, disp int) {
	pp := byte(3)
	if store {
		pp = 2
	}
	code := vex(pp, 0, 0x4b, 0x84|byte(tile)<<3, regNumber[index]<<3|regNumber[base],
		byte(disp), byte(disp>>8), byte(disp>>16), byte(disp>>24))
	address := fmt.Sprintf("%#x(%%r%s,%%r%s,1)", disp, strings.ToLower(base), strings.ToLower(index))
	text := fmt.Sprintf("{disp32} tileloadd %s, %%tmm%d", address, tile)
	if store {
		text = fmt.Sprintf("{disp32} tilestored %%tmm%d, %s", tile, address)
	}
	tileIns{code, text}.put()
}

func tileZero(tile int) {
	tileIns{vex(3, 0, 0x49, 0xc0|byte(tile)<<3), fmt.Sprintf("tilezero %%tmm%d", tile)}.put()
}

func tileDot(c, a, b int) {
	code := vex(2, byte(b), 0x5c, 0xc0|byte(c)<<3|byte(a))
	tileIns{code, fmt.Sprintf("tdpbf16ps %%tmm%d, %%tmm%d, %%tmm%d", b, a, c)}.put()
}

// tileProgram writes a product of package amx with one panel of B after the other. Tiles
// are configured at its start and released at its end, so that no other code runs with
// tiles in use.
//
//	AX, CX  64 and 128, the strides of A and B
//	SI, DI  A and B; skip is added to DI at the end of a panel
//	R12     the start of A
//	DX, R8  rows 0 and 16 of a panel of C
//	BX      the stride of C
//	R10     acc
//	R9, R13 the steps that remain of a panel, and all
//	R11     the panels that remain
func tileProgram(p *amx.Program) {
	line("// func %s(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)", p.Name)
	line("TEXT ·%s(SB), NOSPLIT, $0-72", p.Name)
	ins("MOVQ config+64(FP), AX")
	tileIns{vex(0, 0, 0x49, 0x00), "ldtilecfg (%rax)"}.put()
	ins("MOVQ steps+0(FP), R13")
	ins("MOVQ panels+8(FP), R11")
	ins("MOVQ a+16(FP), R12")
	ins("MOVQ b+24(FP), DI")
	ins("MOVQ c+40(FP), DX")
	ins("MOVQ ldc+48(FP), BX")
	ins("SHLQ $2, BX")
	ins("MOVQ BX, R8")
	ins("SHLQ $4, R8")
	ins("ADDQ DX, R8")
	ins("MOVQ acc+56(FP), R10")
	ins("MOVQ $64, AX")
	ins("MOVQ $128, CX")
	line("%s_panel:", p.Name)
	ins("MOVQ R12, SI")
	ins("MOVQ R13, R9")
	ins("TESTQ R10, R10")
	ins("JZ %s_zero", p.Name)
	tileRows(p, false)
	ins("JMP %s_loop", p.Name)
	line("%s_zero:", p.Name)
	for t := range 2 * p.RowTiles {
		tileZero(t)
	}
	line("%s_loop:", p.Name)
	tileStep(p)
	ins("DECQ R9")
	ins("JNZ %s_loop", p.Name)
	tileRows(p, true)
	ins("ADDQ $128, DX")
	ins("ADDQ $128, R8")
	ins("ADDQ skip+32(FP), DI")
	ins("DECQ R11")
	ins("JNZ %s_panel", p.Name)
	tileIns{vex(0, 0, 0x49, 0xc0), "tilerelease"}.put()
	ins("RET")
	line("")
}

// scaledTileProgram writes a scaled program of package amx. The tiles of each step are
// stored to a buffer of 32 columns, from which vectors are scaled and added to C.
//
//	AX, CX  64 and 128, the strides of A and of B and the buffer
//	SI, DI  A and B
//	DX      the buffer
//	BX      the stride of C
//	R10     C
//	R11     the scales
//	R12     a row of C
func scaledTileProgram(p *amx.Program) {
	line("// func %s(steps int, a, b *uint16, scales, c *float32, ldc int, buf *float32, config *byte)", p.Name)
	line("TEXT ·%s(SB), NOSPLIT, $0-64", p.Name)
	ins("MOVQ config+56(FP), AX")
	tileIns{vex(0, 0, 0x49, 0x00), "ldtilecfg (%rax)"}.put()
	ins("MOVQ steps+0(FP), R9")
	ins("MOVQ a+8(FP), SI")
	ins("MOVQ b+16(FP), DI")
	ins("MOVQ scales+24(FP), R11")
	ins("MOVQ c+32(FP), R10")
	ins("MOVQ ldc+40(FP), BX")
	ins("SHLQ $2, BX")
	ins("MOVQ buf+48(FP), DX")
	ins("MOVQ $64, AX")
	ins("MOVQ $128, CX")
	line("%s_loop:", p.Name)
	for t := range 2 * p.RowTiles {
		tileZero(t)
	}
	tileStep(p)
	for t := range 2 * p.RowTiles {
		tileMove(true, t, "DX", "CX", t/2*16*128+t%2*64)
	}
	ins("VMOVUPS (R11), Z0")
	ins("VMOVUPS 64(R11), Z1")
	ins("ADDQ $128, R11")
	ins("MOVQ R10, R12")
	for row := range 16 * p.RowTiles {
		for v := range 2 {
			r := 2 + 2*(row%4) + v
			ins("VMOVUPS %d(R12), Z%d", 64*v, r)
			ins("VFMADD231PS %d(DX), Z%d, Z%d", 128*row+64*v, v, r)
			ins("VMOVUPS Z%d, %d(R12)", r, 64*v)
		}
		ins("ADDQ BX, R12")
	}
	ins("DECQ R9")
	ins("JNZ %s_loop", p.Name)
	tileIns{vex(0, 0, 0x49, 0xc0), "tilerelease"}.put()
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// tileStep writes the loads and products of a step, and advances A and B.
func tileStep(p *amx.Program) {
	for _, op := range p.Step {
		switch op.Kind {
		case amx.LoadA:
			tileMove(false, op.Tile, "SI", "AX", op.Offset)
		case amx.LoadB:
			tileMove(false, op.Tile, "DI", "CX", op.Offset)
		case amx.Dot:
			tileDot(op.Tile, op.A, op.B)
		}
	}
	ins("ADDQ $%d, SI", p.TermsA*amx.BlockBytes)
	ins("ADDQ $%d, DI", p.TermsB*amx.BlockBytes)
}

// tileRows loads the tiles of C from memory or stores them.
func tileRows(p *amx.Program, store bool) {
	for t := range p.RowTiles {
		if t == 1 {
			ins("XCHGQ R8, DX")
		}
		tileMove(store, 2*t, "DX", "BX", 0)
		tileMove(store, 2*t+1, "DX", "BX", 64)
		if t == 1 {
			ins("XCHGQ R8, DX")
		}
	}
}

// term writes the next bfloat16 term of the 8 values in Y(v), as the upper half of float32
// values, to Y(to), and subtracts it from Y(v) unless it is the last one. Y13 holds ones,
// Y14 0x7fff, Y15 the mask of the upper half; Y12 is overwritten.
func term(v, to int, last bool) {
	ins("VPSRLD $16, Y%d, Y12", v)
	ins("VPAND Y13, Y12, Y12")
	ins("VPADDD Y14, Y%d, Y%d", v, to)
	ins("VPADDD Y12, Y%d, Y%d", to, to)
	ins("VPAND Y15, Y%d, Y%d", to, to)
	if !last {
		ins("VSUBPS Y%d, Y%d, Y%d", to, v, v)
	}
}

// splitConstants loads the constants of term.
func splitConstants() {
	ins("VPBROADCASTD tilec<>+0(SB), Y13")
	ins("VPBROADCASTD tilec<>+4(SB), Y14")
	ins("VPBROADCASTD tilec<>+8(SB), Y15")
}

// splitRow writes the packing of one row of A: 32 values per step, each as terms
// bfloat16 values.
func splitRow(terms int) {
	name := fmt.Sprintf("splitRow%d", terms)
	line("// func %s(steps int, dst *uint16, x *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ steps+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	splitConstants()
	line("%s_loop:", name)
	for half := range 2 {
		ins("VMOVDQU %d(SI), Y0", 64*half)
		ins("VMOVDQU %d(SI), Y1", 64*half+32)
		for t := range terms {
			for v := range 2 {
				term(v, 2+v, t == terms-1)
				ins("VPSRLD $16, Y%d, Y%d", 2+v, 2+v)
			}
			ins("VPACKUSDW Y3, Y2, Y2") // in each half of 128 bits: 4 of Y2, 4 of Y3
			ins("VPERMQ $0xd8, Y2, Y2")
			ins("VMOVDQU Y2, %d(DI)", t*amx.BlockBytes+32*half)
		}
	}
	ins("ADDQ $128, SI")
	ins("ADDQ $%d, DI", terms*amx.BlockBytes)
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// splitPairs writes the packing of one step of B: 16 pairs of rows of a panel [32][32],
// each value as three bfloat16 terms.
func splitPairs() {
	const name = "splitPairs3"
	line("// func %s(pairs int, dst *uint16, x *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ pairs+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	splitConstants()
	line("%s_loop:", name)
	for col := range 4 {
		ins("VMOVDQU %d(SI), Y0", 32*col)
		ins("VMOVDQU %d(SI), Y1", 32*col+128)
		for t := range 3 {
			term(0, 2, t == 2)
			term(1, 3, t == 2)
			ins("VPSRLD $16, Y2, Y2")
			ins("VPOR Y3, Y2, Y2")
			ins("VMOVDQU Y2, %d(DI)", t*amx.BlockBytes+32*col)
		}
	}
	ins("ADDQ $256, SI")
	ins("ADDQ $128, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// joinPairs writes the packing of pairs of rows of a panel of bfloat16 values.
func joinPairs() {
	const name = "joinPairs"
	line("// func %s(pairs int, dst *uint16, x *uint16)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-24", name)
	ins("MOVQ pairs+0(FP), CX")
	ins("MOVQ dst+8(FP), DI")
	ins("MOVQ x+16(FP), SI")
	line("%s_loop:", name)
	for col := range 4 {
		ins("VPMOVZXWD %d(SI), Y0", 16*col)
		ins("VPMOVZXWD %d(SI), Y1", 16*col+64)
		ins("VPSLLD $16, Y1, Y1")
		ins("VPOR Y1, Y0, Y0")
		ins("VMOVDQU Y0, %d(DI)", 32*col)
	}
	ins("ADDQ $128, SI")
	ins("ADDQ $128, DI")
	ins("DECQ CX")
	ins("JNZ %s_loop", name)
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// tileGroups writes the packing of groups of 32 inputs of a quantized panel: integers
// less a center, as pairs of bfloat16, and the scales and what is left of the offsets as
// float32.
//
//	Y0 to Y2    scales, offsets and centers of 8 outputs
//	Y13         zeros
//	Y14         the largest integer
//	Y15         the mask of 4 bits
//	R10, R11    the integers and the scales of these outputs
func (q quant) tileGroups() {
	name := q.name("tileGroups", widths[1])
	line("// func %s(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-40", name)
	ins("MOVQ groups+0(FP), CX")
	ins("MOVQ b+8(FP), R11")
	ins("MOVQ dst+16(FP), DI")
	ins("MOVQ scales+24(FP), SI")
	ins("MOVQ offsets+32(FP), DX")
	ins("VXORPS Y13, Y13, Y13")
	most := 12
	if q.bits == 8 {
		most = 16
	}
	ins("VBROADCASTSS tilec<>+%d(SB), Y14", most)
	ins("VPBROADCASTD nibbles<>+64(SB), Y15")
	line("%s_group:", name)
	ins("LEAQ %d(R11), R10", q.head())
	ins("MOVQ $4, BX")
	line("%s_outputs:", name)
	q.load(widths[1], "R11", 0, 0, 0)
	q.load(widths[1], "R11", 1, 0, 1)
	ins("VSUBPS Y1, Y13, Y2")
	ins("VDIVPS Y0, Y2, Y2")
	ins("VROUNDPS $0, Y2, Y2")
	ins("VMAXPS Y13, Y2, Y2") // 0 if the scale is 0 and the quotient no number
	ins("VMINPS Y14, Y2, Y2")
	ins("VFMADD231PS Y2, Y0, Y1")
	ins("VMOVUPS Y0, (SI)")
	ins("VMOVUPS Y1, (DX)")
	for pair := range 16 {
		if q.bits == 8 {
			ins("VPMOVZXBD %d(R10), Y4", 64*pair)
			ins("VPMOVZXBD %d(R10), Y5", 64*pair+32)
		} else {
			if pair%4 == 0 {
				ins("VMOVDQU %d(R10), Y3", pair/4*128)
			}
			ins("VPAND Y15, Y3, Y4")
			ins("VPSRLD $4, Y3, Y5")
			ins("VPAND Y15, Y5, Y5")
			ins("VPSRLD $8, Y3, Y3")
		}
		for r := 4; r <= 5; r++ {
			ins("VCVTDQ2PS Y%d, Y%d", r, r)
			ins("VSUBPS Y2, Y%d, Y%d", r, r)
		}
		ins("VPSRLD $16, Y4, Y4")
		ins("VPOR Y5, Y4, Y4")
		ins("VMOVDQU Y4, %d(DI)", 128*pair)
	}
	ins("ADDQ $%d, R10", map[int]int{4: 32, 8: 8}[q.bits])
	ins("ADDQ $%d, R11", q.head()/8)
	for _, r := range []string{"DI", "SI", "DX"} {
		ins("ADDQ $32, %s", r)
	}
	ins("DECQ BX")
	ins("JNZ %s_outputs", name)
	ins("ADDQ $%d, R11", q.head()/2+4*q.bits*32)
	ins("ADDQ $%d, DI", amx.BlockBytes-128)
	ins("DECQ CX")
	ins("JNZ %s_group", name)
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// tiles writes the products and the packing of their operands.
func tiles() {
	line("DATA tilec<>+0(SB)/4, $1")
	line("DATA tilec<>+4(SB)/4, $0x7fff")
	line("DATA tilec<>+8(SB)/4, $0xffff0000")
	line("DATA tilec<>+12(SB)/4, $15.0")
	line("DATA tilec<>+16(SB)/4, $255.0")
	line("GLOBL tilec<>(SB), RODATA|NOPTR, $20")
	line("")
	for _, p := range amx.Programs {
		if p.Scaled {
			scaledTileProgram(p)
		} else {
			tileProgram(p)
		}
	}
	splitRow(1)
	splitRow(3)
	splitPairs()
	joinPairs()
	for _, q := range quants {
		q.tileGroups()
	}
}
