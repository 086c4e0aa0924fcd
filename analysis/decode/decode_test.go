package decode

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/snapkv"
)

// eachModel runs a test with models of the repository and of the shared data, which are
// small and random, and with 160 tokens.
func eachModel(t *testing.T, f func(t *testing.T, m *model.Model, ids []int32)) {
	for _, name := range []string{"llama-llama3", "qwen3", "gpt_oss", "shared llama", "shared mistral"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("..", "..", "engine", "model", "testdata", name)
			if shared, ok := strings.CutPrefix(name, "shared "); ok {
				dir = sharedtest.Dir(t, "fixtures/models/"+shared)
			}
			m := loadModel(t, dir)
			ids := make([]int32, 160)
			for i := range ids {
				ids[i] = int32((i*i + 3*i) % m.Config().Vocab)
			}
			f(t, m, ids)
		})
	}
}

func loadModel(t *testing.T, dir string) *model.Model {
	t.Helper()
	src, err := capture.Open(t.Context(), dir, capture.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	if err := src.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return src.Model
}

func named(t *testing.T, names ...string) []snapkv.Method {
	t.Helper()
	var list []snapkv.Method
	for _, name := range names {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func config(window, capacity int) snapkv.Config {
	return snapkv.Config{Window: window, Capacity: capacity, Kernel: 5, Pooling: "avgpool", Group: "head", Seed: 1}
}

func results(t *testing.T, c Config) []Result {
	t.Helper()
	var list []Result
	if err := Run(context.Background(), c, func(r Result) error { list = append(list, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestCapacityOfThePromptIsTheFullCache: nothing dropped, nothing changed, in
// both layouts, whether the prompt passes through or is selected whole.
func TestCapacityOfThePromptIsTheFullCache(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model.Model, ids []int32) {
		n := len(ids)
		byKV := config(16, n)
		byKV.Group = "mean"
		var said []string
		list := results(t, Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids}}, Methods: named(t, "snapkv", "recent"),
			Configs: []snapkv.Config{config(16, n), byKV, config(16, n+50), config(16, n/3)}, MaxNewTokens: 16, IgnoreEOS: true,
			Warn: func(text string) { said = append(said, text) },
		})
		full := list[0]
		if full.Method != "full" || float64(full.KL) != 0 || len(full.OutputIDs) != 16 {
			t.Fatalf("the first result is %+v, want the full cache's", full)
		}
		lossy := 0
		for _, r := range list[1:] {
			if r.Capacity >= n {
				if !slices.Equal(r.OutputIDs, full.OutputIDs) || float64(r.KL) > 1e-6 || float64(r.Agreement) != 1 {
					t.Errorf("%s, capacity %d of %d, group %s: KL %g, agreement %g, tokens %v, want %v",
						r.Method, r.Capacity, n, r.Group, r.KL, r.Agreement, r.OutputIDs, full.OutputIDs)
				}
				if r.Group == "mean" && r.CacheBytes != full.CacheBytes {
					t.Errorf("%d bytes by kv head, the full cache has %d", r.CacheBytes, full.CacheBytes)
				}
			} else if float64(r.KL) > 1e-4 {
				lossy++
			}
		}
		if lossy == 0 {
			t.Errorf("dropping two thirds of the cache changed nothing")
		}
		c := m.Config()
		layouts := float64(c.Heads) / float64(c.KVHeads) // stores per kv head, selecting by query head
		ratio := layouts * float64(n/3) / float64(n)
		if got := float64(list[4].CacheRatio); math.Abs(got-ratio) > 1e-7 || full.CacheRatio != 1 || list[3].CacheRatio != 1 {
			t.Errorf("cache ratios %g, %g and %g, want %g, and 1 for what is not dropped", got, full.CacheRatio, list[3].CacheRatio, ratio)
		}
		warned := slices.ContainsFunc(said, func(s string) bool {
			return strings.Contains(s, fmt.Sprintf("at capacity %d takes", n/3)) && strings.Contains(s, "--group mean")
		})
		if warned != (ratio >= 1) {
			t.Errorf("cache of %g times the full one, warnings %q", ratio, said)
		}
		if want := int64(c.Layers * c.Heads * (n / 3) * (c.HeadDim + c.ValueDim) * 4); list[4].CacheBytes != want {
			t.Errorf("capacity %d holds %d bytes, want %d", n/3, list[4].CacheBytes, want)
		}
	})
}

// TestDecoderSelectsWhatTheDumpSays compares the positions kept inside the
// decoder with those from a dump of both forms, for every method.
func TestDecoderSelectsWhatTheDumpSays(t *testing.T) { eachModel(t, testDecoderSelectsWhatTheDumpSays) }

func testDecoderSelectsWhatTheDumpSays(t *testing.T, m *model.Model, ids []int32) {
	c := m.Config()
	run := newRunner(Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids}}, MaxNewTokens: 8, IgnoreEOS: true,
		Methods: snapkv.Methods, Configs: []snapkv.Config{config(16, 48), config(16, 90)},
	})
	_, entries := run.formsOf(&run.Prompts[0])
	rec := newRecord(m, entries, len(ids))
	s := m.NewSession()
	first := make([]float32, c.Vocab)
	pass := model.Pass{
		LogitsFrom: len(ids) - 1, Recorder: rec.recorder(),
		Logits: func(_ int, l []float32) { copy(first, l) },
	}
	if err := run.forward(context.Background(), s, ids, pass); err != nil {
		t.Fatal(err)
	}
	s.Mark()
	var ref reference
	full := &cache{runner: run, prompt: &run.Prompts[0], session: s, first: first, record: rec}
	if err := full.measure(context.Background(), &ref, &Result{}); err != nil {
		t.Fatal(err)
	}
	chosen, err := rec.selectAll(t.Context(), s, entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range []dumps.Store{dumps.StoreFactors, dumps.StoreRows} {
		path := filepath.Join(t.TempDir(), "x.attn")
		header := dumps.Header{
			Model: capture.ModelInfo("", &c),
			Plan: dumps.Plan{
				WindowRows: 16, MaxNewTokens: 8, Store: store, Precision: dumps.Exact, Values: true, IgnoreEOS: true,
			},
		}
		header.Plan.Layers = c.AttentionLayers()
		for h := range header.Model.Heads {
			header.Plan.Heads = append(header.Plan.Heads, h)
		}
		config := capture.Config{Model: m, Prompts: run.Prompts, Out: path, Header: header}
		if _, err := capture.Run(context.Background(), config); err != nil {
			t.Fatal(err)
		}
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		sameRows(t, r, rec, s)
		compared := 0
		for i, e := range entries {
			method, cfg := e.Method, e.Config
			want, err := analysis.Indices(t.Context(), r, 0, *method, cfg)
			if err != nil {
				if why := chosen[i].err; method.ShareHeads != nil && why != nil && strings.HasSuffix(err.Error(), why.Error()) {
					continue // refused by both, for the same reason
				}
				if store == dumps.StoreFactors && !method.ByHeadScores && !method.Needs.AllQueries {
					t.Errorf("%s: %v", method.Name, err)
				}
				continue
			}
			if chosen[i].err != nil {
				t.Fatalf("%s: %v", method.Name, chosen[i].err)
			}
			if method.IgnoresCapacity {
				continue
			}
			off := 0
			for l := range want {
				cache := header.Model.Layer(header.Plan.Layers[l]).CacheOf
				if kept := chosen[i].keep[cache]; len(kept) != len(want[l]) {
					t.Fatalf("%s: %d selections in layer %d, want %d", method.Name, len(kept), cache, len(want[l]))
				}
				for h, list := range want[l] {
					got := chosen[i].keep[cache][h]
					tail := got[len(got)-cfg.Window:]
					if int(tail[0]) != len(ids)-cfg.Window || int(tail[cfg.Window-1]) != len(ids)-1 {
						t.Fatalf("%s: the window %v is not kept", method.Name, tail)
					}
					for _, j := range got[:len(got)-cfg.Window] {
						if !slices.Contains(list, j) {
							off++
						}
					}
					compared += len(list)
				}
			}
			// Scores nearer to the cut than rounding may fall on either side; the
			// dump's sums over all queries (h2o) are rounded to 16 bits.
			if off > 2 {
				t.Errorf("%s, %s, capacity %d: %d positions differ", store, method.Name, cfg.Capacity, off)
			}
		}
		if compared < 1000 {
			t.Errorf("%s: only %d positions compared", store, compared)
		}
	}
}

// sameRows compares the rows that a record computes from the cache with those of a dump.
func sameRows(t *testing.T, r *dumps.Reader, rec *record, s *model.Session) {
	t.Helper()
	for _, layer := range r.Header().Plan.Layers {
		got, err := rec.one(s, layer)
		if err != nil {
			t.Fatal(err)
		}
		want, err := r.Weights(0, layer, dumps.Prefill)
		if err != nil {
			t.Fatal(err)
		}
		near := func(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-5 }
		if !slices.EqualFunc(got.Rows, want.Data, near) {
			t.Errorf("layer %d: the rows of the cache are not those of the dump", layer)
		}
	}
}

// TestThreeWaysWithSinks selects by snapkv in a model with learned sinks: from the cache,
// from a dump, and from tensors with the scores of the sinks. The selections are equal,
// and so are the votes, which would differ without the sinks.
func TestThreeWaysWithSinks(t *testing.T) {
	m := loadModel(t, filepath.Join("..", "..", "engine", "model", "testdata", "gpt_oss-limits"))
	c := m.Config()
	ids := make([]int32, 160)
	for i := range ids {
		ids[i] = int32((i*i + 3*i) % c.Vocab)
	}
	const layer = 2 // which sees all keys
	cfg := config(16, 48)
	run := newRunner(Config{Model: m, Methods: named(t, "snapkv"), Configs: []snapkv.Config{cfg}})
	_, entries := run.formsOf(&prompts.Prompt{Tokens: ids})
	rec := newRecord(m, entries, len(ids))
	s := m.NewSession()
	if err := s.Forward(t.Context(), ids, model.Pass{LogitsFrom: len(ids), Recorder: rec.recorder()}); err != nil {
		t.Fatal(err)
	}
	l, err := rec.layer(s, layer)
	if err != nil {
		t.Fatal(err)
	}
	shape := c.Shapes[layer]
	perHead := func(x []float32, heads int) []float32 { // [row, head, dim] to [head, row, dim]
		rows := len(x) / heads / shape.KeyDim
		out := make([]float32, 0, len(x))
		for h := range heads {
			for i := range rows {
				out = append(out, x[(i*heads+h)*shape.KeyDim:][:shape.KeyDim]...)
			}
		}
		return out
	}
	tensors := &snapkv.States{
		Heads: shape.Heads, KVHeads: shape.KVHeads, Len: len(ids), Rows: l.N, Dim: shape.KeyDim,
		Queries: perHead(l.Queries, shape.Heads), Keys: perHead(l.Keys, shape.KVHeads),
		Round: func(v float32) float32 { return v }, Sinks: m.Sinks(layer),
	}
	method := named(t, "snapkv")[0]
	cached, err := method.Select(l, cfg, cfg.Budget())
	if err != nil {
		t.Fatal(err)
	}
	given, err := tensors.Select(cfg)
	if err != nil {
		t.Fatal(err)
	}
	with, err := tensors.Scores(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tensors.Sinks = nil
	without, err := tensors.Scores(cfg)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.attn")
	header := dumps.Header{Model: capture.ModelInfo("", &c), Plan: dumps.Plan{
		WindowRows: 16, Store: dumps.StoreFactors, Precision: dumps.Exact, Layers: []int{layer}, Heads: []int{0, 1, 2, 3},
	}}
	list := []prompts.Prompt{{ID: "p", Tokens: ids}}
	if _, err := capture.Run(t.Context(), capture.Config{Model: m, Prompts: list, Out: path, Header: header}); err != nil {
		t.Fatal(err)
	}
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	recorded, err := analysis.Indices(t.Context(), r, 0, method, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(cached) != fmt.Sprint(given) || fmt.Sprint(cached) != fmt.Sprint(recorded[0]) {
		t.Errorf("from the cache %v,\nfrom tensors %v,\nfrom a dump %v", cached, given, recorded[0])
	}
	rows, err := method.Rank(l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	most, differ := 0.0, 0.0
	for h := range with {
		for j, v := range with[h] {
			most = max(most, math.Abs(v-rows[h][j]))
			differ = max(differ, math.Abs(v-without[h][j]))
		}
	}
	if most > 1e-5 || differ < 1e-4 {
		t.Errorf("votes differ by %g from those of the cache, and by %g from those without sinks", most, differ)
	}
}

// TestFollowedReply scores the given reply under every cache.
func TestFollowedReply(t *testing.T) { eachModel(t, testFollowedReply) }

func testFollowedReply(t *testing.T, m *model.Model, ids []int32) {
	prompt, reply := ids[:100], ids[100:120]
	list := results(t, Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: prompt, Reply: reply, References: []string{"x"}}},
		Methods: named(t, "random"), Configs: []snapkv.Config{config(8, 20)},
		MaxNewTokens: 4, FollowWhole: true, IgnoreEOS: true,
		Encode: func(string) []int32 { return reply[:3] },
	})
	// The oracle: one pass over prompt and reply.
	s, loss, answer := m.NewSession(), 0.0, 0.0
	err := s.Forward(context.Background(), ids[:119], model.Pass{LogitsFrom: 99, Logits: func(row int, l []float32) {
		sum := 0.0
		for _, v := range l {
			sum += math.Exp(float64(v))
		}
		lp := float64(l[reply[row-99]]) - math.Log(sum)
		loss -= lp
		if row < 102 {
			answer += lp
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := float64(list[0].PPL), math.Exp(loss/20); math.Abs(got-want) > 1e-4*want {
		t.Errorf("perplexity %g, want %g", got, want)
	}
	if got := float64(list[0].AnswerLogProb); math.Abs(got-answer) > 1e-3 {
		t.Errorf("answer's log-probability %g, want %g", got, answer)
	}
	if len(list[0].OutputIDs) != 4 || !(float64(list[1].KL) > 0) {
		t.Errorf("%d tokens decoded, want 4; KL of random %g, want more than 0", len(list[0].OutputIDs), list[1].KL)
	}
}

func TestScores(t *testing.T) {
	for _, c := range []struct {
		text                string
		refs                []string
		em, f1, rouge, cont float64
	}{
		{"The cat sat.", []string{"cat sat"}, 1, 1, 1, 1},
		{"a dog and a cat", []string{"cat dog"}, 0, 0.8, 0.4, 0}, // 2 of 3 and 2 of 2 words; in order only one
		{"the answer is 12345.", []string{"12345"}, 0, 0.5, 0.5, 1},
		{"no", []string{"yes", "no"}, 1, 1, 1, 1},
		{"no", []string{"yes"}, 0, 0, 0, 0},
	} {
		r := Result{Text: c.text}
		r.score(c.refs, "contains")
		got := []float64{float64(r.ExactMatch), float64(r.F1), float64(r.RougeL), float64(r.Contains), float64(r.Score)}
		want := []float64{c.em, c.f1, c.rouge, c.cont, c.cont}
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-9 {
				t.Errorf("%q against %q: %v, want %v", c.text, c.refs, got, want)
				break
			}
		}
	}
	r := Result{Text: "x"}
	if r.score(nil, "f1"); !math.IsNaN(float64(r.Score)) {
		t.Errorf("without references the score is %g, want undefined", r.Score)
	}
}

// TestDivergence has an example to do by hand: p = (1/2, 1/2), q = (1/4, 3/4).
func TestDivergence(t *testing.T) {
	p, q := make([]float32, 2), make([]float32, 2)
	logSoftmax(p, []float32{1, 1})
	logSoftmax(q, []float32{0, float32(math.Log(3))})
	if got, want := divergence(p, q), 0.5*math.Log(2)+0.5*math.Log(2.0/3); math.Abs(got-want) > 1e-6 {
		t.Errorf("KL %g, want %g", got, want)
	}
}

func TestMissingHeadScoresAreNamed(t *testing.T) { eachModel(t, testMissingHeadScoresAreNamed) }

func testMissingHeadScoresAreNamed(t *testing.T, m *model.Model, ids []int32) {
	err := Run(context.Background(), Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids}}, Methods: named(t, "headkv"),
		Configs: []snapkv.Config{config(8, 20)}, MaxNewTokens: 2,
	}, func(Result) error { return nil })
	if err == nil || !strings.Contains(fmt.Sprint(err), "--head-scores") {
		t.Errorf("%v, want an error that names --head-scores", err)
	}
}

// TestSumsOnceOnCard: a card keeps the sums over a prompt until all of it has been read.
func TestSumsOnceOnCard(t *testing.T) {
	r := &record{prompt: 9000, rows: 8}
	for pos := 0; pos < r.prompt; pos += 4096 {
		if w := r.wants(0, pos, min(4096, r.prompt-pos)); w.Until != r.prompt {
			t.Errorf("from position %d on, a card is asked for sums up to %d, want %d", pos, w.Until, r.prompt)
		}
	}
}

// TestAnswerWithoutRoom: the answer to a prompt that fills all positions of the model has no
// probability.
func TestAnswerWithoutRoom(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/gpt2")
	p := prompts.Prompt{ID: "a", Tokens: make([]int32, m.Config().MaxPositions), References: []string{"x"}}
	var warnings []string
	list := results(t, Config{
		Model: m, Prompts: []prompts.Prompt{p}, Encode: func(string) []int32 { return []int32{1, 2} },
		Warn: func(text string) { warnings = append(warnings, text) },
	})
	if len(list) != 1 || !math.IsNaN(float64(list[0].AnswerLogProb)) {
		t.Errorf("results %+v", list)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "the first 0 of its 2 tokens are scored") {
		t.Errorf("warnings %q", warnings)
	}
}

// TestShortPromptsAreCounted: one warning per capacity says how many prompts are shorter.
func TestShortPromptsAreCounted(t *testing.T) {
	m := loadModel(t, "../../engine/model/testdata/gpt2")
	cfg := Config{Model: m, Methods: named(t, "snapkv", "h2o"), MaxNewTokens: 2, IgnoreEOS: true}
	for i, n := range []int{10, 12, 30} {
		cfg.Prompts = append(cfg.Prompts, prompts.Prompt{ID: fmt.Sprint("p", i), Tokens: make([]int32, n)})
	}
	for _, capacity := range []int{11, 20} {
		c := snapkv.Default
		c.Window = 4
		c.Capacity = capacity
		cfg.Configs = append(cfg.Configs, c)
	}
	var warnings []string
	cfg.Warn = func(text string) { warnings = append(warnings, text) }
	results(t, cfg)
	want := []string{
		"2 of 3 prompts have fewer tokens than capacity 20: nothing of them is dropped",
		`prompt "p0" has 10 tokens, fewer than capacity 11: nothing is dropped`,
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}
