package experiments

import (
	"math"
	"testing"

	"github.com/attnscope/attnscope/analysis/decode"
)

// TestMethodsArePairedWithSnapKV: by prompt and capacity, a method minus snapkv;
// two prompts that both lose 0.1 more have the least p of two, 1/2.
func TestMethodsArePairedWithSnapKV(t *testing.T) {
	list := []decode.Result{
		{ID: "a", Method: "full", Capacity: 100, KL: 0, AnswerLogProb: -1},
		{ID: "a", Method: "snapkv", Capacity: 8, KL: 0.2, AnswerLogProb: -3},
		{ID: "a", Method: "h2o", Capacity: 8, KL: 0.3, AnswerLogProb: -5},
		{ID: "a", Method: "snapkv", Capacity: 16, KL: 0.1, AnswerLogProb: -2},
		{ID: "a", Method: "h2o", Capacity: 16, KL: 0.1, AnswerLogProb: -2},
		{ID: "b", Method: "full", Capacity: 90, KL: 0, AnswerLogProb: -1},
		{ID: "b", Method: "snapkv", Capacity: 8, KL: 0.5, AnswerLogProb: -4},
		{ID: "b", Method: "h2o", Capacity: 8, KL: 0.6, AnswerLogProb: -5},
		{ID: "b", Method: "snapkv", Capacity: 16, KL: 0.3, AnswerLogProb: -2},
		{ID: "b", Method: "h2o", Capacity: 16, KL: 0.2, AnswerLogProb: -1},
	}
	got := againstSnapKV(list, 1)
	if len(got.Rows) != 2 {
		t.Fatalf("%d rows, want one for each capacity of h2o: %v", len(got.Rows), got.Rows)
	}
	want := [][]any{{"h2o", 8, 2, 0.1, 0.5, -1.5}, {"h2o", 16, 2, -0.05, 1.0, 0.5}}
	for i, w := range want {
		row := got.Rows[i]
		if row[0] != w[0] || row[1] != w[1] || row[2] != w[2] || !near(row[3], w[3]) || !near(row[6], w[4]) || !near(row[7], w[5]) {
			t.Errorf("row %d is %v, want method, capacity, prompts, kl difference, its p, logprob difference %v", i, row, w)
		}
	}
}

func near(a, b any) bool { return math.Abs(a.(float64)-b.(float64)) < 1e-12 }
