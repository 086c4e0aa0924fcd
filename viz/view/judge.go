package view

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/snapkv"
)

// jury judges methods under one setting. Hit rates come for all thetas at once.
type jury struct {
	s          *Server
	spec       digest.Spec
	c          snapkv.Config // without a capacity
	capacities []int
	thetas     []float64
}

// thetaStops are those of the page's slider.
var thetaStops = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5}

// thetasFor are the stops, and theta if it is none of them.
func thetasFor(theta float64) []float64 {
	if slices.Contains(thetaStops, theta) {
		return thetaStops
	}
	return append([]float64{theta}, thetaStops...)
}

// keptCell sums what is kept over heads; hits and significant positions by theta.
type keptCell struct {
	mass              float64
	cells             int
	hits, significant []int
}

func (k *keptCell) add(o keptCell) {
	if k.hits == nil {
		k.hits, k.significant = make([]int, len(o.hits)), make([]int, len(o.hits))
	}
	k.mass, k.cells = k.mass+o.mass, k.cells+o.cells
	for i := range o.hits {
		k.hits[i], k.significant[i] = k.hits[i]+o.hits[i], k.significant[i]+o.significant[i]
	}
}

// verdict is what a method keeps, a cell a capacity, or why it cannot be judged.
type verdict struct {
	cells []keptCell
	err   error
}

// methodKey names the verdict on one method in one layer.
type methodKey struct {
	at     place
	method string
	jury   string
}

func (j *jury) key(at place, m snapkv.Method) methodKey {
	return methodKey{at, m.Name, fmt.Sprint(j.c, j.capacities, j.thetas)}
}

// prompts tells what methods keep of some layers together, [method][prompt][capacity],
// or why one cannot be judged.
func (j *jury) prompts(ctx context.Context, capture int, list, layers []int, methods []snapkv.Method) ([][][]keptCell, []error, error) {
	sums, errs := make([][][]keptCell, len(methods)), make([]error, len(methods))
	for m := range sums {
		sums[m] = make([][]keptCell, len(list))
	}
	for i, prompt := range list {
		byLayer := make([][][]keptCell, len(methods)) // [method][layer]
		for _, layer := range layers {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			cells, whys := j.judge(context.WithoutCancel(ctx), place{capture, prompt, layer}, methods)
			for m := range methods {
				errs[m] = cmp.Or(errs[m], whys[m])
				byLayer[m] = append(byLayer[m], cells[m])
			}
		}
		for m := range methods {
			if errs[m] == nil {
				sums[m][i] = total(byLayer[m], len(j.capacities))
			}
		}
	}
	return sums, errs, nil
}

// judge tells what methods keep of a layer, [method][capacity], or why one cannot be
// judged. What was judged before is kept.
func (j *jury) judge(ctx context.Context, at place, methods []snapkv.Method) ([][]keptCell, []error) {
	out, errs := make([][]keptCell, len(methods)), make([]error, len(methods))
	var missing []int
	for i, m := range methods {
		v, ok := j.s.results.peek(j.key(at, m))
		if !ok {
			missing = append(missing, i)
			continue
		}
		out[i], errs[i] = v.(verdict).cells, v.(verdict).err
	}
	if len(missing) == 0 {
		return out, errs
	}
	var todo []snapkv.Method
	for _, i := range missing {
		todo = append(todo, methods[i])
	}
	cells, whys := j.hear(ctx, at, todo)
	for n, i := range missing {
		out[i], errs[i] = cells[n], whys[n]
	}
	return out, errs
}

// hear judges methods that were not judged yet: what they look at is read once for
// all, and heads are gone through on all cores.
func (j *jury) hear(ctx context.Context, at place, methods []snapkv.Method) ([][]keptCell, []error) {
	out, errs := make([][]keptCell, len(methods)), make([]error, len(methods))
	fail := func(err error) ([][]keptCell, []error) {
		for i := range errs {
			errs[i] = err
		}
		return out, errs
	}
	configs, err := j.configs(at)
	if err != nil {
		return fail(err)
	}
	stats, err := j.s.stats(at, j.spec)
	if err != nil {
		return fail(err)
	}
	budgets := make([][]int, len(methods)) // before the layer is held: some look at all layers
	for m := range methods {
		for i := 0; i < len(configs) && errs[m] == nil; i++ {
			var n int
			n, errs[m] = j.s.budget(ctx, at, methods[m], configs[i])
			budgets[m] = append(budgets[m], n)
		}
	}
	d, err := j.s.desk(ctx, at, methods, j.c, stats)
	if err != nil {
		return fail(err)
	}
	defer d.close()
	model := j.s.captures[at.capture].Header().Model
	cells, whys := make([][][]keptCell, len(methods)), make([][]error, len(methods)) // [method][head]
	var work errgroup.Group
	work.SetLimit(d.workers())
	for m := range methods {
		cells[m], whys[m] = make([][]keptCell, model.Heads), make([]error, model.Heads)
		step := methods[m].ScopeWith(j.c.Group).Heads(model.Heads, model.KVHeads)
		for first := 0; first < model.Heads && errs[m] == nil; first += step {
			work.Go(func() error {
				whys[m][first] = j.heads(ctx, d, span{first, step}, methods[m], configs, budgets[m], stats, cells[m])
				return nil
			})
		}
	}
	work.Wait()
	for m := range methods {
		if errs[m] = cmp.Or(errs[m], cmp.Or(whys[m]...)); errs[m] == nil {
			out[m] = total(cells[m], len(configs))
		}
		lookup(j.s.results, j.key(at, methods[m]), 0, func() (verdict, int, error) {
			return verdict{out[m], errs[m]}, 64 + len(configs)*(64+16*len(j.thetas)), nil
		})
	}
	return out, errs
}

// configs are those of the capacities, for a prompt that can be judged.
func (j *jury) configs(at place) ([]snapkv.Config, error) {
	h, prompt := j.s.captures[at.capture].Header(), &j.s.captures[at.capture].Prompts()[at.prompt]
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, fmt.Errorf("%d of %d heads were recorded; a selection needs all", len(h.Plan.Heads), h.Model.Heads)
	}
	if prompt.ReplyTokens == 0 || prompt.PromptTokens <= j.c.Window {
		return nil, fmt.Errorf("prompt %q has no reply, or is not longer than the window", prompt.ID)
	}
	list := make([]snapkv.Config, len(j.capacities))
	for i, capacity := range j.capacities {
		list[i] = j.c
		list[i].Capacity = capacity
		if err := list[i].Check(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// total adds up parts, [part][capacity], in their order.
func total(parts [][]keptCell, capacities int) []keptCell {
	sum := make([]keptCell, capacities)
	for _, part := range parts {
		for i := range sum {
			sum[i].add(part[i])
		}
	}
	return sum
}

// heads judges a method on some heads: out[head][capacity].
func (j *jury) heads(ctx context.Context, d *desk, heads span, m snapkv.Method, configs []snapkv.Config, budgets []int, stats []digest.HeadStats, out [][]keptCell) error {
	l, err := d.layer(ctx, heads, m.Needs)
	if err != nil {
		return err
	}
	for h := range heads.n {
		out[heads.from+h] = make([]keptCell, len(configs))
	}
	var scores [][]float64
	for i, c := range configs {
		if (scores == nil || m.ByCapacity) && !m.KeepsAll(c, l.Len) {
			if scores, err = m.Rank(l, c); err != nil {
				return err
			}
		}
		keep, err := m.Cut(scores, l, c, budgets[i])
		if err != nil {
			return err
		}
		for h, list := range snapkv.ByQueryHead(keep, heads.n) {
			mass, hits, significant := stats[heads.from+h].Digest.Kept(list, l.Len-c.Window, j.thetas)
			out[heads.from+h][i] = keptCell{mass, 1, hits, significant}
		}
	}
	return nil
}
