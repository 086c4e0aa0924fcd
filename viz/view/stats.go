package view

import (
	"context"
	"math"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/internal/parallel"
)

// statsQuery asks for the measures of the heads of layers.
type statsQuery struct {
	layerQuery
	rates analysis.HitRateConfig
	draft bool // a draft is enough if the whole takes long
}

func (s *Server) readStats(p *params) statsQuery {
	q := s.readLayers(p)
	rates := s.readRates(p, q)
	if len(rates.Windows) != 1 {
		p.fail("window", "one number")
	}
	return statsQuery{q, rates, p.flag("draft")}
}

// statsAnswer holds the measures of a layer's heads, each [heads]. For several
// prompts the measures are means over the prompts for which they are defined, and Low
// and High are their 95 % bootstrap intervals.
type statsAnswer struct {
	Layer    int                 `json:"layer"`
	Heads    []int               `json:"heads"`
	Prompts  int                 `json:"prompts"`
	Measures map[string][]number `json:"measures"`
	Low      map[string][]number `json:"low,omitempty"`
	High     map[string][]number `json:"high,omitempty"`
	// Significant and Hits are the counts that the hit rates rest on, sums over the
	// prompts.
	Significant []int `json:"significant"`
	Hits        []int `json:"hits"`
	// Draft is true if only some rows were read. The measures are then means over
	// Rows out of Of rows: the rows of the replies or, without replies, the recorded
	// rows of the prompts.
	Draft bool `json:"draft"`
	Rows  int  `json:"rows"`
	Of    int  `json:"of"`
}

// layersStats answers for one layer, or for several if the request lists them.
func (s *Server) layersStats(ctx context.Context, q statsQuery) (any, error) {
	return perLayer(ctx, q.layerQuery, func(at place) (*statsAnswer, error) { return s.statsOf(ctx, at, q) })
}

// perLayer answers for the layer of q, or for its layers if it lists them.
func perLayer[A any](ctx context.Context, q layerQuery, answer func(at place) (A, error)) (any, error) {
	if q.layers == nil {
		return answer(q.at)
	}
	out := make([]A, len(q.layers))
	err := parallel.Try(ctx, len(out), func(i int) error {
		var err error
		out[i], err = answer(place{q.at.capture, q.at.prompt, q.layers[i]})
		return err
	})
	return out, err
}

// statsOf measures the heads of a layer.
func (s *Server) statsOf(ctx context.Context, at place, q statsQuery) (*statsAnswer, error) {
	out := &statsAnswer{Layer: at.layer, Heads: s.header(at).HeadsOf(at.layer), Prompts: len(q.prompts)}
	values := make([]map[string][]float64, len(out.Heads)) // by head and measure, over prompts
	for h := range values {
		values[h] = map[string][]float64{}
	}
	out.Significant = make([]int, len(out.Heads))
	out.Hits = make([]int, len(out.Heads))
	whole := s.specFor(at.capture, q.prompts, q.rates.Windows)
	prompts := s.prompts(at.capture, q.prompts)
	draft, worth := whole.Drafted(prompts, s.heads(at.capture), q.rates.Windows, s.draftWeights)
	for _, prompt := range q.prompts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := place{at.capture, prompt, at.layer}
		spec := whole
		if q.draft && worth && !s.hasStats(at, whole) {
			spec = draft
			out.Draft = true
		}
		stats, err := s.stats(at, spec)
		if err != nil {
			return nil, err
		}
		rows := digest.ReaderRows(s.prompt(at))
		out.Of += rows
		out.Rows += spec.Readers(rows)
		for h := range stats {
			rate, err := addMeasures(values[h], &stats[h], q.rates)
			if err != nil {
				return nil, err
			}
			out.Significant[h] += rate.Significant
			out.Hits[h] += rate.Hits
		}
	}
	out.average(values, q.rates.Seed)
	return out, nil
}

// addMeasures appends the measures of a head, by name, and returns its rates.
func addMeasures(
	to map[string][]float64, st *digest.HeadStats, cfg analysis.HitRateConfig,
) (digest.Rates, error) {
	rates, err := st.Rates(cfg)
	if err != nil {
		return digest.Rates{}, err
	}
	rate := digest.JoinHeads(rates)
	for name, v := range map[string]float64{
		"hit_rate":     rate.HitRate,
		"mass":         rate.Mass,
		"overlap":      rate.Overlap,
		"recent":       rate.Recent,
		"sinks_recent": rate.SinksRecent,
		"oracle":       rate.Oracle,
		"entropy":      st.Entropy,
		"sink":         st.Sink,
		"distance":     st.Distance,
		"retrieval":    st.Retrieval,
	} {
		to[name] = append(to[name], v)
	}
	if !math.IsNaN(st.Learned) {
		to["learned_sink"] = append(to["learned_sink"], st.Learned)
	}
	return rate, nil
}

// average sets the measures from their values, by head and measure, over prompts.
func (a *statsAnswer) average(values []map[string][]float64, seed uint64) {
	a.Measures = map[string][]number{}
	several := a.Prompts > 1
	if several {
		a.Low = map[string][]number{}
		a.High = map[string][]number{}
	}
	for _, byName := range values {
		for name, x := range byName {
			a.Measures[name] = append(a.Measures[name], number(analysis.Mean(x)))
			if several {
				lo, hi := analysis.Interval(x, seed)
				a.Low[name] = append(a.Low[name], number(lo))
				a.High[name] = append(a.High[name], number(hi))
			}
		}
	}
}
