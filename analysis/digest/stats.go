package digest

import (
	"context"
	"math"
	"runtime"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
)

// SinkKeys is the number of first positions that count as sinks: they draw weight in
// most heads for any text.
const SinkKeys = 4

// LeastTheta is the smallest theta that digests answer for.
const LeastTheta = 1e-3

// HeadStats describes one head of a layer of a prompt. Entropy, Sink, Distance and
// Learned are means over the reply's rows or, without a reply, over the recorded prompt
// rows.
type HeadStats struct {
	Entropy  float64 // bits, of a row's weights
	Sink     float64 // weight on the first SinkKeys positions
	Distance float64 // positions from the query back to the keys, weighted
	// Learned is the share of the head's learned sink; NaN: it has none.
	Learned float64
	// Retrieval is the score of [analysis.Copying]; NaN without a reply.
	Retrieval float64

	digest *head // nil without a reply
}

// Rates rates the head over all its reply rows, one result for each of cfg.Settings
// whose window its spec holds. Without a reply, there are no rates. A theta below
// [LeastTheta] is an error. So are cfg.Exact and cfg.Generation "mean", which need the
// weights.
func (st *HeadStats) Rates(cfg analysis.HitRateConfig) ([]analysis.HeadRate, error) {
	if st.digest == nil {
		return nil, nil
	}
	return st.digest.ratesOf(cfg)
}

// Bytes returns the memory that the statistics hold.
func (st *HeadStats) Bytes() int {
	if st.digest == nil {
		return 128
	}
	return 128 + st.digest.bytes()
}

// Copying prepares the retrieval scores of a prompt. It returns nil if there is no
// reply or if the dump lacks the ids of some tokens.
func Copying(p *dumps.Prompt) *analysis.Copying {
	if p.ReplyTokens == 0 || len(p.Tokens) != p.PromptTokens+p.ReplyTokens {
		return nil
	}
	return analysis.NewCopying(p.Tokens[:p.PromptTokens], p.Tokens[p.PromptTokens:])
}

// A reading says how the heads of a layer are read: one head per worker, in strips of
// rows. With fewer rows per strip, the keys are read too often; more rows do not fit
// into a processor's cache.
type reading struct{ workers, rows int }

const (
	readingBytes   = 72 << 20 // of weights that all workers hold at once
	leastStripRows = 14
	mostStripRows  = 48
)

func readingOf(h *dumps.Header, p *dumps.Prompt) reading {
	row := 4 * (p.PromptTokens + p.ReplyTokens)
	workers := max(1, min(len(h.Plan.Heads), runtime.GOMAXPROCS(0), readingBytes/(leastStripRows*row)))
	return reading{workers, max(1, min(mostStripRows, readingBytes/(workers*row)))}
}

// StatsBytes estimates the memory for computing the statistics of a layer, including
// the open layer.
func StatsBytes(h *dumps.Header, p *dumps.Prompt, layer int) int {
	r := readingOf(h, p)
	return LayerBytes(h, p, layer) + r.workers*r.rows*4*(p.PromptTokens+p.ReplyTokens)
}

// strips holds the buffers into which rows are read.
var strips spare.Slices[float32]

// Stats computes the statistics of all recorded heads, in their order. copying may
// be nil.
func (r *LayerRows) Stats(spec Spec, copying *analysis.Copying) ([]HeadStats, error) {
	reading := readingOf(r.dump.Header(), r.Prompt)
	rows := r.rowsFor(spec)
	out := make([]HeadStats, len(r.Heads))
	err := parallel.TryLimit(context.Background(), reading.workers, len(out), func(head int) error {
		strip := strips.Take(reading.rows * r.Keys)
		defer strips.Give(strip)
		var err error
		if out[head], err = r.headStats(strip, head, rows, spec, copying); err != nil {
			return err
		}
		out[head].Learned, err = r.meanSink(head)
		return err
	})
	return out, err
}

// meanSink returns the mean share of a head's learned sink in the rows that the measures
// are about, or NaN if it has none.
func (r *LayerRows) meanSink(head int) (float64, error) {
	shares, err := r.Sinks(head)
	if err != nil || shares == nil {
		return math.NaN(), err
	}
	shares = shares[r.Rows-ReaderRows(r.Prompt):]
	sum := 0.0
	for _, v := range shares {
		sum += float64(v)
	}
	return sum / float64(len(shares)), nil
}

// rowsFor lists the rows from which votes and measures are computed: the rows of the
// longest window and of the reply or, without a reply, all recorded rows. A draft
// takes some of them, evenly spread.
func (r *LayerRows) rowsFor(spec Spec) []int {
	from := r.Rows - ReaderRows(r.Prompt)
	window := 0
	if r.Prompt.ReplyTokens > 0 {
		window = min(r.Prompt.WindowRows, slices.Max(spec.Windows))
	}
	voters := window
	if spec.Draft {
		voters = min(voters, draftRows)
	}
	readers := spec.Readers(r.Rows - from)
	list := make([]int, 0, voters+readers)
	for i := range voters {
		list = append(list, from-window+(i+1)*window/voters-1)
	}
	for i := range readers {
		list = append(list, from+(i+1)*(r.Rows-from)/readers-1)
	}
	return list
}

// headStats reads some rows of one head, as many at a time as strip holds.
func (r *LayerRows) headStats(
	strip []float32, head int, rows []int, spec Spec, copying *analysis.Copying,
) (st HeadStats, err error) {
	reply := r.Prompt.ReplyTokens > 0
	if reply {
		st.digest = newHead(r.Prompt, spec.Windows, LeastTheta, spec.Short)
	}
	attended := make([]int, r.Prompt.ReplyTokens) // by the row that predicts each reply token
	for i := range attended {
		attended[i] = -1
	}
	readers := 0
	for len(rows) > 0 {
		n := min(len(strip)/r.Keys, len(rows))
		if err := r.reader.PickRows(strip, head, rows[:n]); err != nil {
			return st, err
		}
		for i, row := range rows[:n] {
			weights := strip[i*r.Keys : (i+1)*r.Keys]
			position := r.First + row
			if at := row - r.Prompt.WindowRows + 1; at >= 0 && at < len(attended) {
				attended[at] = firstLargest(weights[:position+1])
			}
			if reply && row < r.Prompt.WindowRows {
				st.digest.addPrompt(r.Prompt.WindowRows-row, weights)
				continue
			}
			st.add(weights, position)
			readers++
			if reply {
				st.digest.addReply(weights)
			}
		}
		rows = rows[n:]
	}
	st.Retrieval = math.NaN()
	if copying != nil {
		st.Retrieval = copying.Score(attended)
	}
	st.Entropy /= float64(readers)
	st.Sink /= float64(readers)
	st.Distance /= float64(readers)
	if reply {
		st.digest.finish()
	}
	return st, nil
}

// add adds the row of the query at a position to the sums of the measures.
func (st *HeadStats) add(row []float32, position int) {
	row = row[:position+1]
	total, place, log := simd.RowSums(row)
	st.Entropy -= log
	st.Distance += float64(float64(position)*total) - place
	for _, w := range row[:min(SinkKeys, position+1)] {
		st.Sink += float64(w)
	}
}

// firstLargest returns the position of the largest weight, the first of equal ones.
func firstLargest(row []float32) int {
	const block = 1024
	at := 0
	largest := float32(-1)
	for from := 0; from < len(row); from += block {
		if v := simd.Max(row[from:min(from+block, len(row))]); v > largest {
			at = from
			largest = v
		}
	}
	for at < len(row)-1 && row[at] != largest {
		at++
	}
	return at
}
