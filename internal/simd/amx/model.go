package amx

import "math"

// tile is a tile register: 16 rows of 32 bfloat16 values, widened (A and B), or 16
// float32 (C).
type tile struct {
	half  [Rows][32]float32
	float [Rows][16]float32
	least int // the smallest exponent of a value of half that is not zero
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
	t.least = 128
	for r := range Rows {
		for i, h := range from[r*stride:][:32] {
			t.half[r][i] = flush(math.Float32frombits(uint32(h) << 16))
			if exponent := int(h>>7&255) - 127; exponent > -127 {
				t.least = min(t.least, exponent)
			}
		}
	}
}

// dot is TDPBF16PS: c += a·b. Even and odd values of the inner dimension are summed
// separately, each product added with one rounding, and both sums are added to c
// (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2). Subnormal
// values and results count as zero.
func dot(c, a, b *tile) {
	// All products are multiples of 2^(a.least+b.least-14), and so are their sums, rounded or
	// not. If that is a normal number, nothing is subnormal.
	normal := a.least+b.least-14 >= -126
	for m := range Rows {
		var even, odd [16]float32
		for k := range 16 {
			a0 := a.half[m][2*k]
			a1 := a.half[m][2*k+1]
			row := &b.half[k]
			if normal {
				for n := range 16 {
					even[n] += float32(a0 * row[2*n])
					odd[n] += float32(a1 * row[2*n+1])
				}
				continue
			}
			for n := range 16 {
				even[n] = addProduct(even[n], a0, row[2*n])
				odd[n] = addProduct(odd[n], a1, row[2*n+1])
			}
		}
		for n := range 16 {
			c.float[m][n] = flush(flush(c.float[m][n]) + flush(even[n]+odd[n]))
		}
	}
}

// addProduct returns sum + x*y for values x and y of bfloat16, rounded once. Their product is
// exact in float32 unless it is subnormal.
func addProduct(sum, x, y float32) float32 {
	product := float32(x * y)
	if math.Float32bits(product)&0x7f800000 == 0 && x != 0 && y != 0 {
		return flush(float32(float64(float64(x)*float64(y)) + float64(sum)))
	}
	return flush(sum + product)
}

// fma returns x*y + z. The product of two float32 values is exact in float64; the sum is
// rounded to float64 and then to float32, which differs from one rounding only where the
// first lands on the middle between two float32.
func fma(x, y, z float32) float32 { return float32(float64(float64(x)*float64(y)) + float64(z)) }

// flush returns a zero of the same sign for subnormal values.
func flush(x float32) float32 {
	if bits := math.Float32bits(x); bits&0x7f800000 == 0 {
		return math.Float32frombits(bits & 0x80000000)
	}
	return x
}
