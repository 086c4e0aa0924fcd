package hitrate

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

func TestThetaIsStrict(t *testing.T) {
	c := Count(Significant([]float32{.50, .05, .30, .15}, 1, 4, 4, 0.05), []int32{1}, 1, 0, 4)
	if c.Significant != 3 || c.Hits != 0 || c.Recent != 1 || c.SinksRecent != 1 || c.Oracle != 1 {
		t.Errorf("got %+v, want 3 significant, no hit (0.05 is not above 0.05), 1 each for the baselines", c)
	}
}

func TestBaselines(t *testing.T) {
	rows := [][]int32{{0, 5, 9}, {0, 6}, {}, {5, 9}}
	c := Count(rows, []int32{6}, 5, 0, 10)
	// The last 5 positions are 5 to 9; sinks and recent keep 0 to 3 and 9; all four
	// positions that are ever significant fit into a budget of 5.
	want := Counts{Rows: 4, Skipped: 1, Significant: 7, Hits: 1, Recent: 5, SinksRecent: 4, Oracle: 7, RowRates: 0.5}
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if got := Count(rows, nil, 1, 0, 10).Oracle; got != 2 {
		t.Errorf("the oracle of one position holds %d significant positions, want 2", got)
	}
	c = Count(rows, []int32{0, 8}, 5, 1, 9)
	if c.Significant != 3 || c.Hits != 0 || c.Skipped != 1 {
		t.Errorf("positions 1 to 8: got %+v, want 3 significant, no hit, 1 skipped row", c)
	}
}

func TestCountKept(t *testing.T) {
	rows := [][]int32{{0, 5, 9}, {0, 6}, {}, {5, 9}}
	keep := []int32{0, 6, 7}
	got := CountKept(rows, func(j int32) bool { return slices.Contains(keep, j) }, 3, 0, 10)
	if want := Count(rows, keep, 3, 0, 10); got != want || got.Hits != 3 {
		t.Errorf("got %+v, want the counts of a list, %+v, with 3 hits", got, want)
	}
}

func TestCountsAddUp(t *testing.T) {
	a := Counts{Rows: 3, Skipped: 1, Significant: 5, Hits: 2, Recent: 3, SinksRecent: 4, Oracle: 5, RowRates: 0.75}
	b := Counts{Rows: 1, Significant: 3, Hits: 2, Recent: 1, SinksRecent: 1, Oracle: 2, RowRates: 0.5}
	sum := a
	sum.Add(b)
	want := Counts{Rows: 4, Skipped: 1, Significant: 8, Hits: 4, Recent: 4, SinksRecent: 5, Oracle: 7, RowRates: 1.25}
	if sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
	if sum.Rate() != 0.5 || sum.RowMean() != 1.25/3 {
		t.Errorf("rate %g, mean over rows %g; want 1/2 and 1.25/3", sum.Rate(), sum.RowMean())
	}
}

func TestNothingSignificantHasNoRate(t *testing.T) {
	c := Count([][]int32{{}, {}}, []int32{0}, 1, 0, 4)
	if !math.IsNaN(c.Rate()) || !math.IsNaN(c.RowMean()) || c.Skipped != 2 {
		t.Errorf("rate %g, mean over rows %g, %d rows skipped; want NaN, NaN and 2", c.Rate(), c.RowMean(), c.Skipped)
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b []int32
		want int
	}{
		{[]int32{1, 3, 5}, []int32{2, 3, 5, 8}, 2},
		{[]int32{1, 3}, []int32{1, 3}, 2},
		{[]int32{1, 3}, []int32{0, 2, 4}, 0},
		{nil, []int32{0}, 0},
	} {
		if got := Overlap(c.a, c.b); got != c.want {
			t.Errorf("%v and %v share %d, want %d", c.a, c.b, got, c.want)
		}
		if got := Overlap(c.b, c.a); got != c.want {
			t.Errorf("%v and %v share %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestSelectPrefersLowerPositions(t *testing.T) {
	vote := []float64{.1, .5, .3, .5, .3}
	for k, want := range [][]int32{nil, {1}, {1, 3}, {1, 2, 3}, {1, 2, 3, 4}, {0, 1, 2, 3, 4}} {
		if got := Select(vote, k); !slices.Equal(got, want) {
			t.Errorf("the %d largest are %v, want %v", k, got, want)
		}
	}
}

// golden is what a script of its own has computed for one setting of one head.
type golden struct {
	head, window int
	top          float64
	theta        float32

	k, counted, hits, significant int
	rowMean                       *float64 // nil: all rows are skipped
}

// compare computes the same from attention: prompt [rows, tokens] are the last rows of
// the prompt, reply [gen, tokens+gen] the rows of the reply.
func (g *golden) compare(t *testing.T, prompt, reply []float32, tokens, gen int) {
	t.Helper()
	prefix := tokens - g.window
	k := Budget(g.top, prefix)
	keep := Select(vote(prompt, tokens, g.window, prefix), k)
	lists := Significant(reply, gen, tokens+gen, prefix, g.theta)
	c := Count(lists, keep, k, 0, prefix)
	if k != g.k || c.Rows-c.Skipped != g.counted || c.Hits != g.hits || c.Significant != g.significant {
		t.Errorf("k %d, %+v, want %+v", k, c, g)
	}
	if g.rowMean == nil {
		if !math.IsNaN(c.RowMean()) {
			t.Errorf("%+v: mean over rows %g, want NaN", g, c.RowMean())
		}
	} else if math.Abs(c.RowMean()-*g.rowMean) > 1e-8 {
		t.Errorf("%+v: mean over rows %g, want %g", g, c.RowMean(), *g.rowMean)
	}
}

// vote sums the last window rows of rows [n, keys] over the prefix.
func vote(rows []float32, keys, window, prefix int) []float64 {
	sum := make([]float64, prefix)
	n := len(rows) / keys
	for i := n - window; i < n; i++ {
		for j := range sum {
			sum[j] += float64(rows[i*keys+j])
		}
	}
	return sum
}

// TestSmallGoldens compares with testdata/small.json, which make_small.py computes.
func TestSmallGoldens(t *testing.T) {
	var file struct {
		Tokens, Gen int
		Unit        float32
		Heads       []struct{ Prompt, Gen [][]float32 }
		Rows        [][]*float64
	}
	readJSON(t, filepath.Join("testdata", "small.json"), &file)
	flat := func(rows [][]float32) []float32 {
		out := slices.Concat(rows...)
		for i := range out {
			out[i] /= file.Unit
		}
		return out
	}
	for _, row := range file.Rows {
		v := func(i int) float64 { return *row[i] }
		g := golden{
			head: int(v(0)), window: int(v(1)), top: v(2), theta: float32(v(3)),
			k: int(v(4)), counted: int(v(5)), hits: int(v(6)), significant: int(v(7)), rowMean: row[8],
		}
		head := file.Heads[g.head]
		g.compare(t, flat(head.Prompt), flat(head.Gen), file.Tokens, file.Gen)
	}
}

// TestSyntheticGoldens is TestSmallGoldens on larger attention.
func TestSyntheticGoldens(t *testing.T) {
	dir := sharedtest.Dir(t, "fixtures/hitrate")
	var file struct {
		Tokens, Gen int
		Rows        [][]*float64
	}
	readJSON(t, filepath.Join(dir, "synthetic.json"), &file)
	prompt := readFloats(t, dir, "prompt_rows")
	reply := readFloats(t, dir, "gen_rows")
	keys := file.Tokens + file.Gen
	for _, row := range file.Rows {
		v := func(i int) float64 { return *row[i] }
		g := golden{
			head: int(v(1)), window: int(v(2)), top: v(3), theta: float32(v(4)),
			k: int(v(5)), counted: int(v(6)), hits: int(v(7)), significant: int(v(8)), rowMean: row[9],
		}
		g.compare(t, prompt[g.head*128*file.Tokens:][:128*file.Tokens], reply[g.head*file.Gen*keys:][:file.Gen*keys], file.Tokens, file.Gen)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}
