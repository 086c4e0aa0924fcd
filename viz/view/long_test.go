package view

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// writeLong writes a dump of one prompt whose rows have a sink, a band near the
// query and single peaks: 1 layer, 2 heads, weights stored as rows.
func writeLong(t testing.TB, path string, prompt, rows, reply int, p dumps.Prompt) {
	t.Helper()
	h := &dumps.Header{
		Model: dumps.ModelInfo{ID: "long", Architecture: "llama", Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 8, ValueDim: 8, Vocab: 50, Scale: 1, LayerWindows: []int{0}},
		Plan:  dumps.Plan{WindowRows: rows, Layers: []int{0}, Heads: []int{0, 1}, Store: dumps.StoreRows, Precision: dumps.Exact, MaxNewTokens: reply},
	}
	if p.ID == "" {
		p.ID = "long"
	}
	p.PromptTokens, p.WindowRows, p.ReplyTokens, p.Store = prompt, rows, reply, "rows"
	p.Tokens = make([]int32, prompt+reply)
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pw, err := w.Begin(p)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 8))
	for head := range 2 {
		for ph, n := range []int{rows, reply} {
			keys, pos0 := prompt, prompt-rows
			if ph == 1 {
				keys, pos0 = prompt+reply, prompt
			}
			x := make([]float32, n*keys)
			for i := range n {
				row, sum := x[i*keys:(i+1)*keys], float32(0)
				for j := range min(keys, pos0+i+1) {
					row[j] = 0.01*r.Float32() + 8/float32(pos0+i-j+8)
					if r.IntN(500) == 0 {
						row[j] += 20
					}
					if j == 0 {
						row[j] += 200
					}
					sum += row[j]
				}
				for j := range row {
					row[j] /= sum
				}
			}
			if err := pw.Rows(dumps.Rows{
				Layer: 0, Head: head, Phase: dumps.Phase(ph),
				Rows: n, Keys: keys,
				Weights: x,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := pw.Finish(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPyramidOfALongPrompt compares all levels and pooled rows with slow pooling: with
// all levels kept, with the finest too large to keep, and with none kept.
func TestPyramidOfALongPrompt(t *testing.T) {
	const prompt, rows, reply = 2300, 140, 9
	path := filepath.Join(t.TempDir(), "long.attn")
	writeLong(t, path, prompt, rows, reply, dumps.Prompt{})
	for _, limit := range []int{48 << 20, 1 << 20, 1000} {
		v := serve(t, path, Options{Token: testToken})
		v.s.levelBytes = limit
		want := v.weights(0, 0, 1)
		var info mapAnswer
		v.json("api/map?head=1", &info)
		if fmt.Sprint(info.Levels) != "[2309 578 145]" {
			t.Fatalf("levels %v", info.Levels)
		}
		s, err := v.s.pyramid(t.Context(), headQuery{head: 1})
		if err != nil {
			t.Fatal(err)
		}
		if kept := s.levels[0].max != nil; kept != (limit == 48<<20) {
			t.Errorf("bound %d: finest level kept: %v", limit, kept)
		}
		for level, cells := range info.Levels {
			for _, down := range []int{0, 1, 3} {
				for _, mean := range []bool{false, true} {
					all := (len(want) + 1<<down - 1) >> down
					for y := 0; y*tileRows < all; y++ {
						for x := 0; x*tileKeys < cells; x++ {
							got, err := s.tile(t.Context(), tileID{level, down, x, y, mean})
							if err != nil {
								t.Fatal(err)
							}
							if got.rows != min(tileRows, all-y*tileRows) || got.keys != min(tileKeys, cells-x*tileKeys) {
								t.Fatalf("tile of %d x %d", got.rows, got.keys)
							}
							for i := 0; i < len(got.cells); i += 7 {
								pool := map[bool]string{false: "max", true: "mean"}[mean]
								w := slowCell(want, y*tileRows+i/got.keys, x*tileKeys+i%got.keys, 1<<down, info.width(level), pool, info.First)
								if d := float64(got.cells[i]) - w; d > 1e-6*w+1e-9 || d < -1e-6*w-1e-9 {
									t.Fatalf("bound %d, level %d, down %d, %s, tile %d,%d, cell %d: %g, want %g", limit, level, down, pool, x, y, i, got.cells[i], w)
								}
							}
						}
					}
				}
			}
		}
	}
}

func (m mapAnswer) width(level int) int {
	w := 1
	for range level {
		w *= m.Factor
	}
	return w
}
