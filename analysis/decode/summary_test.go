package decode

import (
	"math"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/snapkv"
)

// TestSummarize averages two prompts of different lengths over the full cache and one
// compressed cache, one of whose scores is not defined.
func TestSummarize(t *testing.T) {
	small := Result{
		ID: "a", Method: "snapkv", Capacity: 64, Window: 32, Kernel: 5, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead,
		PPL: 2, KL: 0.5, Score: 1, CacheBytes: 100, CacheRatio: 0.5,
	}
	other := small
	other.ID = "b"
	other.PPL = 4
	other.KL = 1.5
	other.Score = Float(math.NaN())
	other.CacheBytes = 300
	other.CacheRatio = 1
	rows := Summarize([]Result{
		{ID: "a", Method: snapkv.Full, Capacity: 200, PPL: 1.6},
		{ID: "a", Method: snapkv.Full, Capacity: 200, PPL: 9, KVBits: 4},
		small,
		{ID: "b", Method: snapkv.Full, Capacity: 300, PPL: 4},
		other,
	}, 1)
	if len(rows) != 3 {
		t.Fatalf("%d rows, want one per cache", len(rows))
	}
	if r := rows[0]; r.Method != snapkv.Full || r.Capacity != -1 || r.Prompts != 2 {
		t.Errorf("%+v, want the full cache of 2 prompts, with capacity -1", r)
	}
	r := rows[2]
	if r.Method != "snapkv" || r.Capacity != 64 || r.PPL != 3 || r.KL != 1 || r.Score != 1 || r.CacheBytes != 200 || r.CacheRatio != 0.8 {
		t.Errorf("%+v, want the means 3, 1, 1, 200 and 0.8", r)
	}
	if math.Abs(r.PPLIncrease-0.125) > 1e-7 || r.PPLIncreaseLow != 0 || math.Abs(r.PPLIncreaseHigh-0.25) > 1e-7 {
		t.Errorf("the perplexity increases by %g [%g, %g], want the mean of 2/1.6 - 1 and 4/4 - 1, 0.125 [0, 0.25]",
			r.PPLIncrease, r.PPLIncreaseLow, r.PPLIncreaseHigh)
	}
	if full := rows[0]; full.PPLIncrease != 0 || full.PPLIncreaseHigh != 0 {
		t.Errorf("the full cache has an increase of %g up to %g, want 0", full.PPLIncrease, full.PPLIncreaseHigh)
	}
	if r.KLLow != 0.5 || r.KLHigh != 1.5 || !math.IsNaN(r.ScoreLow) {
		t.Errorf("intervals [%g, %g] and from %g, want [0.5, 1.5] and NaN", r.KLLow, r.KLHigh, r.ScoreLow)
	}
}

// TestSummaryTableHasEveryFieldInItsColumn gives every field a value of its own.
func TestSummaryTableHasEveryFieldInItsColumn(t *testing.T) {
	row := SummaryRow{
		Method: "snapkv", Capacity: 1, Window: 2, Kernel: 3, Pooling: snapkv.MaxPool, Group: snapkv.GroupSum, Prompts: 4,
		PPL: 5, PPLIncrease: 5.1, PPLIncreaseLow: 5.2, PPLIncreaseHigh: 5.3, KL: 6, KLLow: 7, KLHigh: 8, Agreement: 9, AnswerLogProb: 10, AnswerRank: 11,
		Score: 12, ScoreLow: 13, ScoreHigh: 14, ExactMatch: 15, F1: 16, RougeL: 17, Contains: 18,
		PrefillTokens: 19, DecodeTokens: 20, CacheBytes: 21, CacheRatio: 22, PeakBytes: 23,
	}
	var got strings.Builder
	if err := SummaryTable([]SummaryRow{row}).Write(&got, "csv"); err != nil {
		t.Fatal(err)
	}
	want := "method,capacity,window,kernel,pooling,group,prompts,ppl,ppl_increase,ppl_increase_low,ppl_increase_high,kl,kl_low,kl_high,agreement,answer_logprob,answer_rank," +
		"score,score_low,score_high,exact_match,f1,rouge_l,contains,prefill_tok_s,decode_tok_s,cache_bytes,cache_ratio,peak_bytes\n" +
		"snapkv,1,2,3,maxpool,sum,4,5,5.1,5.2,5.3,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
	if got.String() != want {
		t.Errorf("table\n%swant\n%s", got.String(), want)
	}
}

// TestPooledRatio has the example of docs/MEASURES.md.
func TestPooledRatio(t *testing.T) {
	got := PooledRatio([]float64{100, 300}, []float64{100. / 200, 300. / 900})
	if want := (100. + 300) / (200 + 900); math.Abs(got-want) > 1e-12 {
		t.Errorf("ratio %g, want %g", got, want)
	}
}
