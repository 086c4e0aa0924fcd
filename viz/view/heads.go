package view

import (
	"context"
	"net/http"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
)

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
	// Draft says that only some rows were looked at, Rows how many the measures are
	// means over, Of how many there are: of the replies, or where there are none, of
	// the prompts' recorded rows.
	Draft bool `json:"draft"`
	Rows  int  `json:"rows"`
	Of    int  `json:"of"`
}

// apiStats gives the measures of one layer, or of all in layers, as a list. With
// draft=1 it may answer with a draft where the whole takes long.
func (s *Server) apiStats(r *http.Request) (any, error) {
	p := query(r)
	at, list, cfg := s.several(p)
	hasty := p.int("draft", 0, 0, 1) == 1
	if p.err == nil && len(cfg.Windows) != 1 {
		p.fail("window", "one")
	}
	return s.byLayer(r.Context(), p, at, func(ctx context.Context, at place) (any, error) {
		return s.layerStats(ctx, at, list, cfg, hasty)
	})
}

// byLayer answers for one layer, or for all in layers, as a list.
func (s *Server) byLayer(ctx context.Context, p *params, at place, answer func(context.Context, place) (any, error)) (any, error) {
	layers := p.layers(s.captures[at.capture].Header().Plan.Layers)
	if p.err != nil {
		return nil, p.err
	}
	if layers == nil {
		return answer(ctx, at)
	}
	out := make([]any, len(layers))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range layers {
		work.Go(func() (err error) {
			out[i], err = answer(ctx, place{at.capture, at.prompt, layers[i]})
			return err
		})
	}
	return out, work.Wait()
}

// layerStats measures the heads of a layer over some prompts.
func (s *Server) layerStats(ctx context.Context, at place, list []int, cfg analysis.HitRateConfig, hasty bool) (*headsAnswer, error) {
	heads := s.captures[at.capture].Header().Plan.Heads
	values := make([]map[string][]float64, len(heads)) // by head and measure, over prompts
	for h := range values {
		values[h] = map[string][]float64{}
	}
	out := &headsAnswer{Layer: at.layer, Heads: heads, Prompts: len(list), Measures: map[string][]number{}}
	kept := s.specFor(at.capture, list, cfg.Windows)
	draft, worth := kept.Drafted(s.prompts(at.capture, list), s.heads(at.capture), cfg.Windows, s.draftWeights)
	for _, at.prompt = range list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		look := kept
		if hasty && worth {
			if !s.hasStats(at, kept) {
				look, out.Draft = draft, true
			}
		}
		stats, err := s.stats(at, look)
		if err != nil {
			return nil, err
		}
		p := &s.captures[at.capture].Prompts()[at.prompt]
		out.Of += digest.ReaderRows(p)
		out.Rows += look.Readers(digest.ReaderRows(p))
		for h := range stats {
			if err := headMeasures(&stats[h], cfg, values[h]); err != nil {
				return nil, err
			}
		}
	}
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
func headMeasures(st *digest.HeadStats, cfg analysis.HitRateConfig, to map[string][]float64) error {
	rates, err := st.Rates(cfg)
	if err != nil {
		return err
	}
	rate := digest.JoinHeads(rates)
	for name, v := range map[string]float64{
		"hit_rate": rate.HitRate, "mass": rate.Mass, "overlap": rate.Overlap, "recent": rate.Recent, "sinks_recent": rate.SinksRecent,
		"oracle": rate.Oracle, "entropy": st.Entropy, "sink": st.Sink, "distance": st.Distance, "retrieval": st.Retrieval,
	} {
		to[name] = append(to[name], v)
	}
	return nil
}
