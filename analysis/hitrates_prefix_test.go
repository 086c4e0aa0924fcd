package analysis

import (
	"math"
	"slices"
	"testing"
)

// prefixDump has a prompt of ten tokens. A window of 1 has a prefix of nine positions,
// one of 4 a prefix of six. Only the first votes for position 1, and only its own prefix
// has position 7, for which it votes, too.
const prefixDump = `
dump layers=1 heads=1 rows=4
prompt a tokens=10 reply=1
0 0 6-8 3=0.5
0 0 9   1=0.2 7=0.4
0 0 10  1=0.1 3=0.2 7=0.3
`

// TestSamePrefix: with its own prefix, window 1 keeps 7 of 1, 3, 7; on the prefix of
// window 4 it keeps 1 of 1 and 3, and window 4 keeps 3.
func TestSamePrefix(t *testing.T) {
	path := writeText(t, prefixDump)
	type result struct {
		window, budget, significant, hits int
		chance, recent, overlap           float64
	}
	for _, c := range []struct {
		same bool
		want []result
	}{
		{false, []result{{1, 1, 3, 1, 1.0 / 9, 0, 1}, {4, 1, 2, 1, 1.0 / 6, 0, 1}}},
		{true, []result{{1, 1, 2, 1, 1.0 / 6, 0, 0}, {4, 1, 2, 1, 1.0 / 6, 0, 1}}},
	} {
		cfg := Paper
		cfg.Windows = []int{1, 4}
		cfg.Tops = []float64{0.17} // 1 of 9 and 1 of 6
		cfg.SamePrefix = c.same
		rows, _ := rowsOf(t, path, cfg)
		var got []result
		for i := range rows {
			r := &rows[i]
			got = append(got, result{r.Window, r.Budget, r.Significant, r.Hits, r.Chance, r.Recent, r.Overlap})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("same prefix %v: %+v, want %+v", c.same, got, c.want)
		}
	}
}

// TestSamePrefixPoolsOnlyRatedVotes: with a kernel of 3, the vote of window 1 for position
// 7 does not count for its neighbors if the prefix ends before it.
func TestSamePrefixPoolsOnlyRatedVotes(t *testing.T) {
	cfg := Paper
	cfg.Windows = []int{1, 4}
	cfg.Tops = nil
	cfg.Budgets = []int{3}
	cfg.Kernel = 3
	cfg.SamePrefix = true
	rows, _ := rowsOf(t, writeText(t, prefixDump), cfg)
	// 0, 1, 2 have a third of .2: 1 is a hit, 3 is not.
	if r := rows[0]; r.Hits != 1 || r.Significant != 2 || math.Abs(r.Mass-0.1) > 1e-3 {
		t.Errorf("%+v, want one hit of two and the mass of position 1", r)
	}
}

// TestSamePrefixWarnsOnce: a prompt that the largest window leaves without a prefix is
// left out for all windows.
func TestSamePrefixWarnsOnce(t *testing.T) {
	path := writeText(t, `
dump layers=1 heads=1 rows=4
prompt short tokens=4 reply=1
0 0 4 1=0.5
prompt long tokens=10 reply=1
0 0 10 1=0.5
`)
	cfg := Paper
	cfg.Windows = []int{1, 4}
	cfg.SamePrefix = true
	rows, warnings := rowsOf(t, path, cfg)
	for _, r := range rows {
		if r.Prompts != 1 {
			t.Errorf("window %d has %d prompts, want the long one", r.Window, r.Prompts)
		}
	}
	want := Warning{Kind: NoPrefix, Path: path, Prompt: "short", Tokens: 4, Window: 4, Every: true}
	if !slices.Contains(warnings, want) {
		t.Errorf("warnings %v, want %v", warnings, want)
	}
}

// pairedDump has three prompts whose replies attend to position 3, for which window 4 votes
// and window 1 does not, except in prompt b, where both do, and prompt c, where neither does.
const pairedDump = `
dump layers=1 heads=1 rows=4
prompt a tokens=10 reply=1
0 0 6-8 3=0.5
0 0 9   1=0.2
0 0 10  3=0.2
prompt b tokens=10 reply=1
0 0 6-9 3=0.5
0 0 10  3=0.2
prompt c tokens=10 reply=1
0 0 6-9 1=0.5
0 0 10  3=0.2
`

// TestPairedWindows: the rates of window 4 minus those of window 1 are 1, 0 and 0, prompt by
// prompt: their mean is 1/3, and all sign patterns have a sum at least as far from zero.
func TestPairedWindows(t *testing.T) {
	cfg := Paper
	cfg.Windows = []int{1, 4}
	cfg.Tops = []float64{0.17, 0.5}
	cfg.SamePrefix = true
	cfg.Against = 1
	rows, _ := rowsOf(t, writeText(t, pairedDump), cfg)
	if len(rows) != 4 || rows[0].Paired != nil || rows[2].Paired == nil || rows[2].Top != 0.17 {
		t.Fatalf("rows %+v, want four, with differences of window 4 only", rows)
	}
	low, high := Interval([]float64{1, 0, 0}, cfg.Seed)
	want := Paired{Difference: 1.0 / 3, Low: low, High: high, P: 1, Prompts: 3}
	if got := *rows[2].Paired; got != want || !(low < high) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for i := range rows[:2] {
		if d := rows[2+i].HitRate - rows[i].HitRate; math.Abs(d-rows[2+i].Paired.Difference) > 1e-12 {
			t.Errorf("top %g: the rates differ by %g, the mean difference is %g", rows[i].Top, d, rows[2+i].Paired.Difference)
		}
	}
	table := HitRateTable(rows)
	at := table.Column("difference")
	if at < 0 || !math.IsNaN(table.Rows[0][at].(float64)) || table.Rows[2][at].(float64) != 1.0/3 {
		t.Errorf("column %d of %v", at, table.Rows)
	}
	cfg.Against = 2
	if err := cfg.Check(); err == nil {
		t.Error("a window that is none of the windows is accepted")
	}
	cfg.Against = 1
	cfg.SamePrefix = false
	if err := cfg.Check(); err == nil {
		t.Error("windows are compared on different prefixes")
	}
}
