// Package amx describes matrix products as programs of Intel's AMX tile instructions, and
// executes these programs in Go.
//
// A tile is a register of 16 rows of 64 bytes. TDPBF16PS adds the product of a tile of
// 16 x 32 bfloat16 values and one of 32 x 16 to a tile of 16 x 16 float32 values. A
// float32 is exactly the sum of three bfloat16 values (8 + 8 + 8 bits of mantissa), so a
// few products of bfloat16 terms, added up in float32, give a product of float32 values.
//
// A [Program] is a list of tile instructions. The generator of package simd writes it as
// assembly; [Program.Run] executes it in Go, on processors without tiles.
package amx

import "fmt"

// Layout of the packed operands. One step of the inner dimension holds Depth values.
// Both operands are arrays of [step][term], each block of BlockBytes:
//
//	A  [2][16 rows][32 values]         rows of the result, two tiles
//	B  [16 pairs][32 columns][2]       columns of the result, two tiles side by side
const (
	Depth      = 32   // values of the inner dimension per step
	Rows       = 16   // rows per tile
	Cols       = 32   // columns of a result, two tiles
	BlockBytes = 2048 // of one term of one step

	strideA = 64
	strideB = 128
	tileA   = 1024 // from the first tile of a block of A to the second
	tileB   = 64
)

// Kind is the kind of an instruction.
type Kind int

const (
	LoadA Kind = iota // Tile = the tile at Offset of the current step of A
	LoadB             // Tile = the tile at Offset of the current step of B
	Dot               // Tile += tile A · tile B
)

// Op is one instruction of a step.
type Op struct {
	Kind   Kind
	Tile   int
	Offset int // LoadA, LoadB: bytes from the start of the step
	A, B   int // Dot: tiles
}

// Program computes C = A·B or C += A·B for a block of RowTiles*16 rows and 32 columns of
// C. Tile 2i+j holds rows 16i and columns 16j of C; tiles 4 and 5 hold A, 6 and 7 hold B.
//
// A scaled program computes C += (A·B)∘S: in each step, the products are summed
// separately, and each column of the sums is multiplied by a float32 of that step before
// it is added to C.
type Program struct {
	Name     string
	RowTiles int // 1 or 2
	TermsA   int // bfloat16 terms per value of A
	TermsB   int
	Scaled   bool
	Step     []Op
}

// Programs lists the products that package simd uses: rounded values (1x1), float32 with
// bfloat16 (3x1), float32 with float32 (3x3), and float32 with integers that are scaled
// by the step (3x1), each for 32 and for 16 rows.
var Programs = []*Program{
	newProgram(2, 1, 1), newProgram(1, 1, 1),
	newProgram(2, 3, 1), newProgram(1, 3, 1),
	newProgram(2, 3, 3), newProgram(1, 3, 3),
	newProgram(2, 3, 1).scaled(), newProgram(1, 3, 1).scaled(),
}

// Find returns the program for a number of row tiles and terms.
func Find(rowTiles, termsA, termsB int, scaled bool) *Program {
	for _, p := range Programs {
		if p.RowTiles == rowTiles && p.TermsA == termsA && p.TermsB == termsB && p.Scaled == scaled {
			return p
		}
	}
	panic(fmt.Sprintf("amx: no program of %d row tiles, %d and %d terms, scaled %v", rowTiles, termsA, termsB, scaled))
}

// scaled makes p a scaled program.
func (p *Program) scaled() *Program {
	p.Scaled = true
	p.Name = fmt.Sprintf("scaledTiles%dx%dx%d", Rows*p.RowTiles, p.TermsA, p.TermsB)
	return p
}

// newProgram writes one step. Term i of a value is about 2^-8i of it, so the products of
// terms i and j with i+j > 2 are below the last bit of a float32 and are left out.
func newProgram(rowTiles, termsA, termsB int) *Program {
	p := &Program{
		Name:     fmt.Sprintf("tiles%dx%dx%d", Rows*rowTiles, termsA, termsB),
		RowTiles: rowTiles, TermsA: termsA, TermsB: termsB,
	}
	// Neighboring pairs share a term, whose tiles stay loaded.
	order := [][2]int{{0, 0}, {1, 0}, {2, 0}, {1, 1}, {0, 1}, {0, 2}}
	loadedA, loadedB := -1, -1
	for _, pair := range order {
		i, j := pair[0], pair[1]
		if i >= termsA || j >= termsB {
			continue
		}
		if i != loadedA {
			for t := range rowTiles {
				p.Step = append(p.Step, Op{Kind: LoadA, Tile: 4 + t, Offset: i*BlockBytes + t*tileA})
			}
		}
		if j != loadedB {
			for t := range 2 {
				p.Step = append(p.Step, Op{Kind: LoadB, Tile: 6 + t, Offset: j*BlockBytes + t*tileB})
			}
		}
		for t := range 2 * rowTiles {
			p.Step = append(p.Step, Op{Kind: Dot, Tile: t, A: 4 + t/2, B: 6 + t%2})
		}
		loadedA, loadedB = i, j
	}
	return p
}
