package experiments

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

func tokens(n int, own ...int32) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return append(ids, own...)
}

// among gives each of the positions from lo to hi-1 a weight.
func among(key, lo, hi int, w float32) float32 {
	if key >= lo && key < hi {
		return w
	}
	return 0
}

// TestWindowsOfPlantedAttention: 220 tokens, windows of 20; k = floor(.05 n).
// The reply attends to positions 0 and 10 to 14 with .1 each. Window i of the last
// five votes for 0 and for 10+i to 14+i: of the five significant positions from 10 on
// 5, 4, 3, 2, 1 are among its votes, and 0.
func TestWindowsOfPlantedAttention(t *testing.T) {
	const n, size, count = 220, 20, 5
	path := filepath.Join(t.TempDir(), "x.attn")
	weight := func(_, _, query, key int) float32 {
		if query >= n {
			return among(key, 0, 1, 0.1) + among(key, 10, 15, 0.1)
		}
		if i := (query - (n - count*size)) / size; query >= n-count*size {
			return among(key, 0, 1, 0.1) + among(key, 10+i, 15+i, 0.1)
		}
		return 0
	}
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 2, Heads: 3, Rows: 20, Windows: count, WindowSize: size}, []dumpstest.Planted{{ID: "a", Tokens: tokens(n), Reply: 4, Weight: weight}, {ID: "b", Tokens: tokens(n), Reply: 6, Weight: weight}})
	rows, err := windowRates(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, row := range rows {
		// Common keys are the 120 before the windows: k = 6, the voted positions.
		// Causal keys are 120 + 20 i: k = 6, 7, 8, 9, 10. What is kept beside them is
		// never significant.
		i := row.index
		want := float64(6-i) / 6
		if row.skip == 4 {
			want = float64(5-i) / 5
		}
		if math.Abs(row.rate.mean-want) > 1e-12 {
			t.Errorf("%s keys, without %d, layer %d, window %d: hit rate %g, want %g",
				row.keys, row.skip, row.layer, i, row.rate.mean, want)
		}
		if row.prompts != 2 || row.rate.low != row.rate.high {
			t.Errorf("%+v: want two equal prompts and an interval of no width", row)
		}
		seen++
	}
	if seen != 2*2*3*count {
		t.Errorf("%d rows, want %d", seen, 2*2*3*count)
	}
}

// TestContextsOfPlantedAttention: two instructions on 100 tokens of document,
// k = 5. In layer 0 both attend to 20..24, in layer 1 to 20..24 and 22..26, in
// layer 2 to sets that share nothing: overlaps 1, 3/5, 0.
func TestContextsOfPlantedAttention(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	weight := func(start [3]int) func(layer, _, query, key int) float32 {
		return func(layer, _, query, key int) float32 {
			if query < 100 { // the document's own rows do not count
				return among(key, 60, 65, 0.15)
			}
			return among(key, start[layer], start[layer]+5, 0.1)
		}
	}
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 3, Heads: 2, Rows: 10}, []dumpstest.Planted{
		{ID: "d/0", Document: "d", Dataset: "s", Tokens: tokens(100, 7, 8, 9), Reply: 2, Weight: weight([3]int{20, 20, 20})},
		{ID: "d/1", Document: "d", Dataset: "s", Tokens: tokens(100, 8, 7), Reply: 3, Weight: weight([3]int{20, 22, 40})},
		{ID: "e/0", Document: "e", Dataset: "t", Tokens: tokens(100, 7, 8, 9), Reply: 2, Weight: weight([3]int{20, 20, 20})},
		{ID: "e/1", Document: "e", Dataset: "t", Tokens: tokens(100, 8, 7), Reply: 3, Weight: weight([3]int{20, 20, 20})},
		{ID: "f/0", Document: "f", Dataset: "t" + truncatedGroup, Tokens: tokens(100, 7, 8, 9), Reply: 2, Weight: weight([3]int{20, 20, 20})},
		{ID: "f/1", Document: "f", Dataset: "t" + truncatedGroup, Tokens: tokens(100, 8, 7), Reply: 3, Weight: weight([3]int{40, 40, 40})},
	})
	rows, err := pairOverlaps(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{(1 + 0.6) / 3, 1, 0.6, 0} {
		row := rows[i]
		if row.layer != i-1 || math.Abs(row.overlap.mean-want) > 1e-12 || row.documents != 1 || row.pairs != 1 {
			t.Errorf("%+v, want layer %d, overlap %g of one pair", row, i-1, want)
		}
		if row.otherHalf != 1 {
			t.Errorf("%+v: rows of one instruction agree wholly", row)
		}
	}
	// Whole sets are pooled by document, the truncated one apart from them.
	for _, row := range rows {
		want := map[string]float64{"s": (1 + 0.6) / 3, "t": 1, "*": (1 + (1+0.6)/3) / 2, "t (truncated)": 0, "* (truncated)": 0}
		if row.layer == allLayers && math.Abs(row.overlap.mean-want[row.set]) > 1e-12 {
			t.Errorf("%s: overlap %v, want %g", row.set, row.overlap.mean, want[row.set])
		}
		if row.set == "*" && row.documents != 2 {
			t.Errorf("all whole documents: %d of them, want 2", row.documents)
		}
	}
}

// TestVariantsOfPlantedAttention: in the window's mean four positions pass
// 0.005; the first span's mean has eight of which those four are part, the
// second span's two others: overlaps 1/2 and 0. Three positions pass 0.05 in a
// row of the window.
func TestVariantsOfPlantedAttention(t *testing.T) {
	const n = 200
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 1, Heads: 2, Rows: 128}, []dumpstest.Planted{{ID: "a", Tokens: tokens(n), Reply: 8, Weight: func(_, _, query, key int) float32 {
		switch {
		case query < n:
			return among(key, 10, 13, 0.06) + among(key, 13, 14, 0.01)
		case query < n+4:
			return among(key, 10, 18, 0.02)
		}
		return among(key, 30, 32, 0.02)
	}}})
	rows, err := codeVariants(path, 4)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range []float64{0.5, 0} {
		if row := rows[s]; row.overlap != want || row.typical != 3 {
			t.Errorf("span %d: %+v, want overlap %g and 3 typical positions", s, row, want)
		}
	}
}

func TestPlacedKeepsTheContent(t *testing.T) {
	text := "One thing. Two things. Three thïngs. Four things."
	for _, place := range placements {
		got := placed(text, "ASK?", place)
		if rest := strings.ReplaceAll(strings.Replace(got, "ASK?", "", 1), "\n", ""); rest != text {
			t.Errorf("%s: %q", place, got)
		}
		if has := strings.Contains(got, "ASK?"); has != (place != "absent") {
			t.Errorf("%s: %q", place, got)
		}
	}
	if got := placed(text, "ASK?", "middle"); !strings.HasPrefix(got, "One thing. Two things. ") || !strings.HasSuffix(got, "Four things.") {
		t.Errorf("middle: %q", got)
	}
}
