package view

import (
	"context"
	"net/http"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
)

// sweepRow is the hit rate of a layer under one window, with its baselines.
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

// apiSweep gives the hit rates of one layer, or of all in layers, by window: those of
// [analysis.HitRates] with --by layer. p=all is the mean over the capture's prompts;
// otherwise the prompt's.
func (s *Server) apiSweep(r *http.Request) (any, error) {
	p := query(r)
	at, list, cfg := s.several(p)
	return s.byLayer(r.Context(), p, at, func(ctx context.Context, at place) (any, error) {
		return s.layerSweep(ctx, at, list, cfg)
	})
}

// layerSweep rates a layer over some prompts.
func (s *Server) layerSweep(ctx context.Context, at place, list []int, cfg analysis.HitRateConfig) (any, error) {
	prompts := map[int][]digest.Rates{} // by window
	kept := s.specFor(at.capture, list, cfg.Windows)
	for _, i := range list {
		if s.captures[at.capture].Prompts()[i].ReplyTokens == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		heads, err := s.stats(place{at.capture, i, at.layer}, kept)
		if err != nil {
			return nil, err
		}
		byWindow := map[int][]analysis.HeadRate{}
		for _, h := range heads {
			rates, err := h.Rates(cfg)
			if err != nil {
				return nil, err
			}
			for _, rate := range rates {
				byWindow[rate.Window] = append(byWindow[rate.Window], rate)
			}
		}
		for w, rates := range byWindow {
			prompts[w] = append(prompts[w], digest.JoinHeads(rates))
		}
	}
	rows := []sweepRow{}
	for _, w := range cfg.Windows {
		if len(prompts[w]) == 0 {
			continue
		}
		m := digest.MeanOverPrompts(prompts[w], cfg.Seed)
		rows = append(rows, sweepRow{
			w, m.Significant, m.Hits, number(m.HitRate), number(m.Low), number(m.High), number(m.Chance),
			number(m.Recent), number(m.SinksRecent), number(m.Oracle), number(m.Overlap), number(m.Mass), len(prompts[w]),
		})
	}
	return map[string]any{"layer": at.layer, "rows": rows}, nil
}
