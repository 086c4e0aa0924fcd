package model

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

// golden2026 lists the checkpoints of the families of 2026.
var golden2026 = []string{
	"ministral3", "qwen2_5_vl", "qwen3_vl", "glm4_moe", "minimax_m2", "ernie4_5", "hunyuan_v1_dense", "gptj", "gpt_neo", "opt", "falcon", "falcon-alibi", "bloom", "mpt", "gpt_oss",
	"deepseek_v2", "deepseek_v3",
	"qwen3_next", "qwen3_5_text", "lfm2",
	"gemma3n_text", "gemma4_text", "llama4_text",
	"granitemoehybrid", "falcon_h1", "nemotron_h",
}

// TestGoldens2026 compares the rows of all layers with those of transformers: the last 64
// of the prompt, and those of the reply, which is decoded, and followed in one pass.
func TestGoldens2026(t *testing.T) {
	for _, name := range golden2026 {
		dir := sharedtest.Dir(t, "fixtures/models-2026/"+name)
		for _, chunk := range []int{7, 64, 504} {
			t.Run(fmt.Sprintf("%s/chunk=%d", name, chunk), func(t *testing.T) {
				g := openGolden(t, dir)
				m := load(t, dir, chunk, 2)
				ids, reply := g.ints("input_ids"), g.ints("gen_ids")
				decoded, rows, _ := generateGreedy(t, m, ids, len(reply)+1)
				if !slices.Equal(decoded[:len(reply)], reply) {
					t.Errorf("decoded %v, want %v", decoded[:len(reply)], reply)
				}
				checkRows2026(t, g, m.Config(), rows, len(ids), len(reply))
				checkFollowed2026(t, g, m, ids, reply)
			})
		}
	}
}

// checkFollowed2026 passes the prompt and then the whole reply.
func checkFollowed2026(t *testing.T, g golden, m *Model, ids, reply []int32) {
	s := m.NewSession()
	defer s.Close()
	w := &watcher{rows: map[[3]int][]float32{}}
	want, vocab := g.floats("gen_logits"), m.Config().Vocab
	logits := func(at int) func(int, []float32) {
		return func(row int, l []float32) {
			if r := row + at; r < len(reply) {
				near(t, fmt.Sprintf("logits of reply row %d", r), l, want[r*vocab:(r+1)*vocab], 1e-4)
			}
		}
	}
	if err := s.Forward(context.Background(), ids, Pass{Recorder: w.recorder(), LogitsFrom: len(ids) - 1, Logits: logits(1 - len(ids))}); err != nil {
		t.Fatal(err)
	}
	if err := s.Forward(context.Background(), reply, Pass{Recorder: w.recorder(), Length: 1, Logits: logits(1)}); err != nil {
		t.Fatal(err)
	}
	checkRows2026(t, g, m.Config(), w, len(ids), len(reply))
}

func checkRows2026(t *testing.T, g golden, c Config, w *watcher, n, gen int) {
	t.Helper()
	if w.sums != "" {
		t.Error(w.sums)
	}
	for _, l := range c.AttentionLayers() {
		checkSinks2026(t, g, w, l, c.Heads)
		last, rows := g.floats(fmt.Sprintf("attn_last64.%d", l)), g.floats(fmt.Sprintf("gen_attn.%d", l))
		for h := range c.Shapes[l].Heads {
			for pos := n - 64; pos < n+gen; pos++ {
				want := rows[(h*gen+max(0, pos-n))*(n+gen):][:pos+1]
				if pos < n {
					want = last[(h*64+pos-(n-64))*n:][:pos+1]
				}
				got := w.rows[[3]int{l, h, pos}]
				if len(got) != len(want) {
					t.Fatalf("layer %d, head %d, query %d: %d weights, want %d", l, h, pos, len(got), len(want))
				}
				for j, v := range got {
					if math.Abs(float64(v)-float64(want[j])) > 1e-5 {
						t.Fatalf("layer %d, head %d, query %d, key %d: weight %g, want %g", l, h, pos, j, v, want[j])
					}
				}
			}
		}
	}
}

// checkSinks2026 compares the shares of the sinks of a layer, if the model has sinks.
func checkSinks2026(t *testing.T, g golden, w *watcher, l, heads int) {
	t.Helper()
	n, gen := len(g.ints("input_ids")), len(g.ints("gen_ids"))
	if _, ok := g.f.Tensor(fmt.Sprintf("sink.%d", l)); !ok {
		if w.sinks != nil {
			t.Fatal("rows have sinks, those of transformers have none")
		}
		return
	}
	last, rest := g.floats(fmt.Sprintf("sink.%d", l)), g.floats(fmt.Sprintf("gen_sink.%d", l))
	for h := range heads {
		for pos := n - 64; pos < n+gen; pos++ {
			want := rest[h*gen+max(0, pos-n)]
			if pos < n {
				want = last[h*64+pos-(n-64)]
			}
			got, ok := w.sinks[[3]int{l, h, pos}]
			if !ok || math.Abs(float64(got)-float64(want)) > 1e-5 {
				t.Fatalf("layer %d, head %d, query %d: the sink has %g (%v), want %g", l, h, pos, got, ok, want)
			}
		}
	}
}
