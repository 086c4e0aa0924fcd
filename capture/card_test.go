//go:build cuda

package capture

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
)

// modelOnCard loads a checkpoint of engine/model/testdata on the first card. The test is
// skipped if no card can be used.
func modelOnCard(t *testing.T, name string, o model.Options) *model.Model {
	t.Helper()
	list, why := cuda.Devices()
	if why == "" {
		why = list[0].Why
	}
	if why != "" {
		t.Skipf("SKIPPED, no card: %s (ATTNSCOPE_LIBCUDA names an emulated driver)", why)
	}
	ck, err := checkpoint.Open("../engine/model/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	o.Device = "cuda"
	m, err := model.Load(ck, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestRowsCrossAsHalvesOnCard: a dump whose rows and windows' sums the card has
// rounded holds the same numbers, bit for bit, as one whose rows came as float32
// and sums in fixed point and were rounded by the writer, at every precision;
// generated rows and followed ones too.
func TestRowsCrossAsHalvesOnCard(t *testing.T) {
	for _, c := range []struct{ model, compute string }{{"qwen3", "f32"}, {"starcoder2-window", "bf16"}} {
		m := modelOnCard(t, c.model, model.Options{Compute: c.compute, Chunk: 29})
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

// TestTotalsCrossOncePerPromptOnCard: however many passes read a prompt, the sums over its
// queries and its overview come once, and they are those that pass by pass add up to, bit
// for bit; for a prompt that begins with a shared document too.
func TestTotalsCrossOncePerPromptOnCard(t *testing.T) {
	m := modelOnCard(t, "qwen3", model.Options{Compute: "f32"})
	cfg := m.Config()
	plan := tiny(t, 1).Header.Plan
	plan.WindowRows, plan.PromptWindows, plan.Overview = 0, 0, 5
	tokens := make([]int32, 90)
	for i := range tokens {
		tokens[i] = int32(i * i % cfg.Vocab)
	}
	// read reads the positions after from in passes of 20 tokens.
	read := func(s *model.Session, rec *recorder, from, end int, once bool) (bytes int) {
		var lock sync.Mutex
		all := *rec.callbacks
		all.Sums = func(layer, head, window int, part []int64) {
			lock.Lock()
			bytes += 8 * len(part)
			lock.Unlock()
			rec.cardSums(layer, head, window, part)
		}
		all.Wants = func(layer, pos0, n int) model.Wants {
			w := rec.wants(layer, pos0, n)
			if !once {
				w.Until = 0
			}
			return w
		}
		for lo := from; lo < end; lo += 20 {
			hi := min(end, lo+20)
			pass := model.Pass{LogitsFrom: hi - lo, Recorder: &all, Length: end}
			if err := s.Forward(t.Context(), tokens[lo:hi], pass); err != nil {
				t.Fatal(err)
			}
		}
		return bytes
	}
	for _, shared := range []int{0, 30} {
		run := func(once bool) (*recorder, int) {
			s := m.NewSession()
			defer s.Close()
			rec := newRecorder(&plan, &cfg, len(tokens), 0, dumps.StoreRows)
			bytes := 0
			if shared > 0 {
				document := plan
				document.Overview = 0
				doc := newRecorder(&document, &cfg, shared, 0, dumps.StoreRows)
				bytes = read(s, doc, 0, shared, once)
				rec.addTotals(doc.totals())
				rec.from = shared
			}
			return rec, bytes + read(s, rec, shared, len(tokens), once)
		}
		got, bytes := run(true)
		want, _ := run(false)
		if most := 8 * len(plan.Layers) * len(plan.Heads) * (len(tokens) + shared); bytes != most {
			t.Errorf("%d shared tokens: %d bytes of sums crossed, want %d", shared, bytes, most)
		}
		for _, layer := range plan.Layers {
			a, b := got.layers[layer], want.layers[layer]
			sums := a.total.Floats(len(tokens))
			if !slices.Equal(sums, b.total.Floats(len(tokens))) || !slices.Equal(a.overview.cells, b.overview.cells) {
				t.Errorf("%d shared tokens, layer %d: the sums or the overview differ", shared, layer)
			}
			total := 0.0
			for _, v := range sums {
				total += float64(v)
			}
			if rows := float64(len(plan.Heads) * len(tokens)); math.Abs(total-rows) > 1e-3*rows {
				t.Errorf("%d shared tokens, layer %d: the sums add up to %g, want %g", shared, layer, total, rows)
			}
		}
	}
}

// TestBatchOnCard: prompts that share a document and are decoded together have copies of its
// cache, and the same numbers as one after the other.
func TestBatchOnCard(t *testing.T) {
	m := modelOnCard(t, "qwen3", model.Options{Compute: "f32"})
	record := func(batch int) *dumps.Reader {
		cfg := mixed(t)
		cfg.Model, cfg.Batch, cfg.Prompts = m, batch, cfg.Prompts[4:7]
		cfg.Header.Plan.MaxNewTokens = 4
		cfg.Out = filepath.Join(t.TempDir(), "x.attn")
		sum, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatalf("batch %d: %v", batch, err)
		}
		if sum.SharedTokens < 2*minShared {
			t.Errorf("batch %d: %d shared tokens", batch, sum.SharedTokens)
		}
		r, err := dumps.Open(cfg.Out)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	want, got := record(1), record(3)
	for i, p := range want.Prompts() {
		at := slices.IndexFunc(got.Prompts(), func(q dumps.Prompt) bool { return q.ID == p.ID })
		if at < 0 || !slices.Equal(p.Tokens, got.Prompts()[at].Tokens) {
			t.Fatalf("prompt %s: other tokens in the batch, or none", p.ID)
		}
		for _, l := range want.Header().Plan.Layers {
			a, err := want.Sums(i, l)
			b, err2 := got.Sums(at, l)
			if err != nil || err2 != nil || len(a) == 0 || !slices.Equal(a, b) {
				t.Errorf("prompt %s, layer %d: other sums in the batch (%v, %v)", p.ID, l, err, err2)
			}
			for _, phase := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
				x, err := want.Weights(i, l, phase)
				y, err2 := got.Weights(at, l, phase)
				if err != nil || err2 != nil || len(x.Data) == 0 || !slices.Equal(x.Data, y.Data) {
					t.Errorf("prompt %s, layer %d, phase %v: other rows in the batch (%v, %v)", p.ID, l, phase, err, err2)
				}
			}
		}
	}
}
