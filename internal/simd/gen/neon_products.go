package main

import "fmt"

// neonProduct is a micro-kernel of rows x cols elements. kind is the element type of the
// panel: empty for float32; BF16 or F16, which are widened in registers; or DotBF16 for
// words of two bfloat16.
//
// Registers hold, in this order: the sums, row by row; four columns of each row of A; and
// columns of the panel.
type neonProduct struct {
	kind       string
	rows, cols int
}

// neonProducts lists the kernels. Six rows of 16 columns take 24 of the 32 registers
// for sums. With up to three rows, all 32 columns fit, which gives a product of one row
// enough sums that do not depend on each other.
var neonProducts = []neonProduct{
	{"", 6, 16},
	{"", 4, 16},
	{"", 3, 32},
	{"", 2, 32},
	{"", 1, 32},
	{"BF16", 4, 16},
	{"BF16", 3, 32},
	{"BF16", 2, 32},
	{"BF16", 1, 32},
	{"F16", 4, 16},
	{"F16", 3, 32},
	{"F16", 2, 32},
	{"F16", 1, 32},
	{"DotBF16", 6, 16},
	{"DotBF16", 4, 16},
	{"DotBF16", 2, 32},
	{"DotBF16", 1, 32},
}

// name returns the name of the function.
func (m neonProduct) name() string {
	if m.kind == "DotBF16" {
		return fmt.Sprintf("dotBF16NEONx%d", m.rows)
	}
	return fmt.Sprintf("mul%sNEONx%d", m.kind, m.rows)
}

// vectors returns the number of registers of a row of sums.
func (m neonProduct) vectors() int { return m.cols / 4 }

// sum returns the register of columns 4v to 4v+3 of a row of sums.
func (m neonProduct) sum(row, v int) int { return row*m.vectors() + v }

// a returns the register of a row of A.
func (m neonProduct) a(row int) int { return m.rows*m.vectors() + row }

// pointer returns the register with the address of a row of A.
func (m neonProduct) pointer(row int) string {
	if row == 0 {
		return "R1"
	}
	return fmt.Sprintf("R%d", 6+row)
}

// panel returns the first register for columns of the panel.
func (m neonProduct) panel() int { return m.a(m.rows) }

// half reports whether the panel holds values of two bytes, to be widened.
func (m neonProduct) half() bool { return m.kind == "BF16" || m.kind == "F16" }

// columnBytes returns the number of bytes of a row of the panel.
func (m neonProduct) columnBytes() int {
	if m.half() {
		return 64
	}
	return 128
}

// loadColumns loads columns 4v to 4v+7 of the panel, at an offset in bytes, into two
// registers.
func (m neonProduct) loadColumns(v, disp, r int) {
	switch m.kind {
	case "BF16":
		loadNEON(disp+8*v, "R3", r)
		shllH2.write(r+1, r)
		shllH.write(r, r)
	case "F16":
		loadNEON(disp+8*v, "R3", r)
		fcvtlH2.write(r+1, r)
		fcvtlH.write(r, r)
	default:
		loadPair(disp+16*v, "R3", r, r+1)
	}
}

// step adds the products of column i of the registers of A with row i of the panel.
func (m neonProduct) step(i, disp int) {
	op := fmlaElement
	if m.kind == "DotBF16" {
		op = bfdotElement
	}
	free := (32 - m.panel()) &^ 1
	for v := 0; v < m.vectors(); v += 2 {
		b := m.panel() + v%free
		m.loadColumns(v, disp, b)
		for row := range m.rows {
			op.write(m.sum(row, v), b, m.a(row), i)
			op.write(m.sum(row, v+1), b+1, m.a(row), i)
		}
	}
}

// loadRows loads the next columns of A, four or one.
func (m neonProduct) loadRows(one bool) {
	for row := range m.rows {
		if one {
			ins("FMOVS.P 4(%s), F%d", m.pointer(row), m.a(row))
		} else {
			ins("FMOVQ.P 16(%s), F%d", m.pointer(row), m.a(row))
		}
	}
}

func (m neonProduct) write() {
	name := m.name()
	line("// func %s(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-56", name)
	ins("MOVD k+0(FP), R0")
	ins("MOVD a+8(FP), R1")
	ins("MOVD lda+16(FP), R2")
	ins("LSL $2, R2")
	ins("MOVD b+24(FP), R3")
	ins("MOVD c+32(FP), R4")
	ins("MOVD ldc+40(FP), R5")
	ins("LSL $2, R5")
	ins("MOVD acc+48(FP), R6")
	for row := 1; row < m.rows; row++ {
		ins("ADD R2, %s, %s", m.pointer(row-1), m.pointer(row))
	}
	for r := range m.rows * m.vectors() {
		zero(r)
	}
	bytes := m.columnBytes()
	ins("LSR $2, R0, R12")
	ins("CBZ R12, %s_tail", name)
	line("%s_loop:", name)
	m.loadRows(false)
	for i := range 4 {
		m.step(i, i*bytes)
	}
	ins("ADD $%d, R3", 4*bytes)
	ins("SUB $1, R12")
	ins("CBNZ R12, %s_loop", name)
	line("%s_tail:", name)
	ins("AND $3, R0, R12")
	ins("CBZ R12, %s_done", name)
	line("%s_one:", name)
	m.loadRows(true)
	m.step(0, 0)
	ins("ADD $%d, R3", bytes)
	ins("SUB $1, R12")
	ins("CBNZ R12, %s_one", name)
	line("%s_done:", name)
	m.addC()
	for row := range m.rows {
		for v := 0; v < m.vectors(); v += 2 {
			storePair(m.sum(row, v), m.sum(row, v+1), 16*v, "R4")
		}
		if row+1 < m.rows {
			ins("ADD R5, R4")
		}
	}
	ins("RET")
	line("")
}

// addC adds C to the sums if acc is set.
func (m neonProduct) addC() {
	ins("CBZ R6, %s_store", m.name())
	ins("MOVD R4, R13")
	b := m.a(0) // A and the panel are no longer needed
	for row := range m.rows {
		for v := 0; v < m.vectors(); v += 2 {
			loadPair(16*v, "R13", b, b+1)
			fadd.write(m.sum(row, v), m.sum(row, v), b)
			fadd.write(m.sum(row, v+1), m.sum(row, v+1), b+1)
		}
		ins("ADD R5, R13")
	}
	line("%s_store:", m.name())
}
