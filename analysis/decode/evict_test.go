package decode

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/snapkv"
)

// literalCache decodes one token at a time and evicts by rules that are written out here,
// with everything held by position.
type literalCache struct {
	session *model.Session
	config  model.Config
	every   int
	window  int
	target  int
	tokens  int
	sums    map[[3]int]float64 // layer, head, position: weights of all queries
	rows    []map[[3]int]float64
	score   func(c *literalCache, layer, head, pos int) float64
	kept    [][][]int32 // [layer][head] positions
}

// step appends a token and returns its logits.
func (c *literalCache) step(t *testing.T, token int32) []float32 {
	t.Helper()
	row := map[[3]int]float64{}
	var mu sync.Mutex
	var logits []float32
	positions := map[int][]model.Store{}
	for _, l := range c.config.AttentionLayers() {
		stores, err := c.session.Stores(l)
		if err != nil {
			t.Fatal(err)
		}
		positions[l] = stores
	}
	self := int32(c.session.Len())
	pass := model.Pass{
		Logits: func(_ int, l []float32) { logits = slices.Clone(l) },
		Recorder: &model.Recorder{Tile: func(layer int, tile *cpu.Tile) {
			mu.Lock()
			defer mu.Unlock()
			stores := positions[layer]
			pos := append(slices.Clone(stores[tile.Head*len(stores)/c.config.Heads].Positions), self)
			for i, v := range tile.Weights[:tile.Keys] {
				row[[3]int{layer, tile.Head, int(pos[tile.Key0+i])}] = float64(v)
			}
		}},
	}
	if err := c.session.Forward(t.Context(), []int32{token}, pass); err != nil {
		t.Fatal(err)
	}
	for key, v := range row {
		c.sums[key] += v
	}
	c.rows = append(c.rows, row)
	if c.tokens++; c.tokens%c.every == 0 {
		c.evict(t)
	}
	return logits
}

// evict keeps the window and the positions with the largest scores.
func (c *literalCache) evict(t *testing.T) {
	t.Helper()
	c.kept = make([][][]int32, c.config.Layers)
	s, err := c.session.Compress(func(layer int) ([][]int32, error) {
		stores, err := c.session.Stores(layer)
		if err != nil {
			return nil, err
		}
		slots := make([][]int32, len(stores))
		c.kept[layer] = make([][]int32, len(stores))
		for h, store := range stores {
			prefix := len(store.Positions) - c.window
			order := ascending(0, prefix)
			sort.SliceStable(order, func(a, b int) bool {
				return c.score(c, layer, h, int(store.Positions[order[a]])) > c.score(c, layer, h, int(store.Positions[order[b]]))
			})
			chosen := slices.Clone(order[:min(prefix, c.target-c.window)])
			slices.Sort(chosen)
			slots[h] = append(chosen, ascending(prefix, prefix+c.window)...)
			for _, at := range slots[h] {
				c.kept[layer][h] = append(c.kept[layer][h], store.Positions[at])
			}
		}
		return slots, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.session.Close()
	c.session = s
}

// TestEvictionAgainstALiteralLoop decodes with H2O, TOVA and StreamingLLM, which evict
// after every token, and with SnapKV, which selects again from time to time. Kept
// positions and logits must be those of a loop that holds everything by position.
func TestEvictionAgainstALiteralLoop(t *testing.T) {
	rules := []struct {
		method        string
		every, window int
		score         func(c *literalCache, layer, head, pos int) float64
	}{
		{"h2o", 1, 8, func(c *literalCache, l, h, pos int) float64 { return c.sums[[3]int{l, h, pos}] }},
		{"tova", 1, 1, func(c *literalCache, l, _, pos int) float64 {
			sum := 0.0
			for h := range c.config.Heads {
				sum += c.rows[len(c.rows)-1][[3]int{l, h, pos}]
			}
			return sum
		}},
		{"streamingllm", 1, 4, func(_ *literalCache, _, _, pos int) float64 {
			if pos < 4 {
				return math.Inf(1)
			}
			return float64(pos)
		}},
		{"snapkv", 6, 5, func(c *literalCache, l, h, pos int) float64 {
			sum := 0.0
			for _, row := range c.rows[len(c.rows)-5:] {
				sum += row[[3]int{l, h, pos}]
			}
			return sum
		}},
	}
	eachModel(t, func(t *testing.T, m *model.Model, ids []int32) {
		for _, rule := range rules {
			t.Run(rule.method, func(t *testing.T) {
				k, prompt := evictingCache(t, m, ids[:100], rule.method, rule.every, rule.window)
				base, err := k.base.Compress(func(layer int) ([][]int32, error) {
					slots, err := k.base.Slots(layer)
					all := make([][]int32, len(slots))
					for h := range all {
						all[h] = ascending(0, slots[h])
					}
					return all, err
				})
				if err != nil {
					t.Fatal(err)
				}
				c := &literalCache{
					session: base, config: m.Config(), every: rule.every, window: rule.window, target: 24,
					sums: prompt, score: rule.score,
				}
				defer func() { c.session.Close() }()
				var got [][]float32
				pass := model.Pass{Logits: func(_ int, l []float32) { got = append(got, slices.Clone(l)) }}
				reply := ids[100:140]
				for i, id := range reply {
					want := c.step(t, id)
					if err := k.forward(t.Context(), reply[i:i+1], pass); err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got[i], want) {
						t.Fatalf("token %d of the reply: other logits", i)
					}
					for _, layer := range c.config.AttentionLayers() {
						stores, err := k.session.Stores(layer)
						if err != nil {
							t.Fatal(err)
						}
						for h, s := range stores {
							if c.kept != nil && c.tokens%rule.every == 0 && !slices.Equal(s.Positions, c.kept[layer][h]) {
								t.Fatalf("token %d, layer %d, head %d: kept %v, want %v",
									i, layer, h, s.Positions, c.kept[layer][h])
							}
							if most := 24 + rule.every - 1; len(s.Positions) > most {
								t.Fatalf("token %d: %d positions, want at most %d", i, len(s.Positions), most)
							}
						}
					}
				}
			})
		}
	})
}

// evictingCache prefills a prompt and returns the cache of a method at capacity 24, and
// the sums of the weights over the prompt's queries by layer, head and position.
func evictingCache(t *testing.T, m *model.Model, ids []int32, method string, every, window int) (*cache, map[[3]int]float64) {
	t.Helper()
	c := config(window, 24)
	c.Kernel = 1
	list := []prompts.Prompt{{ID: "p", Tokens: ids}}
	r := newRunner(Config{
		Model: m, Prompts: list, MaxNewTokens: 40, IgnoreEOS: true, DecodeEvery: every,
		Methods: named(t, method), Configs: []snapkv.Config{c},
	})
	full, err := r.prefill(t.Context(), &list[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(full.session.Close)
	forms, entries := r.formsOf(&list[0])
	chosen, err := full.record.selectAll(t.Context(), full.session, entries)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(r, func(Result) error { return nil })
	g := &group{prompt: &list[0], full: full}
	r.Batch = 2 // the cache joins the batch, and is not decoded yet
	if err := r.compress(t.Context(), g, forms[0], chosen[0], b); err != nil {
		t.Fatal(err)
	}
	k := g.members[0].cache
	t.Cleanup(k.close)
	sums := map[[3]int]float64{}
	if full.record.sums != nil {
		for _, l := range full.record.config.AttentionLayers() {
			for i, v := range full.record.sums[l].Floats(len(ids)) {
				sums[[3]int{l, i / len(ids), i % len(ids)}] = float64(v)
			}
		}
	}
	return k, sums
}

// near reports whether two scores are equal but for rounding. A reply is read in one piece
// or in several. In models this small, vectors give each token the same bits in both; tiles,
// which are used for products of eight rows or more, do not.
func near(a, b Float) bool {
	if simd.HasTiles() {
		return math.Abs(float64(a-b)) <= 1e-6*max(1, math.Abs(float64(b)))
	}
	return a == b
}

// TestEvictionThatNeverComesChangesNothing: with an interval longer than the reply, or
// with a capacity for prompt and reply, results are those of a cache that grows.
func TestEvictionThatNeverComesChangesNothing(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model.Model, ids []int32) {
		c := Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids}},
			Methods: named(t, "snapkv", "h2o", "cake", "pyramidkv"),
			Configs: []snapkv.Config{config(8, 40), config(8, 400)}, MaxNewTokens: 12, IgnoreEOS: true,
		}
		want := results(t, c)
		for _, every := range []int{100, 3} {
			c.DecodeEvery = every
			for i, r := range results(t, c) {
				if every == 3 && (r.Capacity == 40 || r.Method == "pyramidkv") { // whose last layers have small budgets
					continue
				}
				if w := want[i]; r.Method != w.Method || !slices.Equal(r.OutputIDs, w.OutputIDs) || !near(r.KL, w.KL) || !near(r.PPL, w.PPL) {
					t.Errorf("%s, capacity %d, every %d: KL %g and tokens %v, want %g and %v",
						r.Method, r.Capacity, every, r.KL, r.OutputIDs, w.KL, w.OutputIDs)
				}
				if wanted := every; r.Method != snapkv.Full && r.DecodeEvery != wanted {
					t.Errorf("decode_every %d, want %d", r.DecodeEvery, wanted)
				}
			}
		}
	})
}

// TestEvictionInBatches: results do not depend on what is decoded together.
func TestEvictionInBatches(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/llama-llama3")
	ids := make([]int32, 90)
	for i := range ids {
		ids[i] = int32((i*i + 5*i) % m.Config().Vocab)
	}
	c := Config{
		Model:   m,
		Prompts: []prompts.Prompt{{ID: "a", Tokens: ids}, {ID: "b", Tokens: ids[:60]}, {ID: "c", Tokens: ids[:20]}},
		Methods: named(t, "snapkv", "h2o", "tova", "streamingllm", "knorm"), Configs: []snapkv.Config{config(4, 32)},
		MaxNewTokens: 30, IgnoreEOS: true, DecodeEvery: 3,
	}
	want := results(t, c)
	c.DecodeEvery = 0
	if grown := results(t, c); slices.EqualFunc(grown, want, func(a, b Result) bool { return a.KL == b.KL }) {
		t.Error("evictions change nothing")
	}
	c.DecodeEvery = 3
	for _, batch := range []int{2, 5} {
		c.Batch = batch
		for i, r := range results(t, c) {
			if w := want[i]; r.Method != w.Method || !slices.Equal(r.OutputIDs, w.OutputIDs) || r.KL != w.KL {
				t.Errorf("batch %d, prompt %s, %s: KL %g and tokens %v, want %g and %v",
					batch, r.ID, r.Method, r.KL, r.OutputIDs, w.KL, w.OutputIDs)
			}
		}
	}
}

// TestMethodsThatCannotEvict are refused, or left out of all methods with a warning.
func TestMethodsThatCannotEvict(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/llama-llama3")
	c := Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: make([]int32, 50)}}, Methods: named(t, "adakv"),
		Configs: []snapkv.Config{config(4, 32)}, MaxNewTokens: 2, DecodeEvery: 1,
	}
	want := "adakv cannot select again while a reply is decoded: it gives the heads of a layer different numbers of positions"
	if err := Run(context.Background(), c, func(Result) error { return nil }); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	var said []string
	c.Methods = named(t, "adakv", "oracle", "recent")
	c.Lenient = true
	c.Warn = func(text string) { said = append(said, text) }
	if list := results(t, c); len(list) != 2 || list[1].Method != "recent" || len(said) != 3 {
		t.Errorf("%d results, warnings %q, want the full cache, recent, and two warnings besides that of its size",
			len(list), said)
	}
	c.Methods = snapkv.Methods // all others select again and again
	c.Prompts[0].Tokens = c.Prompts[0].Tokens[:40]
	c.MaxNewTokens = 12
	said = nil
	list := results(t, c)
	for _, m := range snapkv.Methods {
		ran := slices.ContainsFunc(list, func(r Result) bool { return r.Method == m.Name })
		refused := slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, m.Name+" is left out") })
		if ran == refused {
			t.Errorf("%s: decoded %v, left out %v", m.Name, ran, refused)
		}
	}
}

// sameKept reports whether two lists of positions are equal. In the first layer, the keys of
// equal tokens have the same norm but for rounding, which differs between a token that is
// read alone and one that is read by tiles; then only the tokens must be equal.
func sameKept(ids []int32, a, b []int32) bool {
	if slices.Equal(a, b) || !simd.HasTiles() {
		return slices.Equal(a, b)
	}
	tokens := func(positions []int32) []int32 {
		var list []int32
		for _, p := range positions {
			list = append(list, ids[p])
		}
		slices.Sort(list)
		return list
	}
	return slices.Equal(tokens(a), tokens(b))
}

// TestReplayOfADumpIsTheFirstLayersEviction: in the first layer, queries and keys do not
// depend on what is kept, so that a replay of the full cache's rows keeps what a cache
// keeps that really drops positions.
func TestReplayOfADumpIsTheFirstLayersEviction(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model.Model, ids []int32) {
		const prompt = 100
		c := m.Config()
		path := filepath.Join(t.TempDir(), "x.attn")
		header := dumps.Header{
			Model: capture.ModelInfo("", &c),
			Plan:  dumps.Plan{WindowRows: 16, Store: dumps.StoreFactors, Precision: dumps.Exact, Values: true, MaxNewTokens: 60},
		}
		header.Plan.Layers = c.AttentionLayers()
		for h := range header.Model.Heads {
			header.Plan.Heads = append(header.Plan.Heads, h)
		}
		run := capture.Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids[:prompt], Reply: ids[prompt:]}}, Out: path,
			Header:      header,
			FollowWhole: true,
		}
		if _, err := capture.Run(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		l, err := analysis.ReadLayer(r, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{
			"snapkv", "h2o", "tova", "knorm", "keydiff", "chunkkv", "criticalkv", "recent", "cake", "pyramidkv",
		} {
			for _, every := range []int{1, 7} {
				k, _ := evictingCache(t, m, ids[:prompt], name, every, 6)
				stores, err := k.base.Stores(0)
				if err != nil {
					t.Fatal(err)
				}
				var start [][]int32
				for _, s := range stores {
					start = append(start, s.Positions[:len(s.Positions)-6])
				}
				p, err := analysis.NewReplay(l, k.eviction.entry, start, k.eviction.targets[0], every)
				if err != nil {
					t.Fatal(err)
				}
				pass := model.Pass{Logits: func(int, []float32) {}}
				for i, id := range ids[prompt:] {
					if err := k.forward(t.Context(), []int32{id}, pass); err != nil {
						t.Fatal(err)
					}
					p.Next()
					if err := p.Done(); err != nil {
						t.Fatal(err)
					}
					stores, err := k.session.Stores(0)
					if err != nil {
						t.Fatal(err)
					}
					for h, s := range stores {
						if got := p.Kept(h * c.Heads / len(stores)); !sameKept(ids, got, s.Positions) {
							t.Fatalf("%s, every %d, token %d, head %d: the replay keeps %v, the cache %v",
								name, every, i, h, got, s.Positions)
						}
					}
				}
			}
		}
	})
}
