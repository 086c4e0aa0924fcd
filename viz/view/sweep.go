package view

import (
	"context"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
)

// sweepQuery asks for the hit rates of layers under several windows.
type sweepQuery struct {
	layerQuery
	rates analysis.HitRateConfig
}

func (s *Server) readSweep(p *params) sweepQuery {
	q := s.readLayers(p)
	return sweepQuery{q, s.readRates(p, q)}
}

// sweepAnswer holds the hit rates of a layer: those of [analysis.HitRates] by layer.
// For several prompts they are means.
type sweepAnswer struct {
	Layer int        `json:"layer"`
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

// layersSweep answers for one layer, or for several if the request lists them.
func (s *Server) layersSweep(ctx context.Context, q sweepQuery) (any, error) {
	return perLayer(ctx, q.layerQuery, func(at place) (sweepAnswer, error) { return s.sweepOf(ctx, at, q) })
}

// sweepOf rates a layer.
func (s *Server) sweepOf(ctx context.Context, at place, q sweepQuery) (sweepAnswer, error) {
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
		stats, err := s.stats(at, spec)
		if err != nil {
			return out, err
		}
		byWindow, err := digest.RatesByWindow(stats, q.rates)
		if err != nil {
			return out, err
		}
		for window, rates := range byWindow {
			prompts[window] = append(prompts[window], rates)
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
