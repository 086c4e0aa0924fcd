package hitrate

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/internal/topk"
)

func ExampleCount() {
	rows := []float32{.50, .02, .30, .08}
	c := Count(Significant(rows, 1, 4, 4, 0.05), []int32{0, 3}, 2, 0, 4)
	fmt.Printf("%d of %d = %.2f\n", c.Hits, c.Significant, c.Rate())
	// Output: 2 of 3 = 0.67
}

func TestThetaIsStrict(t *testing.T) {
	c := Count(Significant([]float32{.50, .05, .30, .15}, 1, 4, 4, 0.05), []int32{1}, 1, 0, 4)
	if c.Significant != 3 || c.Hits != 0 || c.Recent != 1 || c.SinksRecent != 1 || c.Oracle != 1 {
		t.Errorf("got %+v, want 3 significant, no hit (0.05 is not above 0.05), 1 each for the baselines", c)
	}
}

// golden is a file of expected counts.
type golden struct {
	Tokens, Gen int
	Columns     []string
	Rows        [][]*float64
}

func TestSyntheticGoldens(t *testing.T) {
	dir := sharedtest.Dir(t, "fixtures/hitrate")
	text, err := os.ReadFile(filepath.Join(dir, "synthetic.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	prompt, reply := readFloats(t, dir, "prompt_rows"), readFloats(t, dir, "gen_rows")
	for _, row := range g.Rows {
		v := func(i int) float64 { return *row[i] }
		head, w, top, theta := int(v(1)), int(v(2)), v(3), float32(v(4))
		prefix := g.Tokens - w
		k := Budget(top, prefix)
		keep := topk.Select(vote(prompt[head*128*g.Tokens:], 128, g.Tokens, w, prefix), k)
		keys := g.Tokens + g.Gen
		gen := reply[head*g.Gen*keys:][:g.Gen*keys]
		c := Count(Significant(gen, g.Gen, keys, prefix, theta), keep, k, 0, prefix)
		if k != int(v(5)) || c.Rows-c.Skipped != int(v(6)) || c.Hits != int(v(7)) || c.Significant != int(v(8)) {
			t.Errorf("head %d, window %d, top %g, theta %g: k %d, %+v, want %v", head, w, top, theta, k, c, row)
		}
		if row[9] != nil && math.Abs(c.RowMean()-v(9)) > 1e-8 {
			t.Errorf("head %d, window %d: mean over rows %g, want %g", head, w, c.RowMean(), v(9))
		}
	}
}

// vote sums the last window rows of rows [n, keys] over the prefix.
func vote(rows []float32, n, keys, window, prefix int) []float64 {
	sum := make([]float64, prefix)
	for i := n - window; i < n; i++ {
		for j := range sum {
			sum[j] += float64(rows[i*keys+j])
		}
	}
	return sum
}
