package capture

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// ossModel is a model with sinks in all heads.
const ossModel = "../engine/model/testdata/gpt_oss-limits"

// TestSinksAreRecorded captures a model with sinks in both stores: with the share of the
// sink every recorded row, and every sum over queries, is whole. The shares are the same
// in both stores, and the log-sum-exps and the shares give each head's learned score.
func TestSinksAreRecorded(t *testing.T) {
	var first *dumps.Reader
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		cfg := mixedOf(t, ossModel)
		cfg.Header.Plan.Store = store
		cfg.Header.Plan.Precision = dumps.Exact
		cfg.Header.Plan.Heads = []int{0, 2, 3}
		cfg.Header.Plan.Temperature = 0
		cfg.Out = filepath.Join(t.TempDir(), string(store)+".attn")
		if _, err := Run(context.Background(), cfg); err != nil {
			t.Fatal(err)
		}
		whole, err := dumps.Verify(context.Background(), cfg.Out, nil, func(p dumps.Problem) { t.Error(p) })
		if err != nil || !whole {
			t.Errorf("%s: verify: %t, %v", store, whole, err)
		}
		r, err := dumps.Open(cfg.Out)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if first == nil {
			first = r
		}
		for i := range r.Prompts() {
			for _, layer := range r.Header().Plan.Layers {
				checkSinkRows(t, r, first, i, layer)
			}
		}
	}
}

// checkSinkRows checks the rows of a layer and compares shares with those of another
// dump.
func checkSinkRows(t *testing.T, r, other *dumps.Reader, prompt, layer int) {
	t.Helper()
	heads := r.Header().HeadsOf(layer)
	score := map[int]float64{} // of the sink, by head
	for _, ph := range dumps.Phases {
		a, err := r.Weights(prompt, layer, ph)
		if err != nil {
			t.Fatal(err)
		}
		shares, err := r.Sinks(prompt, layer, ph)
		if err != nil || len(shares) != a.Heads*a.Rows {
			t.Fatalf("%d shares, %v", len(shares), err)
		}
		want, err := other.Sinks(prompt, layer, ph)
		if err != nil {
			t.Fatal(err)
		}
		for i, share := range shares {
			sum := float64(share)
			for _, w := range a.Data[i*a.Keys : (i+1)*a.Keys] {
				sum += float64(w)
			}
			if math.Abs(sum-1) > 2e-6 || share <= 0 || math.Abs(float64(share-want[i])) > 1e-6 {
				t.Fatalf("prompt %d, layer %d, %s, row %d: share %g, in the other store %g; it sums to %g", prompt, layer, ph, i, share, want[i], sum)
			}
		}
		if r.Prompts()[prompt].Store != dumps.StoreFactors {
			continue
		}
		states, err := r.States(prompt, layer)
		if err != nil {
			t.Fatal(err)
		}
		lse := states.LSE
		if ph == dumps.Decode {
			lse = states.ReplyLSE
		}
		for i, share := range shares {
			head := heads[i/max(1, a.Rows)]
			got := float64(lse[head*a.Rows+i%a.Rows]) + math.Log(float64(share))
			if was, ok := score[head]; ok && math.Abs(got-was) > 1e-4 {
				t.Fatalf("prompt %d, layer %d, %s, row %d: the sink of head %d has the score %g, before %g", prompt, layer, ph, i, head, got, was)
			}
			score[head] = got
		}
	}
}

// TestSinksDoNotDependOnTheBatch compares the bytes of captures with batches of 1 and 4.
func TestSinksDoNotDependOnTheBatch(t *testing.T) {
	var want []byte
	for _, n := range []int{1, 4} {
		cfg := mixedOf(t, ossModel)
		cfg.Batch = n
		cfg.Out = filepath.Join(t.TempDir(), "x.attn")
		got := inOrder(t, cfg)
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Errorf("batch %d: other bytes", n)
		}
	}
}
