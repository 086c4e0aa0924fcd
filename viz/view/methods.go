package view

import (
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
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
	theta := p.float("theta", analysis.Paper.Thetas[0], digest.LeastTheta, 1)
	_, cfg := p.selection(&prompts[list[0]])
	if p.err != nil {
		return nil, p.err
	}
	layers := []int{at.layer}
	if all {
		layers = s.captures[at.capture].Header().Plan.Layers
	}
	var methods []snapkv.Method
	for _, name := range names {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			return nil, err
		}
		methods = append(methods, m)
	}
	j := jury{s, s.specFor(at.capture, list, []int{cfg.Window}), cfg, capacities, thetasFor(theta)}
	sums, failed, err := j.prompts(r.Context(), at.capture, list, layers, methods)
	if err != nil {
		return nil, err
	}
	rows, leftOut := []methodRow{}, map[string]string{}
	which := slices.Index(j.thetas, theta)
	for m, name := range names {
		if failed[m] != nil {
			leftOut[name] = failed[m].Error()
			continue
		}
		for i, capacity := range capacities {
			var mass, rate []float64
			for _, sum := range sums[m] {
				mass = append(mass, sum[i].mass/float64(sum[i].cells))
				rate = append(rate, float64(sum[i].hits[which])/float64(sum[i].significant[which])) // of none: NaN
			}
			lo, hi := analysis.Interval(mass, analysis.Paper.Seed)
			rows = append(rows, methodRow{name, capacity, number(analysis.Mean(mass)), number(lo), number(hi), number(analysis.Mean(rate)), len(mass)})
		}
	}
	return map[string]any{"layers": layers, "rows": rows, "left_out": leftOut}, nil
}
