package view

import (
	"context"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/internal/parallel"
)

// sweepQuery asks for the hit rates of layers under several windows.
type sweepQuery struct {
	layerQuery
	rates  analysis.HitRateConfig
	pooled bool // all layers together
}

// readSweep reads layers and rates. With layer=all it asks for one rate over all
// layers, which is quick once each layer has been requested.
func (s *Server) readSweep(p *params) sweepQuery {
	pooled := p.values.Get("layer") == "all"
	if pooled {
		p.values.Del("layer")
	}
	q := s.readLayers(p)
	return sweepQuery{q, s.readRates(p, q), pooled}
}

// sweepAnswer holds the hit rates of a layer, those of [analysis.HitRates] by layer, or
// the rates of all layers together, those without keys. For several prompts they are
// means.
type sweepAnswer struct {
	Layer int        `json:"layer"` // allLayers for all of them together
	Rows  []sweepRow `json:"rows"`
}

// sweepRow is the hit rate under one window, with baselines.
type sweepRow struct {
	Window      int    `json:"window"`
	Significant int    `json:"significant"`
	Hits        int    `json:"hits"`
	HitRate     number `json:"hit_rate"`
	Low         number `json:"ci_low"`
	High        number `json:"ci_high"`
	Chance      number `json:"chance"`
	Recent      number `json:"recent"`
	SinksRecent number `json:"sinks_recent"`
	Oracle      number `json:"oracle"`
	Overlap     number `json:"overlap"`
	Mass        number `json:"mass"`
	Prompts     int    `json:"prompts"`
}

// layersSweep answers for one layer, for several if the request lists them, or for all
// of them together.
func (s *Server) layersSweep(ctx context.Context, q sweepQuery) (any, error) {
	if q.pooled {
		return s.sweepOf(ctx, place{q.at.capture, q.at.prompt, allLayers}, s.header(q.at).Plan.Layers, q)
	}
	return perLayer(ctx, q.layerQuery, func(at place) (sweepAnswer, error) {
		return s.sweepOf(ctx, at, []int{at.layer}, q)
	})
}

// sweepOf rates some layers together.
func (s *Server) sweepOf(ctx context.Context, at place, layers []int, q sweepQuery) (sweepAnswer, error) {
	out := sweepAnswer{Layer: at.layer, Rows: []sweepRow{}}
	spec := s.specFor(at.capture, q.prompts, q.rates.Windows)
	prompts := map[int][]digest.Rates{} // by window
	for _, prompt := range q.prompts {
		at := place{at.capture, prompt, at.layer}
		if s.prompt(at).ReplyTokens == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
		byLayer := make([]map[int][]analysis.HeadRate, len(layers)) // by window
		err := parallel.Try(ctx, len(layers), func(i int) error {
			stats, err := s.stats(place{at.capture, at.prompt, layers[i]}, spec)
			if err != nil {
				return err
			}
			byLayer[i], err = digest.HeadRates(stats, q.rates)
			return err
		})
		if err != nil {
			return out, err
		}
		for window := range byLayer[0] {
			var heads []analysis.HeadRate
			for _, byWindow := range byLayer {
				heads = append(heads, byWindow[window]...)
			}
			prompts[window] = append(prompts[window], digest.JoinHeads(heads))
		}
	}
	for _, window := range q.rates.Windows {
		n := len(prompts[window])
		if n == 0 {
			continue
		}
		r := digest.MeanOverPrompts(prompts[window], q.rates.Seed)
		out.Rows = append(out.Rows, sweepRow{
			Window:      window,
			Significant: r.Significant,
			Hits:        r.Hits,
			HitRate:     number(r.HitRate),
			Low:         number(r.Low),
			High:        number(r.High),
			Chance:      number(r.Chance),
			Recent:      number(r.Recent),
			SinksRecent: number(r.SinksRecent),
			Oracle:      number(r.Oracle),
			Overlap:     number(r.Overlap),
			Mass:        number(r.Mass),
			Prompts:     n,
		})
	}
	return out, nil
}
