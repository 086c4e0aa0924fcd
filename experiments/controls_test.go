package experiments

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// planted has two prompts of 220 tokens, windows of 20. The reply of each attends
// to five positions of its own with .1 each, and so does its last window; earlier
// windows attend to two of the five and to three others.
func planted(t *testing.T) string {
	const n, size, count = 220, 20, 5
	path := filepath.Join(t.TempDir(), "x.attn")
	weight := func(own int) func(_, _, query, key int) float32 {
		return func(_, _, query, key int) float32 {
			if query >= n-size {
				return among(key, own, own+5, 0.1)
			}
			return among(key, own, own+2, 0.1) + among(key, 80, 83, 0.1)
		}
	}
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 2, Heads: 3, Rows: size, Windows: count, WindowSize: size}, []dumpstest.Planted{
		{ID: "a", Tokens: tokens(n), Reply: 4, Weight: weight(10)},
		{ID: "b", Tokens: tokens(n + 1)[1:], Reply: 6, Weight: weight(50)},
	})
	return path
}

// The prefix is 200, k = 10: five voted positions, and of the others, all zero,
// the lowest, where nothing is significant. So of five significant positions the
// own vote has all, the other prompt's none, an earlier window's two.
func TestControlsOfPlantedAttention(t *testing.T) {
	got, err := controlRates(planted(t), 7)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"own": 1, "other prompt": 0, "random window": 0.4}
	for _, row := range got {
		w := want[row.control]
		if math.Abs(row.rate.mean-w) > 1e-12 || math.Abs(row.difference.mean-(1-w)) > 1e-12 || row.prompts != 2 {
			t.Errorf("%+v: want hit rate %g, difference %g of two prompts", row, w, 1-w)
		}
	}
	if len(got) != 3*3*2 {
		t.Errorf("%d rows, want three controls of two layers and all, with and without the first four", len(got))
	}
}

func TestFittedKeepsBothEnds(t *testing.T) {
	vote := []float64{1, 2, 3, 4, 5}
	for n, want := range map[int][]float64{5: vote, 7: {1, 2, 3, 0, 0, 4, 5}, 4: {1, 2, 4, 5}, 3: {1, 2, 5}, 1: {1}} {
		if got := fitted(vote, n); !slices.Equal(got, want) {
			t.Errorf("to %d: %v, want %v", n, got, want)
		}
	}
}

// Every row of the window has the same 9 of 180 positions among its top 5 %, so
// counts are 20 or 0 around 1: the variation is sqrt((9*19*19 + 171)/180).
func TestHeadScoresOfPlantedAttention(t *testing.T) {
	got, err := headScores(planted(t), 20, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1, 1, 1, math.Sqrt(19)}
	for _, row := range got {
		for i, x := range []float64{row.rate.mean, row.halves, row.persistence, row.variation} {
			if math.Abs(x-want[i]) > 1e-9 {
				t.Errorf("layer %d head %d: %s %v, want %g", row.layer, row.head, []string{"hit_rate", "halves", "persistence", "variation"}[i], x, want[i])
			}
		}
	}
}

// Rows that take turns: even rows vote for 10 to 14, odd ones for 20 to 24. Of ten
// places five go to the lowest other positions, which both have: half in common.
func TestHalvesThatDisagree(t *testing.T) {
	const n, prefix = 8, 200
	rows := make([]float32, n*prefix)
	for i := range n {
		for j := range 5 {
			rows[i*prefix+10+10*(i%2)+j] = 0.1
		}
	}
	if got := halves(rows, n, prefix, prefix); got != 0.5 {
		t.Errorf("halves %g, want 0.5", got)
	}
}

// The needle is at 2 to 4 of prompt 5 6 7 8 9. The prompt's last row looks at 7,
// which comes next: copied. The first reply row looks at 8: copied. The second
// looks at 8 again but has to give out 9: not copied.
func TestCopiedTokens(t *testing.T) {
	at := func(j int) []float32 { row := make([]float32, 8); row[j] = 1; return row }
	rows := slices.Concat(at(3), at(3), at(4))
	c := copying{last: at(2)[:5], rows: rows, keys: 8, n: 3, prompt: []int32{5, 6, 7, 8, 9}, reply: []int32{7, 8, 9}}
	if got := copied(c, 2, 5); math.Abs(got-2.0/3) > 1e-12 {
		t.Errorf("copied %g, want two of three", got)
	}
	if lo, hi := phraseTokens("ab cd ef", []int{2, 5, 8}, "cd"); lo != 1 || hi != 2 {
		t.Errorf("cd is token %d to %d, want 1 to 2", lo, hi)
	}
	if lo, hi := phraseTokens("ab cd ef", []int32{2, 5, 8}, "d e"); lo != 1 || hi != 3 {
		t.Errorf("d e is tokens %d to %d, want 1 to 3", lo, hi)
	}
}

func TestDocumentForms(t *testing.T) {
	for line, want := range map[string]document{
		`{"id":"a","document":"T","instructions":["x","y"],"outputs":["1","2"]}`: {ID: "a", Text: "T", Instructions: []string{"x", "y"}, Outputs: []string{"1", "2"}},
		`{"_id":"b","context":"T","input":"q?","answers":["1","2"]}`:             {ID: "b", Text: "T", Instructions: []string{"q?"}, Outputs: []string{"1"}},
		`{"context":"T","question":"q?","answer":"1"}`:                           {ID: "s-3", Text: "T", Instructions: []string{"q?"}, Outputs: []string{"1"}},
	} {
		got, err := parseDocument([]byte(line), "s", 3)
		if err != nil || got.ID != want.ID || got.Text != want.Text || !slices.Equal(got.Instructions, want.Instructions) || !slices.Equal(got.Outputs, want.Outputs) || got.set != "s" {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{`{}`, `{"document":"T"}`, `{"id":1}`, `x`} {
		if _, err := parseDocument([]byte(line), "s", 3); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}

// TestSmallPIsNotWrittenAsZero: in words a p-value under 0.0005 is a bound, in
// the table the number.
func TestSmallPIsNotWrittenAsZero(t *testing.T) {
	small := table.New("rate", "p", "correct_p")
	small.Add(0.0001, 0.0001, 0.0449)
	if got, want := markdown(small, "rate", "p", "correct_p"), "| 0.000 | <0.001 | 0.045 |\n"; !strings.HasSuffix(got, want) {
		t.Errorf("markdown ends\n%swant\n%s", got, want)
	}
}
