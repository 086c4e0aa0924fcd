package decode

import (
	"math"
	"strconv"

	"github.com/attnscope/attnscope/snapkv"
)

// Float is a float64 that becomes null in JSON if it is undefined: NaN or infinite.
type Float float64

func undefined() Float { return Float(math.NaN()) }

// MarshalJSON writes whole numbers without exponent and others with eight digits.
func (f Float) MarshalJSON() ([]byte, error) {
	v := float64(f)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return []byte("null"), nil
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(nil, int64(v), 10), nil
	}
	return strconv.AppendFloat(nil, v, 'g', 8, 64), nil
}

// UnmarshalJSON reads null as NaN.
func (f *Float) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*f = undefined()
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	*f = Float(v)
	return err
}

// Result is one prompt decoded from one cache. Undefined measures are NaN, such as
// scores without a reference answer. docs/MEASURES.md has the formulas.
type Result struct {
	ID            string         `json:"id"`
	Method        string         `json:"method"`   // snapkv.Full for the full cache
	Capacity      int            `json:"capacity"` // of the full cache: the prompt's tokens
	Window        int            `json:"window"`
	Kernel        int            `json:"kernel"`
	Pooling       snapkv.Pooling `json:"pooling"`
	Group         snapkv.Group   `json:"group"`
	Budget        Budget         `json:"budget,omitzero"`        // that gave the capacity, if Config.Budgets has it
	DecodeEvery   int            `json:"decode_every,omitempty"` // Config.DecodeEvery, of compressed caches
	CompressAt    Place          `json:"compress_at,omitempty"`  // AtContext, of caches that are compressed there
	KVBits        int            `json:"kv_bits,omitempty"`      // of a quantized cache
	Text          string         `json:"text"`
	OutputIDs     []int32        `json:"output_ids"`
	PPL           Float          `json:"ppl"`            // perplexity of the reference reply, per token
	KL            Float          `json:"kl"`             // divergence of this cache from the full one, nats per token
	Agreement     Float          `json:"agreement"`      // share of the reply's tokens where both predict the same
	AnswerLogProb Float          `json:"answer_logprob"` // nats, summed over the tokens of the answer
	AnswerRank    Float          `json:"answer_rank"`    // mean over the tokens of the answer; 1 is the best
	Score         Float          `json:"score"`          // the score that Config.Score names
	ExactMatch    Float          `json:"exact_match"`
	F1            Float          `json:"f1"`
	RougeL        Float          `json:"rouge_l"`
	Contains      Float          `json:"contains"`
	PrefillTokens Float          `json:"prefill_tok_s"`
	DecodeTokens  Float          `json:"decode_tok_s"`
	CacheBytes    int64          `json:"cache_bytes"` // after the prompt
	CacheRatio    Float          `json:"cache_ratio"` // CacheBytes over those of the full cache
	PeakBytes     Float          `json:"peak_bytes"`  // resident memory while decoding, without the full cache
	Dataset       string         `json:"dataset,omitempty"`
}

// Full reports whether the result is of the full cache, with which the others are
// compared.
func (r *Result) Full() bool { return r.Method == snapkv.Full && r.KVBits == 0 }

// logSoftmax writes the log-probabilities of logits into dst.
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

// divergence returns Σ p (ln p - ln q) in nats, from log-probabilities.
func divergence(p, q []float32) float64 {
	sum := 0.0
	for i, lp := range p {
		if lp != q[i] {
			sum += float64(math.Exp(float64(lp)) * float64(lp-q[i]))
		}
	}
	return max(0, sum)
}

// best returns the index of the largest value, the first of equal ones.
func best(x []float32) int {
	at := 0
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	return at
}
