package simd

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkOperations runs each operation on the amount of data that a decoder of 576
// channels or a prompt of 4,096 tokens gives it.
func BenchmarkOperations(b *testing.B) {
	const rows, k, n = 14 * 16, 576, 4096
	r := rand.New(rand.NewPCG(1, 1))
	a, panel, c := random(rows*k, r), random(k*Width, r), make([]float32, rows*Width)
	half := make([]uint16, k*Width)
	RoundBF16(half, panel)
	one := Dense(c, 1, Width)
	row := Dense(a, 1, k)
	x, y, dst := weights(n, r), weights(n, r), make([]float32, n)
	fixed, wide := make([]int64, n), make([]float64, n)
	planes := make([]byte, 2*n)
	for i := range planes {
		planes[i] = byte(r.IntN(60))
	}
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
	run("PackPanel", func() { PackPanel(panel, Dense(a, Width, k), 0) })
	run("MulPanel/rows=1", func() { MulPanel(one, row, panel, false) })
	run("MulPanelBF16/rows=1", func() { MulPanelBF16(one, row, half, false) })
	run("MulPanelF16/rows=1", func() { MulPanelF16(one, row, half, false) })
	for _, q := range []Quant{{4, 32, true}, {8, 32, true}} {
		groups := k / q.Group
		data := quantPanel(q, groups, r)
		sums := make([]float32, groups)
		unpacked := make([]float32, k*Width)
		name := map[int]string{4: "Q4", 8: "Q8"}[q.Bits]
		run("MulRow/"+name, func() {
			if !q.MulRow((*[Width]float32)(c), a[:k], sums, data, false) {
				q.Unpack(unpacked, data, groups)
				MulPanel(one, row, unpacked, false)
			}
		})
		run("Unpack/"+name, func() { q.Unpack(unpacked, data, groups) })
	}
	run("SiLUMul", func() { SiLUMul(dst, x, y) })
	run("Scale", func() { Scale(dst, 1) })
	run("AddScaled", func() { AddScaled(dst, x, 0.1) })
	run("SumRows", func() { SumRows(dst[:n/16], x, n/16, 16) })
	run("SumSquares", func() { SumSquares(x) })
	run("AddFixed", func() { AddFixed(fixed, x) })
	run("AddWide", func() { AddWide(wide, x) })
	run("RowSums", func() { RowSums(x) })
	run("Max", func() { Max(x) })
	run("CountNotBelow", func() { CountNotBelow(x, 0.5) })
	run("CountBoth", func() { CountBoth(x, y, 0.5, 0.5) })
	run("SumWhere", func() { SumWhere(x, y, 0.5) })
	run("Between", func() { Between(nil, x, 0.5, 0.51) })
	run("JoinHalves", func() { JoinHalves(dst, planes) })
	run("WidenBF16", func() { WidenBF16(panel, half) })
	run("RoundBF16", func() { RoundBF16(half, panel) })
}
