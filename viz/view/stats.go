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
	// retrieval is [analysis.Retrieval]; NaN without a reply.
	retrieval float64
}

// statsKey names the statistics of a layer with the votes of some windows.
type statsKey struct {
	at      place
	windows string
}

// stats reads all heads of a layer, one in memory for each core. Other budgets,
// thetas and kernels follow from what is kept of it.
func (s *Server) stats(at place, windows []int) ([]headStats, error) {
	p := &s.captures[at.capture].Prompts()[at.prompt]
	need := min(statsBytes, 4*runtime.GOMAXPROCS(0)*(p.WindowRows+p.ReplyTokens)*(p.PromptTokens+p.ReplyTokens))
	return lookup(s.cache, statsKey{at, fmt.Sprint(windows)}, need, func() ([]headStats, int, error) {
		s.heavy <- struct{}{} // before the source: of a large layer there is one at a time
		defer func() { <-s.heavy }()
		src, err := s.source(at)
		if err != nil {
			return nil, 0, err
		}
		defer s.cache.last(at)
		size := (src.rows - src.needed(windows)) * src.keys
		out, errs := make([]headStats, len(src.heads)), make([]error, len(src.heads))
		workers := max(1, min(len(out), runtime.GOMAXPROCS(0), statsBytes/(4*size+1)))
		var wg sync.WaitGroup
		next := make(chan int, len(out))
		for h := range out {
			next <- h
		}
		close(next)
		for range workers {
			wg.Go(func() {
				buf := make([]float32, size)
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
// ones the powers of two, if those of all layers leave half of the memory free.
func (s *Server) votesFor(capture, prompt int, asked []int) []int {
	c := s.captures[capture]
	p := &c.Prompts()[prompt]
	list := slices.Clone(asked)
	if most := min(p.WindowRows, p.PromptTokens-1); 64*len(c.Header().Plan.Heads)*len(c.Header().Plan.Layers)*p.PromptTokens <= s.cache.limit/2 {
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

// needed is the first row that statistics with some windows look at.
func (src *source) needed(windows []int) int {
	if src.prompt.ReplyTokens == 0 {
		return 0
	}
	return max(0, src.promptRows-slices.Max(windows))
}

// stats reads one head into buf, [rows from the first needed one, keys], and
// describes it.
func (src *source) stats(buf []float32, head int, windows []int) (st headStats, err error) {
	row0 := src.needed(windows)
	if err := src.read(context.Background(), buf, head, row0, src.rows-row0); err != nil {
		return st, err
	}
	from := src.promptRows
	if src.prompt.ReplyTokens == 0 {
		from = 0
	}
	best := make([]int, src.rows-from)
	for r := from; r < src.rows; r++ {
		best[r-from] = src.describe(&st, buf[(r-row0)*src.keys:], src.first+r)
	}
	st.retrieval = math.NaN()
	if tokens := src.prompt.Tokens; src.prompt.ReplyTokens > 0 && len(tokens) == src.keys {
		last := -1 // of the prompt: it gives out the first reply token
		if from > row0 {
			last = most(buf[(from-1-row0)*src.keys:][:src.prefillKeys])
		}
		st.retrieval = analysis.Retrieval(append([]int{last}, best[:len(best)-1]...), tokens[:src.prefillKeys], tokens[src.prefillKeys:])
	}
	n := float64(src.rows - from)
	st.entropy, st.sink, st.distance = st.entropy/n, st.sink/n, st.distance/n
	if src.prompt.ReplyTokens > 0 {
		st.digest, err = analysis.DigestHead(src.prompt, buf, src.promptRows-row0, buf[(src.promptRows-row0)*src.keys:], src.keys, windows, leastTheta)
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

// most is the first of the largest.
func most(row []float32) int {
	best := 0
	for j, w := range row {
		if w > row[best] {
			best = j
		}
	}
	return best
}

// describe adds the row of the query at pos, and returns the key of its largest weight. The logarithms come from a table: the
// entropy is off by less than 2e-4 bits.
func (src *source) describe(st *headStats, row []float32, pos int) (best int) {
	var entropy, total, place float64
	for j, w := range row[:pos+1] {
		u := math.Float32bits(w)
		v := float64(w)
		entropy -= v * float64(log2Exponent[u>>23&255]+log2Mantissa[u>>11&4095])
		total += v
		place += v * float64(j)
		if w > row[best] {
			best = j
		}
	}
	st.entropy += entropy
	st.distance += float64(pos)*total - place
	for _, w := range row[:min(sinkKeys, pos+1)] {
		st.sink += float64(w)
	}
	return best
}

// log2 of a positive float32 is that of its exponent and that of its mantissa,
// here in the middle of 4,096 steps.
var log2Exponent, log2Mantissa = func() (e [256]float32, m [4096]float32) {
	for i := range e {
		e[i] = float32(i - 127)
	}
	for i := range m {
		m[i] = float32(math.Log2(1 + (float64(i)+0.5)/4096))
	}
	return e, m
}()

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
	for _, at.prompt = range list {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		stats, err := s.stats(at, s.votesFor(at.capture, at.prompt, cfg.Windows))
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
