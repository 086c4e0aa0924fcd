package view

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/analysis"
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
}

// statsKey names the statistics of a layer with the votes of some windows.
type statsKey struct {
	at      place
	windows string
}

// stats reads all heads of a layer, one in memory for each core. Other budgets,
// thetas and kernels follow from what is kept of it.
func (s *Server) stats(at place, windows []int) ([]headStats, error) {
	src, err := s.source(at)
	if err != nil {
		return nil, err
	}
	need := min(statsBytes, 4*src.rows*src.keys*len(src.heads))
	return lookup(s.cache, statsKey{at, fmt.Sprint(windows)}, need, func() ([]headStats, int, error) {
		s.heavy <- struct{}{}
		defer func() { <-s.heavy }()
		out, errs := make([]headStats, len(src.heads)), make([]error, len(src.heads))
		workers := max(1, min(len(out), runtime.GOMAXPROCS(0), statsBytes/(4*src.rows*src.keys+1)))
		var wg sync.WaitGroup
		next := make(chan int, len(out))
		for h := range out {
			next <- h
		}
		close(next)
		for range workers {
			wg.Go(func() {
				buf := make([]float32, src.rows*src.keys)
				for h := range next {
					out[h], errs[h] = src.stats(buf, h, windows)
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

// votesFor are the windows whose votes are kept for a request: beside the asked
// ones the powers of two, if the prompt is not so long that they fill the memory.
func (s *Server) votesFor(capture, prompt int, asked []int) []int {
	c := s.captures[capture]
	p := &c.Prompts()[prompt]
	list := slices.Clone(asked)
	if most := min(p.WindowRows, p.PromptTokens-1); 64*len(c.Header().Plan.Heads)*p.PromptTokens <= 16<<20 {
		for w := 8; w < most; w *= 2 {
			list = append(list, w)
		}
		list = append(list, most)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// statsBytes bounds the weights that all cores hold at once.
const statsBytes = 72 << 20

// stats reads one head into buf, [rows, keys], and describes it.
func (src *source) stats(buf []float32, head int, windows []int) (st headStats, err error) {
	if err := src.read(context.Background(), buf, head, 0, src.rows); err != nil {
		return st, err
	}
	from := src.promptRows
	if src.prompt.ReplyTokens == 0 {
		from = 0
	}
	for r := from; r < src.rows; r++ {
		src.describe(&st, buf[r*src.keys:], src.first+r)
	}
	n := float64(src.rows - from)
	st.entropy, st.sink, st.distance = st.entropy/n, st.sink/n, st.distance/n
	if src.prompt.ReplyTokens > 0 {
		st.digest, err = analysis.DigestHead(src.prompt, buf, src.promptRows, buf[src.promptRows*src.keys:], src.keys, windows, leastTheta)
	}
	return st, err
}

// rates are a head's; none where there is no reply.
func (st *headStats) rates(cfg analysis.HitRateConfig) ([]analysis.HeadRate, error) {
	if st.digest == nil {
		return nil, nil
	}
	return st.digest.Rates(cfg)
}

// describe adds the row of the query at pos.
func (src *source) describe(st *headStats, row []float32, pos int) {
	for j, w := range row[:pos+1] {
		if w > 0 {
			v := float64(w)
			st.entropy -= v * math.Log2(v)
			st.distance += v * float64(pos-j)
			if j < sinkKeys {
				st.sink += v
			}
		}
	}
}

// headsAnswer holds the measures of a layer's heads, each [heads].
type headsAnswer struct {
	Layer    int                 `json:"layer"`
	Heads    []int               `json:"heads"`
	Measures map[string][]number `json:"measures"`
}

func (s *Server) apiStats(r *http.Request) (any, error) {
	p := query(r)
	at, prompt := s.place(p)
	cfg := p.rates(prompt)
	if p.err != nil {
		return nil, p.err
	}
	if len(cfg.Windows) != 1 {
		return nil, fmt.Errorf("window=%q: want one", p.q.Get("window"))
	}
	list, err := s.stats(at, s.votesFor(at.capture, at.prompt, cfg.Windows))
	if err != nil {
		return nil, err
	}
	out := headsAnswer{at.layer, s.captures[at.capture].Header().Plan.Heads, map[string][]number{}}
	put := func(name string, v float64) { out.Measures[name] = append(out.Measures[name], number(v)) }
	for _, h := range list {
		rates, err := h.rates(cfg)
		if err != nil {
			return nil, err
		}
		rate := analysis.JoinRates(rates)
		put("hit_rate", rate.HitRate)
		put("mass", rate.Mass)
		put("overlap", rate.Overlap)
		put("recent", rate.Recent)
		put("sinks_recent", rate.SinksRecent)
		put("oracle", rate.Oracle)
		put("entropy", h.entropy)
		put("sink", h.sink)
		put("distance", h.distance)
	}
	return out, nil
}
