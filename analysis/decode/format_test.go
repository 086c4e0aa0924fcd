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
			if r.Method == snapkv.Full && (!near(r.KL, 0) || r.CacheRatio != 1) {
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

// TestEqualBytes: a quantized cache takes at most the bytes of the capacity that was asked for.
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

// TestMostPositionsThatFit counts the bytes of every number of positions, with groups whose
// last keys are quantized at once, so that a larger cache can take fewer bytes.
func TestMostPositionsThatFit(t *testing.T) {
	cfg := loadModel(t, "../../engine/model/testdata/qwen3").Config()
	shrinks := false
	for _, group := range []snapkv.Group{snapkv.GroupHead, snapkv.GroupMean} {
		for _, f := range []model.CacheFormat{{}, {Bits: 2, Group: 8, Residual: 32}, {Bits: 8, Group: 16, Residual: 16}} {
			for capacity := 1; capacity < 300; capacity += 13 {
				most := cacheBytes(&cfg, group, model.CacheFormat{}, capacity)
				want := 0
				for n := range 10 * capacity {
					if cacheBytes(&cfg, group, f, n) <= most {
						shrinks = shrinks || n > want+1
						want = n
					}
				}
				if got := fitting(&cfg, group, f, most); got != want || f.Bits == 0 && got != capacity {
					t.Errorf("%d bits in the bytes of %d positions: %d positions, want %d", f.Bits, capacity, got, want)
				}
			}
		}
	}
	if !shrinks {
		t.Error("no larger cache takes fewer bytes, so the test does not tell the first from the last that fits")
	}
}

// TestBudgets: shares and bits follow the prompt, in the order of the budgets, and a budget in
// bits also decodes the quantized full cache, whose bytes its caches do not exceed.
func TestBudgets(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/qwen3")
	ids := make([]int32, 150)
	for i := range ids {
		ids[i] = int32((i*i + 3*i) % m.Config().Vocab)
	}
	c := Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "a", Tokens: ids}, {ID: "b", Tokens: ids[:100]}},
		Methods: named(t, "recent"), Configs: []snapkv.Config{config(4, 1<<30)}, MaxNewTokens: 2, IgnoreEOS: true,
		Budgets: []Budget{{Percent: 12.5}, {Positions: 20}, {Bits: 4}}, BudgetFormat: model.CacheFormat{Group: 8, Residual: 16},
	}
	for _, group := range []snapkv.Group{snapkv.GroupHead, snapkv.GroupMean} {
		c.Configs[0].Group = group
		list := results(t, c)
		if len(list) != 10 {
			t.Fatalf("%d results of two prompts, want 5 of each", len(list))
		}
		for p, share := range []int{19, 13} {
			of := list[5*p:]
			if of[1].KVBits != 4 || of[2].Capacity != share || of[3].Capacity != 20 || of[4].Budget.Bits != 4 {
				t.Errorf("prompt %s: %d bits, capacities %d and %d", of[0].ID, of[1].KVBits, of[2].Capacity, of[3].Capacity)
			}
			position := of[3].CacheBytes / 20
			if room := of[1].CacheBytes - of[4].CacheBytes; of[4].KVBits != 0 || room < 0 || room >= position {
				t.Errorf("prompt %s: %d bytes of %d positions, want at most %d and less than a position of %d fewer",
					of[0].ID, of[4].CacheBytes, of[4].Capacity, of[1].CacheBytes, position)
			}
		}
	}
	rows := Summarize(results(t, c), 1)
	if len(rows) != 5 || rows[2].Prompts != 2 || rows[2].Capacity != -1 || rows[2].Budget.Percent != 12.5 || rows[3].Capacity != 20 {
		t.Errorf("rows %+v", rows)
	}
	c.Budgets = []Budget{{Percent: 2}}
	cfg := m.Config()
	want := `prompt "a", budget 2%: capacity 3 with window 4`
	if err := c.Check(&cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestParseBudget(t *testing.T) {
	for text, want := range map[string]Budget{
		"512": {Positions: 512}, "12.5%": {Percent: 12.5}, "0.4%": {Percent: 0.4}, "2bit": {Bits: 2}, "8bit": {Bits: 8},
	} {
		b, err := ParseBudget(text)
		if err != nil || b != want || b.String() != text {
			t.Errorf("%s: %v, error %v", text, b, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "100%", "0%", "x%", "1.5", "NaN%", "1bit", "9bit", "bit", "4bits"} {
		if b, err := ParseBudget(text); err == nil {
			t.Errorf("%q is %v", text, b)
		}
	}
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
