package view

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/snapkv"
)

// methodRow is what a method keeps at one capacity, over the heads of a layer, or
// of all layers: columns of the same name in a table of analysis.Methods.
type methodRow struct {
	Method   string `json:"method"`
	Capacity int    `json:"capacity"`
	Mass     number `json:"mass"`
	Low      number `json:"mass_low"`
	High     number `json:"mass_high"`
	HitRate  number `json:"hit_rate"`
	Prompts  int    `json:"prompts"`
}

// keptCell sums what is kept over heads.
type keptCell struct {
	mass                     float64
	cells, hits, significant int
}

func (k *keptCell) add(o keptCell) {
	k.mass, k.cells, k.hits, k.significant = k.mass+o.mass, k.cells+o.cells, k.hits+o.hits, k.significant+o.significant
}

// methodKey names the cells of one method in one layer, a cell a capacity.
type methodKey struct {
	at         place
	method     string
	capacities string
	cfg        string
	theta      float64
}

// apiMethods gives what methods keep by capacity: of one layer, or with layer=all
// of all layers together, which is quick once each layer was asked for. p=all is
// the mean over prompts, with intervals. A method that the capture has not
// recorded enough for is left out, with the reason.
func (s *Server) apiMethods(r *http.Request) (any, error) {
	p := query(r)
	all := p.q.Get("layer") == "all"
	if all {
		p.q.Del("layer")
	}
	capacities := p.ints("capacity", []int{256}, 1, math.MaxInt32)
	p.q.Del("capacity")
	names := strings.Split(p.q.Get("methods"), ",")
	at, list, _ := s.several(p)
	prompts := s.captures[at.capture].Prompts()
	theta := p.float("theta", analysis.Paper.Thetas[0], leastTheta, 1)
	_, cfg := p.selection(&prompts[list[0]])
	if p.err != nil {
		return nil, p.err
	}
	layers := []int{at.layer}
	if all {
		layers = s.captures[at.capture].Header().Plan.Layers
	}
	kept := s.votesFor(at.capture, list, []int{cfg.Window})
	rows, leftOut := []methodRow{}, map[string]string{}
	for _, name := range names {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			return nil, err
		}
		byPrompt := make([][]keptCell, 0, len(list)) // [prompt][capacity]
		for _, at.prompt = range list {
			sum := make([]keptCell, len(capacities))
			for _, at.layer = range layers {
				if err := r.Context().Err(); err != nil {
					return nil, err
				}
				var cells []keptCell
				if cells, err = s.judge(context.WithoutCancel(r.Context()), at, m, cfg, kept, capacities, theta); err != nil {
					break
				}
				for i := range sum {
					sum[i].add(cells[i])
				}
			}
			if err != nil {
				break
			}
			byPrompt = append(byPrompt, sum)
		}
		if err != nil {
			leftOut[name] = err.Error()
			continue
		}
		for i, capacity := range capacities {
			var mass, rate []float64
			for _, sum := range byPrompt {
				mass = append(mass, sum[i].mass/float64(sum[i].cells))
				rate = append(rate, float64(sum[i].hits)/float64(sum[i].significant)) // of none: NaN
			}
			lo, hi := analysis.Interval(mass, analysis.Paper.Seed)
			rows = append(rows, methodRow{name, capacity, number(analysis.Mean(mass)), number(lo), number(hi), number(analysis.Mean(rate)), len(mass)})
		}
	}
	return map[string]any{"layers": layers, "rows": rows, "left_out": leftOut}, nil
}

// judge tells what a method keeps of a layer, at each capacity.
func (s *Server) judge(ctx context.Context, at place, m snapkv.Method, c snapkv.Config, votes votes, capacities []int, theta float64) ([]keptCell, error) {
	like := c
	like.Capacity = 0
	key := methodKey{at, m.Name, fmt.Sprint(capacities), fmt.Sprint(like), theta}
	return lookup(s.small, key, 0, func() ([]keptCell, int, error) {
		h, prompt := s.captures[at.capture].Header(), &s.captures[at.capture].Prompts()[at.prompt]
		if len(h.Plan.Heads) != h.Model.Heads {
			return nil, 0, fmt.Errorf("%d of %d heads were recorded; a selection needs all", len(h.Plan.Heads), h.Model.Heads)
		}
		prefix := prompt.PromptTokens - c.Window
		if prompt.ReplyTokens == 0 || prefix < 1 {
			return nil, 0, fmt.Errorf("prompt %q has no reply, or is not longer than the window", prompt.ID)
		}
		stats, err := s.stats(at, votes)
		if err != nil {
			return nil, 0, err
		}
		defer s.cache.last(at)
		out, configs, budgets := make([]keptCell, len(capacities)), make([]snapkv.Config, len(capacities)), make([]int, len(capacities))
		for i, capacity := range capacities {
			configs[i] = c
			configs[i].Capacity = capacity
			if err := configs[i].Check(); err != nil {
				return nil, 0, err
			}
			if budgets[i], err = s.budget(ctx, at, m, configs[i]); err != nil {
				return nil, 0, err
			}
		}
		step := together(h.Model, m, c)
		for first := 0; first < h.Model.Heads; first += step {
			l, err := s.layerOf(ctx, at, span{first, step}, m.Needs, c)
			if err != nil {
				return nil, 0, err
			}
			var scores [][]float64
			for i, c := range configs {
				if (scores == nil || m.ByCapacity) && m.Name != "full" && !c.Passthrough(prompt.PromptTokens) {
					if scores, err = m.Rank(l, c); err != nil {
						return nil, 0, err
					}
				}
				keep, err := m.Cut(scores, l, c, budgets[i])
				if err != nil {
					return nil, 0, err
				}
				for head, list := range snapkv.ByQueryHead(keep, step) {
					mass, hits, significant := stats[first+head].digest.Kept(list, prefix, theta)
					out[i].add(keptCell{mass, 1, hits, significant})
				}
			}
		}
		return out, 48 * len(out), nil
	})
}
