//go:build cuda

package capture

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
)

// TestRowsCrossAsHalvesOnCard: a dump whose rows and windows' sums the card has
// rounded holds the same numbers, bit for bit, as one whose rows came as float32
// and sums in fixed point and were rounded by the writer, at every precision;
// generated rows and followed ones too.
func TestRowsCrossAsHalvesOnCard(t *testing.T) {
	list, why := cuda.Devices()
	if why == "" {
		why = list[0].Why
	}
	if why != "" {
		t.Skipf("SKIPPED, no card: %s (ATTNSCOPE_LIBCUDA names an emulated driver)", why)
	}
	for _, c := range []struct{ model, compute string }{{"qwen3", "f32"}, {"starcoder2-window", "bf16"}} {
		ck, err := checkpoint.Open("../engine/model/testdata/" + c.model)
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		m, err := model.Load(ck, model.Options{Device: "cuda", Compute: c.compute, Chunk: 29})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, precision := range dumps.Precisions() {
			read := func(name string, floats bool) *dumps.Reader {
				cfg := tiny(t, 1)
				mc := m.Config()
				cfg.Model, cfg.floats, cfg.Out = m, floats, filepath.Join(t.TempDir(), name+".attn")
				cfg.Header.Model = ModelInfo("tiny", &mc)
				cfg.Header.Plan.Precision, cfg.Header.Plan.WindowRows, cfg.Header.Plan.MaxNewTokens = precision, 40, 5
				cfg.Header.Plan.Layers, cfg.Header.Plan.Heads = []int{0, 1}, []int{0, mc.Heads - 1}
				cfg.Prompts = nil
				for i, n := range []int{71, 1, 46} {
					p := prompts.Prompt{ID: strings.Repeat("p", i+1)}
					for j := range n {
						p.Tokens = append(p.Tokens, int32((7*j*j+3*i)%mc.Vocab))
					}
					if i == 2 {
						p.Reply = p.Tokens[:19]
					}
					cfg.Prompts = append(cfg.Prompts, p)
				}
				if _, err := Run(context.Background(), cfg); err != nil {
					t.Fatal(err)
				}
				if ok, err := dumps.Verify(t.Context(), cfg.Out, nil, func(p dumps.Problem) { t.Error(p) }); err != nil || !ok {
					t.Errorf("verify: %v, %v", ok, err)
				}
				r, err := dumps.Open(cfg.Out)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { r.Close() })
				return r
			}
			want, got := read("floats", true), read("halves", false)
			values, rounded, summed := 0, 0, 0
			for i := range want.Prompts() {
				for _, l := range []int{0, 1} {
					a, na, err := want.Windows(i, l)
					b, nb, err2 := got.Windows(i, l)
					if err != nil || err2 != nil || na != nb || !slices.Equal(a, b) {
						t.Fatalf("%s, %s, prompt %d, layer %d: sums of %d windows differ from those of %d (%v, %v)", c.model, precision, i, l, nb, na, err, err2)
					}
					summed += nb
					for _, phase := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
						a, err := want.Weights(i, l, phase)
						b, err2 := got.Weights(i, l, phase)
						if err != nil || err2 != nil || len(a.Data) != len(b.Data) || len(a.Data) == 0 {
							t.Fatal(err, err2, len(a.Data), len(b.Data))
						}
						for j, v := range a.Data {
							if math.Float32bits(v) != math.Float32bits(b.Data[j]) {
								t.Fatalf("%s, %s, prompt %d, layer %d, phase %v: weight %d is %g, want %g", c.model, precision, i, l, phase, j, b.Data[j], v)
							}
							values++
							if math.Float32bits(v)&0x1fff == 0 {
								rounded++
							}
						}
					}
				}
			}
			if summed == 0 {
				t.Error("no windows")
			}
			if halves := rounded == values; halves != (precision != dumps.Exact) {
				t.Errorf("%s: %d of %d weights are halves", precision, rounded, values)
			}
		}
	}
}
