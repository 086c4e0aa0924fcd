package experiments

import (
	"math"
	"testing"

	"github.com/attnscope/attnscope/analysis"
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
	if len(got) != 2 {
		t.Fatalf("%d rows, want one for each capacity of h2o: %+v", len(got), got)
	}
	want := []struct{ capacity, kl, p, logprob float64 }{{8, 0.1, 0.5, -1.5}, {16, -0.05, 1, 0.5}}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }
	for i, w := range want {
		row := got[i]
		if row.method != "h2o" || row.capacity != int(w.capacity) || row.prompts != 2 || !near(row.kl.mean, w.kl) ||
			!near(row.kl.p, w.p) || !near(row.logprob.mean, w.logprob) {
			t.Errorf("row %d is %+v, want h2o, two prompts, and capacity, kl difference, its p, logprob difference %v", i, row, w)
		}
	}
}

// TestRanking: mass orders four methods as KL does but for one of six pairs, tau is
// (5-1)/6; its first choice loses 0.1 more than the best method. Without the baseline,
// the three others have the same order.
func TestRanking(t *testing.T) {
	mass := map[string]float64{"snapkv": 0.8, "h2o": 0.7, "tova": 0.5, "random": 0.9}
	kl := map[string]float64{"snapkv": 0.1, "h2o": 0.3, "tova": 0.6, "random": 0.2}
	var kept []analysis.MethodRow
	results := []decode.Result{{ID: "a", Method: "full", Capacity: 100}}
	for name := range mass {
		row := analysis.MethodRow{Method: name, Capacity: 8, Mass: mass[name], HitRate: math.NaN(), Recall: 1, OutputError: 1}
		row.Prompt = "a"
		kept = append(kept, row)
		results = append(results, decode.Result{
			ID: "a", Method: name, Capacity: 8, KL: decode.Float(kl[name]),
			Agreement: decode.Float(math.NaN()), AnswerLogProb: decode.Float(math.NaN()),
		})
	}
	kept = append(kept, analysis.MethodRow{Method: "oracle", Capacity: 8, Mass: 1})
	got := ranking(kept, results, 1)
	if len(got) != 2 {
		t.Fatalf("%d rows, want one with and one without baselines: %+v", len(got), got)
	}
	all := got[0]
	if all.methods != 4 || math.Abs(all.tau.mean-4.0/6) > 1e-12 || all.choice != "random" ||
		all.best != "snapkv" || math.Abs(all.regret-0.1) > 1e-12 {
		t.Errorf("all: %+v", all)
	}
	rivals := got[1]
	if rivals.methods != 3 || rivals.tau.mean != 1 || rivals.choice != "snapkv" || rivals.regret != 0 || rivals.compared != "without baselines" {
		t.Errorf("without baselines: %+v", rivals)
	}
}
