package capture

import (
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/engine/cpu"
)

// TestOverviewAgainstLoop pools a whole map of 37 tokens, given in tiles, into
// 10 x 10 and, finer than the map, 50 x 50 cells.
func TestOverviewAgainstLoop(t *testing.T) {
	const prompt = 37
	r := rand.New(rand.NewPCG(1, 1))
	full := make([]float32, prompt*prompt)
	for i := range prompt {
		for j := range i + 1 {
			full[i*prompt+j] = r.Float32()
		}
	}
	for _, side := range []int{10, 37, 50} {
		want := make([]float32, side*side)
		for i := range prompt {
			for j := range i + 1 {
				at := i*side/prompt*side + j*side/prompt
				want[at] = max(want[at], full[i*prompt+j])
			}
		}
		o := newOverview(2, side, prompt)
		for _, part := range [][4]int{{0, 5, 0, 5}, {5, 20, 0, 25}, {25, 12, 0, 37}} { // row0, rows, key0, keys
			o.add(1, &cpu.Tile{Head: 1, Rows: part[1], Pos0: part[0], Key0: part[2], Keys: part[3], Stride: prompt, Weights: full[part[0]*prompt+part[2]:]})
		}
		for i, v := range o.cells {
			w := float32(0)
			if i >= side*side {
				w = want[i-side*side]
			}
			if v != w {
				t.Fatalf("side %d, cell %d: %g, want %g", side, i, v, w)
			}
		}
	}
}
