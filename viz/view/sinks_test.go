package view

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestLearnedSinks: the map of a head has the share of its learned sink in each row, what
// the keys leave, and the measures of heads have its mean over the reply. Models without
// learned sinks have neither.
func TestLearnedSinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Shapes(t, path, dumpstest.Kinds()["sinks"], dumps.StoreFactors, dumps.Exact, "p")
	v := serve(t, path, Options{Token: testToken})
	var stats headsAnswerIn
	v.json("api/stats?layer=1&window=8", &stats)
	var mean [dumpstest.Rows + dumpstest.Reply]float64 // over heads
	var got struct{ Learned []float64 }
	for head := range dumpstest.Heads {
		v.json(fmt.Sprintf("api/map?layer=1&head=%d", head), &got)
		reply := 0.0
		for i, row := range v.weights(0, 1, head) {
			left := 1.0
			for _, w := range row {
				left -= float64(w)
			}
			mean[i] += left / dumpstest.Heads
			if i >= dumpstest.Rows {
				reply += left / dumpstest.Reply
			}
			if math.Abs(got.Learned[i]-left) > 1e-5 {
				t.Errorf("head %d, row %d: share %g, want %g", head, i, got.Learned[i], left)
			}
		}
		if g := *stats.Measures["learned_sink"][head]; math.Abs(g-reply) > 1e-5 || reply < 0.01 {
			t.Errorf("head %d: mean share %g, want %g", head, g, reply)
		}
	}
	v.json("api/map?layer=1&head=-1", &got)
	for i, want := range mean {
		if math.Abs(got.Learned[i]-want) > 1e-5 {
			t.Errorf("mean of heads, row %d: share %g, want %g", i, got.Learned[i], want)
		}
	}
	plain := open(t, "factors", 0)
	got.Learned = nil
	stats = headsAnswerIn{}
	plain.json("api/map?layer=1&head=0", &got)
	plain.json("api/stats?layer=1&window=8", &stats)
	if _, has := stats.Measures["learned_sink"]; has || got.Learned != nil {
		t.Errorf("a model without learned sinks has shares: %v, %v", stats.Measures["learned_sink"], got.Learned)
	}
}
