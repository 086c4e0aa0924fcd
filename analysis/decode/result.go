package decode

import (
	"math"
	"strconv"

	"github.com/attnscope/attnscope/snapkv"
)

// number is a float64 that is null in JSON where it is undefined.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	if v := float64(n); v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.AppendInt(nil, int64(v), 10), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', 8, 64), nil
}

// UnmarshalJSON reads null as undefined.
func (n *number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = number(math.NaN())
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	*n = number(v)
	return err
}

// Result is one prompt decoded from one cache. docs/MEASURES.md has the
// formulas.
type Result struct {
	ID            string         `json:"id"`
	Method        string         `json:"method"`
	Capacity      int            `json:"capacity"` // of the full cache: the prompt's tokens
	Window        int            `json:"window"`
	Kernel        int            `json:"kernel"`
	Pooling       snapkv.Pooling `json:"pooling"`
	Group         snapkv.Group   `json:"group"`
	Text          string         `json:"text"`
	OutputIDs     []int32        `json:"output_ids"`
	PPL           number         `json:"ppl"`            // of the reference reply, a token
	KL            number         `json:"kl"`             // nats a token, full cache against this
	Agreement     number         `json:"agreement"`      // share of the reply where both best tokens agree
	AnswerLogProb number         `json:"answer_logprob"` // nats, summed over the answer's tokens
	AnswerRank    number         `json:"answer_rank"`    // mean over its tokens, 1 is best
	Score         number         `json:"score"`
	ExactMatch    number         `json:"exact_match"`
	F1            number         `json:"f1"`
	RougeL        number         `json:"rouge_l"`
	Contains      number         `json:"contains"`
	PrefillTokens number         `json:"prefill_tok_s"`
	DecodeTokens  number         `json:"decode_tok_s"`
	CacheBytes    int64          `json:"cache_bytes"` // after the prompt
	PeakBytes     number         `json:"peak_bytes"`  // resident memory while decoding, without the other cache
}

// Full reports whether the result is of the full cache, which the others are
// compared with.
func (r *Result) Full() bool { return r.Method == snapkv.Full }

// logSoftmax writes the log-probabilities of logits.
func logSoftmax(dst, logits []float32) {
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	shift := top + math.Log(sum)
	for i, v := range logits {
		dst[i] = float32(float64(v) - shift)
	}
}

// divergence is Σ p (ln p - ln q), nats.
func divergence(p, q []float32) float64 {
	sum := 0.0
	for i, lp := range p {
		if lp != q[i] {
			sum += math.Exp(float64(lp)) * float64(lp-q[i])
		}
	}
	return max(0, sum)
}

func best(x []float32) int {
	at := 0
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	return at
}
