package view

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/attnscope/attnscope/analysis"
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
	digest   *analysis.HeadDigest
	entropy  float64 // bits: of a row's weights
	sink     float64 // weight on the first sinkKeys positions
	distance float64 // mean positions back, weighted
	// retrieval is [analysis.Retrieval]; NaN without a reply.
	retrieval float64
}

// statsKey names the statistics of a layer with some votes.
type statsKey struct {
	at    place
	votes string
}

// stats reads all heads of a layer, one at a time on each core. Other budgets,
// thetas and kernels follow from what is kept of it.
func (s *Server) stats(at place, v votes) ([]headStats, error) {
	p := &s.captures[at.capture].Prompts()[at.prompt]
	row := 4 * (p.PromptTokens + p.ReplyTokens)
	workers := max(1, min(len(s.captures[at.capture].Header().Plan.Heads), runtime.GOMAXPROCS(0), statsBytes/(leastRows*row)))
	strip := max(1, min(statsRows, statsBytes/(workers*row)))
	need := workers * strip * row
	return lookup(s.cache, statsKey{at, fmt.Sprint(v)}, need, func() ([]headStats, int, error) {
		s.heavy <- struct{}{} // before the source: of a large layer there is one at a time
		defer func() { <-s.heavy }()
		src, err := s.source(at)
		if err != nil {
			return nil, 0, err
		}
		defer s.cache.last(at)
		out, errs := make([]headStats, len(src.heads)), make([]error, len(src.heads))
		var wg sync.WaitGroup
		var next atomic.Int64
		for range workers {
			wg.Go(func() {
				buf := make([]float32, strip*src.keys)
				for h := int(next.Add(1) - 1); h < len(out); h = int(next.Add(1) - 1) {
					out[h], errs[h] = src.stats(buf, h, v)
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

// votes says which windows' votes are kept, and whether in float32.
type votes struct {
	windows []int
	short   bool
}

// stops are the windows whose votes are kept of every layer of some prompts, so
// that moving from one to another reads nothing again: all of them where that is
// little, else as fine a ladder as fits, the powers of two of a long prompt in
// float32; none where there is no room for them.
func (s *Server) stops(capture int, prompts []int) votes {
	c, cells, most := s.captures[capture], 0, math.MaxInt
	for _, i := range prompts {
		p := &c.Prompts()[i]
		cells += p.PromptTokens
		most = min(most, p.WindowRows, p.PromptTokens-1)
	}
	cells *= len(c.Header().Plan.Heads) * len(c.Header().Plan.Layers)
	var all, fine, coarse []int
	power := func(n int) bool { return n&(n-1) == 0 }
	for w := 1; w < most; w++ {
		all = append(all, w)
		if power(w) || w >= 6 && w%3 == 0 && power(w/3) {
			fine = append(fine, w) // 1, 2, 4, 6, 8, 12, 16, 24, ...
		}
		if w >= 8 && power(w) {
			coarse = append(coarse, w)
		}
	}
	room := s.cache.limit / 8 * 7
	for _, v := range []struct {
		windows []int
		bytes   int // of a vote
		room    int
	}{{all, 8, room / 4}, {fine, 8, room}, {coarse, 8, room}, {coarse, 4, room}} {
		if list := append(v.windows, most); most > 0 && v.bytes*(len(list)+1)*cells <= v.room {
			return votes{list, v.bytes == 4}
		}
	}
	return votes{nil, true}
}

// votesFor are the votes that answer a request: all stops, or where it asks for
// another window, those it asks for.
func (s *Server) votesFor(capture int, prompts, asked []int) votes {
	stops := s.stops(capture, prompts)
	for _, w := range asked {
		if !slices.Contains(stops.windows, w) {
			return votes{slices.Sorted(slices.Values(asked)), stops.short}
		}
	}
	return stops
}

// statsBytes bounds the weights that all cores hold at once. leastRows to statsRows
// rows of a head are read together: of fewer the keys are gone through too often,
// more do not fit in a processor's cache.
const (
	statsBytes = 72 << 20
	leastRows  = 14
	statsRows  = 28
)

// stats reads one head, as many rows at a time as buf holds, and describes it.
func (src *source) stats(buf []float32, head int, v votes) (st headStats, err error) {
	reply := src.prompt.ReplyTokens > 0
	from, row := 0, 0
	if reply {
		st.digest = analysis.NewHeadDigest(src.prompt, v.windows, leastTheta, v.short)
		from, row = src.promptRows, max(0, src.promptRows-slices.Max(v.windows))
	}
	last := -1 // where the prompt's last row looks: it gives out the first reply token
	best := make([]int, 0, src.rows-from)
	for strip := len(buf) / src.keys; row < src.rows; row += strip {
		n := min(strip, src.rows-row)
		if err := src.read(context.Background(), buf, head, row, n); err != nil {
			return st, err
		}
		for i := range n {
			r, w := row+i, buf[i*src.keys:(i+1)*src.keys]
			if reply && r < src.promptRows {
				st.digest.AddPrompt(src.promptRows-r, w)
				if r == src.promptRows-1 {
					last = most(w[:src.prefillKeys])
				}
				continue
			}
			best = append(best, st.describe(w, src.first+r))
			if reply {
				st.digest.AddReply(w)
			}
		}
	}
	st.retrieval = math.NaN()
	if tokens := src.prompt.Tokens; reply && len(tokens) == src.keys {
		st.retrieval = analysis.Retrieval(append([]int{last}, best[:len(best)-1]...), tokens[:src.prefillKeys], tokens[src.prefillKeys:])
	}
	n := float64(src.rows - from)
	st.entropy, st.sink, st.distance = st.entropy/n, st.sink/n, st.distance/n
	if reply {
		st.digest.Finish()
	}
	return st, nil
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

// describe adds the row of the query at pos, and returns the key of its largest
// weight.
func (st *headStats) describe(row []float32, pos int) (best int) {
	row = row[:pos+1]
	total, place, log := simd.RowSums(row)
	st.entropy -= log
	st.distance += float64(pos)*total - place
	for _, w := range row[:min(sinkKeys, pos+1)] {
		st.sink += float64(w)
	}
	return most(row)
}

// headsAnswer holds the measures of a layer's heads, each [heads]. With p=all
// they are means over the prompts where they are defined, Low and High 95 %
// bootstrap intervals of them; of one prompt there are none.
type headsAnswer struct {
	Layer    int                 `json:"layer"`
	Heads    []int               `json:"heads"`
	Prompts  int                 `json:"prompts"`
	Measures map[string][]number `json:"measures"`
	Low      map[string][]number `json:"low,omitempty"`
	High     map[string][]number `json:"high,omitempty"`
}

func (s *Server) apiStats(r *http.Request) (any, error) {
	p := query(r)
	at, list, cfg := s.several(p)
	if p.err != nil {
		return nil, p.err
	}
	if len(cfg.Windows) != 1 {
		return nil, fmt.Errorf("window=%q: want one", p.q.Get("window"))
	}
	heads := s.captures[at.capture].Header().Plan.Heads
	values := make([]map[string][]float64, len(heads)) // by head and measure, over prompts
	for h := range values {
		values[h] = map[string][]float64{}
	}
	kept := s.votesFor(at.capture, list, cfg.Windows)
	for _, at.prompt = range list {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		stats, err := s.stats(at, kept)
		if err != nil {
			return nil, err
		}
		for h := range stats {
			if err := stats[h].measures(cfg, values[h]); err != nil {
				return nil, err
			}
		}
	}
	out := headsAnswer{Layer: at.layer, Heads: heads, Prompts: len(list), Measures: map[string][]number{}}
	if len(list) > 1 {
		out.Low, out.High = map[string][]number{}, map[string][]number{}
	}
	for _, byName := range values {
		for name, x := range byName {
			out.Measures[name] = append(out.Measures[name], number(analysis.Mean(x)))
			if out.Low != nil {
				lo, hi := analysis.Interval(x, cfg.Seed)
				out.Low[name], out.High[name] = append(out.Low[name], number(lo)), append(out.High[name], number(hi))
			}
		}
	}
	return out, nil
}

// several reads layer, and either one prompt or, with p=all, those that have a
// reply and are longer than the window; all if none is.
func (s *Server) several(p *params) (place, []int, analysis.HitRateConfig) {
	all := p.q.Get("p") == "all"
	if all {
		p.q.Set("p", "0")
	}
	at, prompt := s.place(p)
	prompts := s.captures[at.capture].Prompts()
	var list []int
	for i := range prompts {
		if all && prompts[i].ReplyTokens > 0 {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		list = []int{at.prompt}
	}
	for _, i := range list { // the shortest bounds the window
		if prompts[i].WindowRows < prompt.WindowRows {
			prompt = &prompts[i]
		}
	}
	return at, list, p.rates(prompt)
}

// measures appends a head's, by name.
func (st *headStats) measures(cfg analysis.HitRateConfig, to map[string][]float64) error {
	rates, err := st.rates(cfg)
	if err != nil {
		return err
	}
	rate := analysis.JoinRates(rates)
	for name, v := range map[string]float64{"hit_rate": rate.HitRate, "mass": rate.Mass, "overlap": rate.Overlap, "recent": rate.Recent, "sinks_recent": rate.SinksRecent,
		"oracle": rate.Oracle, "entropy": st.entropy, "sink": st.sink, "distance": st.distance, "retrieval": st.retrieval} {
		to[name] = append(to[name], v)
	}
	return nil
}
