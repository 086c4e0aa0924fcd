package decode

import (
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// TestQuantizedCachesLoseLessWithMoreBits, alone and with a selection, whether decoded one
// by one or together. With a residual that is longer than the cache, nothing is lost.
func TestQuantizedCachesLoseLessWithMoreBits(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model.Model, ids []int32) {
		byKV := config(8, 80)
		byKV.Group = snapkv.GroupMean
		c := Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "a", Tokens: ids}, {ID: "b", Tokens: ids[:70]}},
			Methods: named(t, "snapkv"),
			Configs: []snapkv.Config{byKV}, MaxNewTokens: 20, IgnoreEOS: true,
			Formats: []model.CacheFormat{{}, {Bits: 8, Group: 16, Residual: 16}, {Bits: 2, Group: 16, Residual: 16}},
		}
		list := results(t, c)
		if len(list) != 12 {
			t.Fatalf("%d results of two prompts, want 6 of each", len(list))
		}
		for p, tokens := range []int{len(ids), 70} {
			of := list[6*p : 6*p+6]
			full, full8, full2, kept, kept8, kept2 := &of[0], &of[1], &of[2], &of[3], &of[4], &of[5]
			if full.KVBits != 0 || full8.KVBits != 8 || full2.KVBits != 2 || kept.KVBits != 0 || kept8.KVBits != 8 || kept2.KVBits != 2 {
				t.Fatalf("the bits of %s are not in their order", of[0].ID)
			}
			if full8.Method != snapkv.Full || full8.Full() || !full.Full() || kept8.Method != "snapkv" {
				t.Errorf("methods %s, %s and %s", full.Method, full8.Method, kept8.Method)
			}
			if full8.KL <= 0 || full8.KL > 1e-2 || full2.KL < 10*full8.KL || kept2.KL <= kept.KL {
				t.Errorf("%d tokens: KL %g with 8 bits and %g with 2; of the selection %g, with 2 bits %g",
					tokens, full8.KL, full2.KL, kept.KL, kept2.KL)
			}
			if tokens == 70 && (kept.KL != 0 || kept8.KL != full8.KL || kept8.CacheRatio != full8.CacheRatio) {
				t.Errorf("a prompt that is kept whole: KL %g and %g, want 0 and %g", kept.KL, kept8.KL, full8.KL)
			}
		}
		c.Batch = 4
		for i, r := range results(t, c) {
			if w := list[i]; !slices.Equal(r.OutputIDs, w.OutputIDs) || r.KL != w.KL || r.CacheBytes != w.CacheBytes {
				t.Errorf("decoded together, %s with %d bits: KL %g, want %g", r.Method, r.KVBits, r.KL, w.KL)
			}
		}
		c.Batch = 1
		c.Formats = []model.CacheFormat{{Bits: 2, Group: 16, Residual: 256}}
		for _, r := range results(t, c) {
			if r.Method == snapkv.Full && (r.KL != 0 || r.CacheRatio != 1) {
				t.Errorf("a residual of 256: KL %g and ratio %g, want 0 and 1", r.KL, r.CacheRatio)
			}
		}
	})
}

// TestNothingQuantizedIsSaid once for each prompt, and the full cache is not called large.
func TestNothingQuantizedIsSaid(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/qwen3")
	var warnings []string
	results(t, Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "a", Tokens: make([]int32, 20)}, {ID: "b", Tokens: make([]int32, 60)}},
		Methods: named(t, snapkv.Full), Configs: []snapkv.Config{config(8, 80)}, MaxNewTokens: 2, IgnoreEOS: true,
		Formats: []model.CacheFormat{{Bits: 4, Group: 16, Residual: 32}, {Bits: 2, Group: 16, Residual: 32}},
		Warn:    func(text string) { warnings = append(warnings, text) },
	})
	want := `nothing is quantized in prompt "a": all 20 positions are among the last 32 (--kv-residual)`
	if len(warnings) != 1 || warnings[0] != want {
		t.Errorf("warnings %q, want only %q", warnings, want)
	}
}

// TestRowsOfAQuantizedCacheAreSingle: a pass of several tokens gives the logits of single
// tokens, because each row is quantized before the next one attends.
func TestRowsOfAQuantizedCacheAreSingle(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/qwen3")
	ids := make([]int32, 60)
	for i := range ids {
		ids[i] = int32((i*i + 3*i) % m.Config().Vocab)
	}
	run := func(pieces ...int) [][]float32 {
		s := m.NewSession()
		defer s.Close()
		if err := s.Forward(t.Context(), ids[:30], model.Pass{LogitsFrom: 30}); err != nil {
			t.Fatal(err)
		}
		if err := s.Quantize(model.CacheFormat{Bits: 2, Group: 4, Residual: 8}); err != nil {
			t.Fatal(err)
		}
		var logits [][]float32
		pass := model.Pass{Logits: func(_ int, l []float32) { logits = append(logits, slices.Clone(l)) }}
		for at := 30; at < 60; at += pieces[0] {
			if err := s.Forward(t.Context(), ids[at:at+pieces[0]], pass); err != nil {
				t.Fatal(err)
			}
		}
		return logits
	}
	single := run(1)
	if together := run(15); !slices.EqualFunc(single, together, slices.Equal[[]float32]) {
		t.Error("two passes of 15 tokens give other logits than 30 tokens")
	}
}

// TestEqualBytes: a quantized cache of the capacity that equalCapacity names takes at most
// the bytes of the capacity that was asked for, and one more position would take more.
func TestEqualBytes(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model.Model, ids []int32) {
		byKV := config(4, 40)
		byKV.Group = snapkv.GroupMean
		f := model.CacheFormat{Bits: 4, Group: 8, Residual: 8}
		list := results(t, Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids}}, Methods: named(t, "recent"),
			Configs:      []snapkv.Config{byKV},
			MaxNewTokens: 2, IgnoreEOS: true, Formats: []model.CacheFormat{{}, f}, EqualBytes: true,
		})
		plain, quantized := &list[2], &list[3]
		if plain.Capacity != 40 || quantized.Capacity < 50 || quantized.Capacity >= len(ids) {
			t.Fatalf("capacities %d and %d, want 40 and more", plain.Capacity, quantized.Capacity)
		}
		if quantized.CacheBytes > plain.CacheBytes || float64(quantized.CacheBytes) < 0.95*float64(plain.CacheBytes) {
			t.Errorf("%d bytes of %d positions, want about %d",
				quantized.CacheBytes, quantized.Capacity, plain.CacheBytes)
		}
	})
}

// TestFormatsThatAreRefused: latent entries, and caches that drop positions.
func TestFormatsThatAreRefused(t *testing.T) {
	c := Config{
		Formats: []model.CacheFormat{{Bits: 2, Group: 32, Residual: 128}},
		Methods: named(t, "recent"),
		Configs: []snapkv.Config{config(4, 40)},
	}
	refused := func(cfg *model.Config, want string) {
		t.Helper()
		if err := c.Check(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
	latent := loadModel(t, "../../engine/model/testdata/deepseek_v2").Config()
	refused(&latent, "latent")
	c.DecodeEvery = 4
	refused(&model.Config{}, "while it decodes")
	c.Formats[0].Bits = 1
	refused(&model.Config{}, "1 bits: want 2 to 8")
}
