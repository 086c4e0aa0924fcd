package view

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"sync"

	"github.com/attnscope/attnscope/analysis"
)

// sinkKeys are the first positions, which soak up attention in most heads.
const sinkKeys = 4

// headStats describe one head of one layer and prompt. Entropy, sink mass and
// distance are means over the reply's rows; where there is no reply, over the
// window's rows, and the rates are undefined.
type headStats struct {
	rates    []analysis.HeadRate
	entropy  float64 // bits: of a row's weights
	sink     float64 // weight on the first sinkKeys positions
	distance float64 // mean positions back, weighted
}

// statsKey names the statistics of a layer under a setting.
type statsKey struct {
	at  place
	cfg string
}

// stats computes all heads of a layer, two rows' worth of weights in memory for
// each core.
func (s *Server) stats(ctx context.Context, at place, cfg analysis.HitRateConfig) ([]headStats, error) {
	src, err := s.source(at)
	if err != nil {
		return nil, err
	}
	return lookup(s.cache, statsKey{at, fmt.Sprint(cfg)}, func() ([]headStats, int, error) {
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
					out[h], errs[h] = src.stats(context.WithoutCancel(ctx), buf, h, cfg)
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return nil, 0, err
			}
		}
		return out, 1024 * len(out), nil
	})
}

// statsBytes bounds the weights that all cores hold at once.
const statsBytes = 96 << 20

// stats reads one head into buf, [rows, keys], and describes it.
func (src *source) stats(ctx context.Context, buf []float32, head int, cfg analysis.HitRateConfig) (st headStats, err error) {
	if err := src.read(ctx, buf, head, 0, src.rows); err != nil {
		return st, err
	}
	from := src.promptRows
	if src.prompt.ReplyTokens == 0 {
		from = max(0, src.promptRows-cfg.Windows[len(cfg.Windows)-1])
	}
	for r := from; r < src.rows; r++ {
		src.describe(&st, buf[r*src.keys:], src.first+r)
	}
	n := float64(src.rows - from)
	st.entropy, st.sink, st.distance = st.entropy/n, st.sink/n, st.distance/n
	if src.prompt.ReplyTokens == 0 {
		return st, nil
	}
	gen := buf[src.promptRows*src.keys:]
	for r := 1; r < src.promptRows; r++ { // [R, P+G] to [R, P], in place
		copy(buf[r*src.prefillKeys:], buf[r*src.keys:][:src.prefillKeys])
	}
	st.rates, err = analysis.RateHead(src.prompt, buf, src.promptRows, gen, cfg)
	return st, err
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
	list, err := s.stats(r.Context(), at, cfg)
	if err != nil {
		return nil, err
	}
	out := headsAnswer{at.layer, s.captures[at.capture].Header().Plan.Heads, map[string][]number{}}
	put := func(name string, v float64) { out.Measures[name] = append(out.Measures[name], number(v)) }
	for _, h := range list {
		rate := analysis.JoinRates(h.rates)
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
