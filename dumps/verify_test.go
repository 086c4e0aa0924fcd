package dumps

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestVerifyChecksNumbers: Verify finds impossible numbers in every kind of block, even
// if all checksums are correct. The dump has four tokens, two recorded rows and one head
// of one dimension; all queries and keys are 1, so that each row gives its visible keys
// equal weights and has the log-sum-exp 1 + log(keys).
func TestVerifyChecksNumbers(t *testing.T) {
	nan := float32(math.NaN())
	type numbers struct {
		q, lse, keys, values, sums, window, overview, logits []float32
		weights                                              []float32 // rows instead of factors
	}
	lse := func(n float64) float32 { return float32(1 + math.Log(n)) }
	good := func() numbers {
		return numbers{
			q: []float32{1, 1}, lse: []float32{lse(3), lse(4)}, keys: []float32{1, 1, 1, 1, 1}, values: []float32{1, 2, 3, 4, 5},
			sums: []float32{2.08, 1.08, .58, .26}, window: []float32{.6, .6, .55, .25}, overview: []float32{1, 0, .5, .5}, logits: []float32{0, -3},
		}
	}
	rows := func(w ...float32) func(n *numbers) { return func(n *numbers) { n.weights = w } }
	for name, c := range map[string]struct {
		change func(n *numbers)
		want   string // empty: nothing is wrong
	}{
		"nothing wrong":              {func(*numbers) {}, ""},
		"another log-sum-exp":        {func(n *numbers) { n.lse[1] += .1 }, `prompt "p", layer 0: head 0, prompt row 1: log-sum-exp 2.4863, its queries and keys give 2.3863`},
		"another key":                {func(n *numbers) { n.keys[0] = 2 }, "log-sum-exp"},
		"a query that is NaN":        {func(n *numbers) { n.q[0] = nan }, "prompt queries: value 0 is NaN"},
		"an infinite key":            {func(n *numbers) { n.keys[2] = float32(math.Inf(1)) }, "key 2 of kv head 0: value 0 is +Inf"},
		"a value that is NaN":        {func(n *numbers) { n.values[3] = nan }, `prompt "p", layer 0: values: value 3 is NaN`},
		"sums that are too large":    {func(n *numbers) { n.sums[0] = 3 }, "sums over all queries: row 0 adds up to 4.9200, want 4"},
		"a negative sum":             {func(n *numbers) { n.sums[0], n.sums[1] = -1, 4 }, "sums over all queries: number 0 of row 0 is -1"},
		"a window that is too small": {func(n *numbers) { n.window[0] = 0 }, "sums of query window 0: row 0 adds up to 1.4000, want 2"},
		"an overview above one":      {func(n *numbers) { n.overview[2] = 1.5 }, "overview: cell 2 is 1.5"},
		"a logit that is NaN":        {func(n *numbers) { n.logits[1] = nan }, `prompt "p": logits: value 1 is NaN`},
		"right rows":                 {rows(.25, .25, .5, 0, .25, .25, .25, .25), ""},
		"a row that does not add up": {rows(.25, .25, .5, 0, .25, .25, .25, .5), `head 0, prompt row 1 sums to 1.2500`},
		"a row that sees the future": {rows(.25, .25, .25, .25, .25, .25, .25, .25), `head 0, prompt row 0 sees key 3, which comes later`},
		"a negative weight":          {rows(-.25, .75, .5, 0, .25, .25, .25, .25), `head 0, prompt row 0, key 0: weight -0.25`},
	} {
		t.Run(name, func(t *testing.T) {
			n := good()
			c.change(&n)
			h := &Header{
				Model: ModelInfo{Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 1, ValueDim: 1, Vocab: 2, Scale: 1},
				Plan:  Plan{WindowRows: 2, PromptWindows: 1, PromptWindowSize: 2, Layers: []int{0}, Heads: []int{0}, Precision: Exact, Values: true, Logits: true, Overview: 2},
			}
			path := filepath.Join(t.TempDir(), "x.attn")
			w, err := Create(path, h, CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p := Prompt{ID: "p", PromptTokens: 4, ReplyTokens: 1, WindowRows: 2, Store: StoreFactors, Tokens: make([]int32, 5)}
			pw, err := w.Begin(p)
			if err != nil {
				t.Fatal(err)
			}
			var errs []error
			if n.weights != nil {
				p.Store = "rows"
				errs = append(errs, pw.Rows(Rows{
					Layer: 0, Head: 0, Phase: Prefill,
					Rows: 2, Keys: 4,
					Weights: n.weights,
				}), pw.Rows(Rows{
					Layer: 0, Head: 0, Phase: Decode,
					Rows: 1, Keys: 5,
					Weights: slices.Repeat([]float32{.2}, 5),
				}))
			} else {
				errs = append(errs, pw.Queries(0, Prefill, 0, 2, n.q, n.lse), pw.Queries(0, Decode, 0, 1, []float32{1}, []float32{lse(5)}), pw.Keys(0, 0, 5, n.keys))
			}
			errs = append(errs, pw.Values(0, 0, 5, n.values), pw.Sums(0, n.sums), pw.Window(0, 0, 4, n.window), pw.Overview(0, 2, n.overview), pw.Logits(0, 1, n.logits), pw.Finish(p), w.Close())
			for _, err := range errs {
				if err != nil {
					t.Fatal(err)
				}
			}
			var found []string
			ok, err := Verify(t.Context(), path, nil, func(p Problem) { found = append(found, p.String()) })
			if err != nil || ok != (c.want == "") || ok != (len(found) == 0) {
				t.Fatalf("%v, %v: %q", ok, err, found)
			}
			if all := strings.Join(found, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("%q, want %q", all, c.want)
			}
		})
	}
}
