package main

import "fmt"

// Kernels for arm64 use the 32 registers of NEON, V0 to V31, of four float32 each. They
// add up in the same order as the kernels for AVX2, so both give the same bits.
//
// Go's assembler lacks most floating-point instructions on vectors. The types below
// write them as words, followed by the instruction in the syntax of ARM's manual, with
// the destination first. A test compares the words with what clang assembles.

// word writes an instruction as a word.
func word(code uint32, f string, a ...any) {
	ins("WORD $%#08x // %s", code, fmt.Sprintf(f, a...))
}

// ternary is an instruction d = f(n, m) or d += f(n, m) on whole registers.
type ternary struct {
	name   string
	code   uint32
	lanes  string // of the destination
	inputs string // lanes of n and m, if they differ from the destination's
}

func (t ternary) write(d, n, m int) {
	inputs := t.inputs
	if inputs == "" {
		inputs = t.lanes
	}
	word(t.code|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s v%d.%s, v%d.%s, v%d.%s",
		t.name, d, t.lanes, n, inputs, m, inputs)
}

var (
	fadd  = ternary{"fadd", 0x4e20d400, "4s", ""}
	fsub  = ternary{"fsub", 0x4ea0d400, "4s", ""}
	fmul  = ternary{"fmul", 0x6e20dc00, "4s", ""}
	fdiv  = ternary{"fdiv", 0x6e20fc00, "4s", ""}
	fmax  = ternary{"fmax", 0x4e20f400, "4s", ""}
	fmin  = ternary{"fmin", 0x4ea0f400, "4s", ""}
	fmla  = ternary{"fmla", 0x4e20cc00, "4s", ""}
	fmls  = ternary{"fmls", 0x4ea0cc00, "4s", ""}
	fcmge = ternary{"fcmge", 0x6e20e400, "4s", ""}
	fcmgt = ternary{"fcmgt", 0x6ea0e400, "4s", ""}
	bic   = ternary{"bic", 0x4e601c00, "16b", ""}

	faddD = ternary{"fadd", 0x4e60d400, "2d", ""}
	fmulD = ternary{"fmul", 0x6e60dc00, "2d", ""}
	fmlaD = ternary{"fmla", 0x4e60cc00, "2d", ""}
)

// element is an instruction d += n * m[i] with one element of m.
type element struct {
	name          string
	code          uint32
	inputs, group string // lanes of n, and of the element
}

func (e element) write(d, n, m, i int) {
	index := uint32(i&1)<<21 | uint32(i>>1)<<11
	word(e.code|index|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.%s, v%d.%s[%d]",
		e.name, d, n, e.inputs, m, e.group, i)
}

var (
	fmlaElement  = element{"fmla", 0x4f801000, "4s", "s"}
	bfdotElement = element{"bfdot", 0x4f40f000, "8h", "2h"}
)

// unary is an instruction d = f(n).
type unary struct {
	name      string
	code      uint32
	to, from  string // lanes
	immediate string // last operand, if any
}

func (u unary) write(d, n int) {
	word(u.code|uint32(n)<<5|uint32(d), "%s v%d.%s, v%d.%s%s", u.name, d, u.to, n, u.from, u.immediate)
}

// Conversions of the lower half of a register, and of the upper half (2).
var (
	fcvtlH  = unary{"fcvtl", 0x0e217800, "4s", "4h", ""}
	fcvtlH2 = unary{"fcvtl2", 0x4e217800, "4s", "8h", ""}
	fcvtlS  = unary{"fcvtl", 0x0e617800, "2d", "2s", ""}
	fcvtlS2 = unary{"fcvtl2", 0x4e617800, "2d", "4s", ""}
	fcvtnD  = unary{"fcvtn", 0x0e616800, "2s", "2d", ""}
	fcvtnD2 = unary{"fcvtn2", 0x4e616800, "4s", "2d", ""}
	shllH   = unary{"shll", 0x2e613800, "4s", "4h", ", #16"}
	shllH2  = unary{"shll2", 0x6e613800, "4s", "8h", ", #16"}
	shrnS   = unary{"shrn", 0x0f108400, "4h", "4s", ", #16"}
	shrnS2  = unary{"shrn2", 0x4f108400, "8h", "4s", ", #16"}
)

// Conversions of whole registers.
var (
	scvtf    = unary{"scvtf", 0x4e21d800, "4s", "4s", ""}
	ucvtf    = unary{"ucvtf", 0x6e21d800, "4s", "4s", ""}
	fixed    = unary{"fcvtzs", 0x4f58fc00, "2d", "2d", ", #40"}
	sshr23   = unary{"sshr", 0x4f290400, "4s", "4s", ", #23"}
	fneg     = unary{"fneg", 0x6ea0f800, "4s", "4s", ""}
	addPairs = "faddp" // of two float64
)

// ucvtfShifted converts the unsigned integers n to float32 and divides them by 2^bits.
func ucvtfShifted(d, n, bits int) {
	if bits == 0 {
		ucvtf.write(d, n)
		return
	}
	word(0x6f00e400|uint32(64-bits)<<16|uint32(n)<<5|uint32(d), "ucvtf v%d.4s, v%d.4s, #%d", d, n, bits)
}

// sumOfPair writes the sum of the two float64 of register n to F0 of register d.
func sumOfPair(d, n int) {
	word(0x7e70d800|uint32(n)<<5|uint32(d), "%s d%d, v%d.2d", addPairs, d, n)
}

// largestOf writes the largest of the four float32 of register n to F0 of register d.
func largestOf(d, n int) {
	word(0x6e30f800|uint32(n)<<5|uint32(d), "fmaxv s%d, v%d.4s", d, n)
}

// copyOf copies register n to d, and zero clears registers.
func copyOf(d, n int) { ins("VORR V%d.B16, V%d.B16, V%d.B16", n, n, d) }

func zero(registers ...int) {
	for _, r := range registers {
		ins("VEOR V%d.B16, V%d.B16, V%d.B16", r, r, r)
	}
}

// loadPair loads two registers from memory, storePair stores them.
func loadPair(disp int, base string, a, b int) { ins("FLDPQ %d(%s), (F%d, F%d)", disp, base, a, b) }

func storePair(a, b int, disp int, base string) { ins("FSTPQ (F%d, F%d), %d(%s)", a, b, disp, base) }

// loadNEON and storeNEON move one register.
func loadNEON(disp int, base string, a int)  { ins("FMOVQ %d(%s), F%d", disp, base, a) }
func storeNEON(a int, disp int, base string) { ins("FMOVQ F%d, %d(%s)", a, disp, base) }

// argument loads a float32 argument into all lanes of a register.
func argument(name string, r int) {
	ins("FMOVS %s(FP), F%d", name, r)
	ins("VDUP V%d.S[0], V%d.S4", r, r)
}

// constant loads the float32 at an offset of a table, whose address is in R16, into all
// lanes of a register.
func constant(disp, r int) {
	ins("FMOVS %d(R16), F%d", disp, r)
	ins("VDUP V%d.S[0], V%d.S4", r, r)
}

// neon writes an operation of n values, 16 at a time. R0 counts the rounds.
func (o operation) neon() {
	line("// func %sNEON(%s)", o.name, o.signature)
	line("TEXT ·%sNEON(SB), NOSPLIT, $0-%d", o.name, o.size)
	ins("MOVD n+0(FP), R0")
	for _, p := range o.pointers {
		ins("MOVD %s(FP), %s", p.arg, p.reg)
	}
	if o.before != nil {
		o.before()
	}
	ins("LSR $4, R0")
	line("%sNEON_loop:", o.name)
	o.each()
	for _, p := range o.pointers {
		if p.step > 0 {
			ins("ADD $%d, %s", p.step, p.reg)
		}
	}
	ins("SUB $1, R0")
	ins("CBNZ R0, %sNEON_loop", o.name)
	if o.after != nil {
		o.after()
	}
	ins("RET")
	line("")
}

// generateARM64 returns the assembler file for arm64.
func generateARM64() string {
	out.Reset()
	line("// Code generated by gen/main.go. DO NOT EDIT.")
	line("")
	line(`#include "textflag.h"`)
	line("")
	for _, m := range neonProducts {
		m.write()
	}
	tables()
	neonVectors()
	neonMoves()
	neonQuantized()
	return out.String()
}
