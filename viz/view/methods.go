package view

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/snapkv"
)

// methodsQuery asks what methods keep of some layers together.
type methodsQuery struct {
	capture int
	prompts []int // indices
	layers  []int
	methods []snapkv.Method
	theta   float64
	config  digest.KeptConfig
	spec    digest.Spec
}

// readMethods reads methods and capacity, both lists, and how they select. With
// layer=all it asks for all layers, which is quick once each layer has been
// requested.
func (s *Server) readMethods(p *params) methodsQuery {
	all := p.values.Get("layer") == "all"
	if all {
		p.values.Del("layer")
	}
	at := s.readLayers(p)
	q := methodsQuery{
		capture: at.at.capture,
		prompts: at.prompts,
		layers:  []int{at.at.layer},
		methods: p.methods("methods"),
		theta:   p.float("theta", analysis.Paper.Thetas[0], digest.LeastTheta, 1),
	}
	if all {
		q.layers = s.header(at.at).Plan.Layers
	}
	capacities := p.ints("capacity", []int{256}, 1, math.MaxInt32)
	q.config = digest.KeptConfig{
		Config:     p.config(s.prompts(q.capture, q.prompts)[0], slices.Max(capacities)),
		Capacities: capacities,
		Thetas:     thetasWith(q.theta),
	}
	q.spec = s.specFor(q.capture, q.prompts, []int{q.config.Config.Window})
	return q
}

// sliderThetas are the stops of the page's slider. What methods keep is measured for
// all of them at once, so that another stop needs no second pass.
var sliderThetas = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5}

// thetasWith returns the stops, with theta before them if it is not one of them.
func thetasWith(theta float64) []float64 {
	if slices.Contains(sliderThetas, theta) {
		return sliderThetas
	}
	return append([]float64{theta}, sliderThetas...)
}

// methodsAnswer holds what methods keep by capacity, of all the layers together.
type methodsAnswer struct {
	Layers  []int             `json:"layers"`
	LeftOut map[string]string `json:"left_out"` // methods that cannot be measured, and why
	Rows    []methodRow       `json:"rows"`
}

// methodRow is what a method keeps at one capacity: the columns of the same names in
// a table of [analysis.Methods]. For several prompts they are means.
type methodRow struct {
	Method   string `json:"method"`
	Capacity int    `json:"capacity"`
	Mass     number `json:"mass"`
	Low      number `json:"mass_low"`
	High     number `json:"mass_high"`
	HitRate  number `json:"hit_rate"`
	Prompts  int    `json:"prompts"`
}

func (s *Server) methods(ctx context.Context, q methodsQuery) (methodsAnswer, error) {
	out := methodsAnswer{Layers: q.layers, LeftOut: map[string]string{}, Rows: []methodRow{}}
	byPrompt := make([][]digest.MethodKept, len(q.prompts)) // [prompt][method]
	for i, prompt := range q.prompts {
		var err error
		if byPrompt[i], err = s.keptOfPrompt(ctx, prompt, q); err != nil {
			return out, err
		}
	}
	theta := slices.Index(q.config.Thetas, q.theta)
	for m, method := range q.methods {
		var prompts [][]digest.Kept // [prompt][capacity]
		var failed error
		for i := range byPrompt {
			prompts = append(prompts, byPrompt[i][m].Kept)
			if failed == nil {
				failed = byPrompt[i][m].Err
			}
		}
		if failed != nil {
			out.LeftOut[method.Name] = failed.Error()
			continue
		}
		for i, capacity := range q.config.Capacities {
			out.Rows = append(out.Rows, methodRowOf(method.Name, capacity, prompts, i, theta))
		}
	}
	return out, nil
}

// methodRowOf averages what a method keeps, [prompt][capacity], at one capacity.
func methodRowOf(method string, capacity int, prompts [][]digest.Kept, index, theta int) methodRow {
	var mass, rate []float64
	for _, kept := range prompts {
		mass = append(mass, kept[index].MeanMass())
		rate = append(rate, kept[index].HitRate(theta))
	}
	lo, hi := analysis.Interval(mass, analysis.Paper.Seed)
	return methodRow{
		Method:   method,
		Capacity: capacity,
		Mass:     number(analysis.Mean(mass)),
		Low:      number(lo),
		High:     number(hi),
		HitRate:  number(analysis.Mean(rate)),
		Prompts:  len(mass),
	}
}

// keptOfPrompt sums what methods keep of a prompt over the layers, [method].
func (s *Server) keptOfPrompt(ctx context.Context, prompt int, q methodsQuery) ([]digest.MethodKept, error) {
	layers := make([][]digest.MethodKept, len(q.layers))
	for i, layer := range q.layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		layers[i] = s.keptOfLayer(context.WithoutCancel(ctx), place{q.capture, prompt, layer}, q)
	}
	return digest.SumLayers(layers), nil
}

// keptKey names what a method keeps of a layer in the cache.
type keptKey struct {
	at     place
	method string
	config string
}

// keptOfLayer measures methods on a layer, or takes the results from the cache.
func (s *Server) keptOfLayer(ctx context.Context, at place, q methodsQuery) []digest.MethodKept {
	out := make([]digest.MethodKept, len(q.methods))
	config := fmt.Sprint(q.config)
	var missing []int
	var todo []snapkv.Method
	for i, m := range q.methods {
		if kept, ok := s.results.peek(keptKey{at, m.Name, config}); ok {
			out[i] = kept.(digest.MethodKept)
			continue
		}
		missing = append(missing, i)
		todo = append(todo, m)
	}
	if len(todo) == 0 {
		return out
	}
	measured, err := s.measureMethods(ctx, at, todo, q)
	for n, i := range missing {
		if err != nil {
			out[i].Err = err
			continue
		}
		out[i] = measured[n]
		bytes := 64 + len(q.config.Capacities)*(64+16*len(q.config.Thetas))
		lookup(s.results, keptKey{at, todo[n].Name, config}, 0, func() (digest.MethodKept, int, error) {
			return measured[n], bytes, nil
		})
	}
	return out
}

// measureMethods measures methods on a layer. Their input is read once for all of
// them, and nothing else is read while they are measured.
func (s *Server) measureMethods(
	ctx context.Context, at place, methods []snapkv.Method, q methodsQuery,
) ([]digest.MethodKept, error) {
	if err := q.config.Check(s.header(at), s.prompt(at)); err != nil {
		return nil, err
	}
	stats, err := s.stats(at, q.spec)
	if err != nil {
		return nil, err
	}
	out := make([]digest.MethodKept, len(methods))
	var entries []digest.Entry
	var indices []int // of the entries among the methods
	for i, m := range methods {
		// Some budgets depend on all layers, so they are computed before this layer
		// is held.
		budgets, err := s.budgets(ctx, at, m, q.config)
		if err != nil {
			out[i].Err = err
			continue
		}
		entries = append(entries, digest.Entry{Method: m, Budgets: budgets})
		indices = append(indices, i)
	}
	defer s.reserve(workBytes)()
	layer, done, err := s.layerOnce(at)
	if err != nil {
		return nil, err
	}
	defer done()
	inputs := layer.Inputs(ctx, entries, q.config.Config.Window, stats)
	if inputs.Complete() {
		done()
	}
	kept, err := inputs.Kept(ctx, entries, q.config)
	if err != nil {
		return nil, err
	}
	for n, i := range indices {
		out[i] = kept[n]
	}
	return out, nil
}

// budgets returns the budget per head of a method at each capacity.
func (s *Server) budgets(ctx context.Context, at place, m snapkv.Method, c digest.KeptConfig) ([]int, error) {
	configs, err := c.Configs()
	if err != nil {
		return nil, err
	}
	list := make([]int, len(configs))
	for i, config := range configs {
		if list[i], err = s.budget(ctx, at, m, config); err != nil {
			return nil, err
		}
	}
	return list, nil
}
