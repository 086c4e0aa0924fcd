package view

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/internal/simd"
)

// sinkKeys are the first positions, which soak up attention in most heads.
const sinkKeys = 4

// leastTheta is the smallest theta that hit rates are offered for.
const leastTheta = 1e-3

// headStats describe one head of one layer and prompt. Entropy, sink mass and
// distance are means over the reply's rows; where there is no reply, over the
// recorded prompt rows, and there is no digest.
type headStats struct {
	digest   *digest.Head
	entropy  float64 // bits: of a row's weights
	sink     float64 // weight on the first sinkKeys positions
	distance float64 // mean positions back, weighted
	// retrieval is [analysis.Copying]'s score; NaN without a reply.
	retrieval float64
}

// statsKey names the statistics of a layer with some votes.
type statsKey struct {
	at    place
	votes string
}

func keyOf(at place, v votes) statsKey { return statsKey{at, fmt.Sprint(v)} }

// stats reads all heads of a layer, one at a time on each core. Other budgets,
// thetas and kernels follow from what is kept of it.
func (s *Server) stats(at place, v votes) ([]headStats, error) {
	p := &s.captures[at.capture].Prompts()[at.prompt]
	row := 4 * (p.PromptTokens + p.ReplyTokens)
	workers := max(1, min(len(s.captures[at.capture].Header().Plan.Heads), runtime.GOMAXPROCS(0), statsBytes/(leastRows*row)))
	strip := max(1, min(statsRows, statsBytes/(workers*row)))
	need := s.sourceBytes(at) + workers*strip*row
	return lookup(s.cache, keyOf(at, v), max(0, need-heavyBytes), func() ([]headStats, int, error) {
		defer s.build(need)()
		src, done, err := s.passing(at)
		if err != nil {
			return nil, 0, err
		}
		defer done()
		copying, err := s.copying(at)
		if err != nil {
			return nil, 0, err
		}
		out, errs := make([]headStats, len(src.heads)), make([]error, len(src.heads))
		var wg sync.WaitGroup
		var next atomic.Int64
		for range workers {
			wg.Go(func() {
				buf := s.rows.Take(strip * src.keys)
				defer s.rows.Give(buf)
				for h := int(next.Add(1) - 1); h < len(out); h = int(next.Add(1) - 1) {
					out[h], errs[h] = src.stats(buf, h, v, copying)
				}
			})
		}
		wg.Wait()
		bytes := 0
		for h, err := range errs {
			if err != nil {
				return nil, 0, err
			}
			bytes += 128
			if out[h].digest != nil {
				bytes += out[h].digest.Bytes()
			}
		}
		return out, bytes, nil
	})
}

// copying is made once for all layers of a prompt; nil without a reply, or without
// tokens.
func (s *Server) copying(at place) (*analysis.Copying, error) {
	p := &s.captures[at.capture].Prompts()[at.prompt]
	if p.ReplyTokens == 0 || len(p.Tokens) != p.PromptTokens+p.ReplyTokens {
		return nil, nil
	}
	type key struct{ capture, prompt int }
	return lookup(s.small, key{at.capture, at.prompt}, 0, func() (*analysis.Copying, int, error) {
		return analysis.NewCopying(p.Tokens[:p.PromptTokens], p.Tokens[p.PromptTokens:]), p.ReplyTokens, nil
	})
}

// statsBytes bounds the weights that all cores hold at once. leastRows to statsRows
// rows of a head are read together: of fewer the keys are gone through too often,
// more do not fit in a processor's cache.
const (
	statsBytes = 72 << 20
	leastRows  = 14
	statsRows  = 48
)

// stats reads one head, as many rows at a time as buf holds, and describes it.
func (src *source) stats(buf []float32, head int, v votes, copying *analysis.Copying) (st headStats, err error) {
	reply := src.prompt.ReplyTokens > 0
	if reply {
		st.digest = digest.NewHead(src.prompt, v.windows, leastTheta, v.short)
	}
	best := make([]int, src.prompt.ReplyTokens) // where the row looks that gives out a reply token
	for i := range best {
		best[i] = -1
	}
	rows, described := src.rowsFor(v), 0
	for strip := len(buf) / src.keys; len(rows) > 0; {
		n := min(strip, len(rows))
		if err := src.l.Pick(buf, head, rows[:n]); err != nil {
			return st, err
		}
		for i, r := range rows[:n] {
			w := buf[i*src.keys : (i+1)*src.keys]
			if at := r - src.promptRows + 1; at >= 0 && at < len(best) {
				best[at] = most(w[:src.first+r+1])
			}
			if reply && r < src.promptRows {
				st.digest.AddPrompt(src.promptRows-r, w)
				continue
			}
			st.describe(w, src.first+r)
			described++
			if reply {
				st.digest.AddReply(w)
			}
		}
		rows = rows[n:]
	}
	st.retrieval = math.NaN()
	if copying != nil {
		st.retrieval = copying.Score(best)
	}
	n := float64(described)
	st.entropy, st.sink, st.distance = st.entropy/n, st.sink/n, st.distance/n
	if reply {
		st.digest.Finish()
	}
	return st, nil
}

// rowsFor lists the rows that votes and measures are made of: those of the longest
// window and of the reply; where there is none, all that were recorded. A draft
// takes some of them, evenly spread.
func (src *source) rowsFor(v votes) []int {
	from, window := src.rows-rowsDescribed(src.prompt), 0
	if src.prompt.ReplyTokens > 0 {
		window = min(src.promptRows, slices.Max(v.windows))
	}
	voters, readers := window, v.readers(src.rows-from)
	if v.draft {
		voters = min(voters, draftVoters)
	}
	list := make([]int, 0, voters+readers)
	for i := range voters {
		list = append(list, from-window+(i+1)*window/voters-1)
	}
	for i := range readers {
		list = append(list, from+(i+1)*(src.rows-from)/readers-1)
	}
	return list
}

// rates are a head's; none where there is no reply.
func (st *headStats) rates(cfg analysis.HitRateConfig) ([]analysis.HeadRate, error) {
	if st.digest == nil {
		return nil, nil
	}
	return st.digest.Rates(cfg)
}

// most is the first of the largest.
func most(row []float32) int {
	const step = 1024
	best, top := 0, float32(-1)
	for from := 0; from < len(row); from += step {
		if m := simd.Max(row[from:min(from+step, len(row))]); m > top {
			best, top = from, m
		}
	}
	for best < len(row)-1 && row[best] != top {
		best++
	}
	return best
}

// describe adds the row of the query at pos.
func (st *headStats) describe(row []float32, pos int) {
	row = row[:pos+1]
	total, place, log := simd.RowSums(row)
	st.entropy -= log
	st.distance += float64(pos)*total - place
	for _, w := range row[:min(sinkKeys, pos+1)] {
		st.sink += float64(w)
	}
}
