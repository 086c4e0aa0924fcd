package amx

import "math"

// tile is a tile register: 16 rows of 32 bfloat16 values, widened (A and B), or 16
// float32 (C).
type tile struct {
	half  [Rows][32]float32
	float [Rows][16]float32
}

// Run executes the program: C = A·B, or C += A·B with acc, over steps of the inner
// dimension.
//
//	a, b  packed operands, see the constants of this package
//	c     [16*RowTiles, 32], row i from c[i*stride] on
func (p *Program) Run(steps int, a, b []uint16, c []float32, stride int, acc bool) {
	var tiles [8]tile
	if acc {
		p.eachRow(c, stride, func(t *tile, r int, row []float32) { copy(t.float[r][:], row) }, &tiles)
	}
	for s := range steps {
		p.step(s, a, b, &tiles)
	}
	p.eachRow(c, stride, func(t *tile, r int, row []float32) { copy(row, t.float[r][:]) }, &tiles)
}

// RunScaled executes a scaled program. scales is [steps][Cols].
func (p *Program) RunScaled(steps int, a, b []uint16, scales, c []float32, stride int) {
	for s := range steps {
		var tiles [8]tile
		p.step(s, a, b, &tiles)
		for t := range 2 * p.RowTiles {
			scale := scales[s*Cols+t%2*16:][:16]
			for r := range Rows {
				row := p.row(c, stride, t, r)
				for i, v := range tiles[t].float[r] {
					row[i] = fma(v, scale[i], row[i])
				}
			}
		}
	}
}

// step executes step s.
func (p *Program) step(s int, a, b []uint16, tiles *[8]tile) {
	stepA := a[s*p.TermsA*BlockBytes/2:]
	stepB := b[s*p.TermsB*BlockBytes/2:]
	for _, op := range p.Step {
		switch op.Kind {
		case LoadA:
			tiles[op.Tile].load(stepA[op.Offset/2:], strideA/2)
		case LoadB:
			tiles[op.Tile].load(stepB[op.Offset/2:], strideB/2)
		case Dot:
			dot(&tiles[op.Tile], &tiles[op.A], &tiles[op.B])
		}
	}
}

// eachRow calls f for every row of every tile of C with its 16 values in memory.
func (p *Program) eachRow(c []float32, stride int, f func(t *tile, r int, row []float32), tiles *[8]tile) {
	for t := range 2 * p.RowTiles {
		for r := range Rows {
			f(&tiles[t], r, p.row(c, stride, t, r))
		}
	}
}

// row returns the values of row r of tile t of C in memory.
func (p *Program) row(c []float32, stride, t, r int) []float32 {
	return c[(t/2*Rows+r)*stride+t%2*16:][:16]
}

// load is TILELOADD.
func (t *tile) load(from []uint16, stride int) {
	for r := range Rows {
		for i, h := range from[r*stride:][:32] {
			t.half[r][i] = flush(math.Float32frombits(uint32(h) << 16))
		}
	}
}

// dot is TDPBF16PS: c += a·b. Even and odd values of the inner dimension are summed
// separately, each product added with one rounding, and both sums are added to c
// (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2). Subnormal
// values count as zero. The product of two bfloat16 values is exact in float32, so the
// addition rounds only once.
func dot(c, a, b *tile) {
	for m := range Rows {
		var even, odd [16]float32
		for k := range 16 {
			a0 := a.half[m][2*k]
			a1 := a.half[m][2*k+1]
			row := &b.half[k]
			for n := range 16 {
				even[n] += float32(a0 * row[2*n])
				odd[n] += float32(a1 * row[2*n+1])
			}
		}
		for n := range 16 {
			c.float[m][n] = flush(flush(c.float[m][n]) + flush(even[n]+odd[n]))
		}
	}
}

// fma returns x*y + z. The product of two float32 values is exact in float64; the sum is
// rounded to float64 and then to float32, which differs from one rounding only where the
// first lands on the middle between two float32.
func fma(x, y, z float32) float32 { return float32(float64(float64(x)*float64(y)) + float64(z)) }

// flush returns zero for subnormal values.
func flush(x float32) float32 {
	if math.Float32bits(x)&0x7f800000 == 0 {
		return 0
	}
	return x
}
