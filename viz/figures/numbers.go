package figures

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// layer computes the figure of a layer of a prompt: the vote of each head, the
// attention of each generated token, averaged over heads, and the positions where
// both are largest, averaged over heads.
func (d *heatmaps) layer(r *dumps.Reader, prompt, layer int) (viz.Layer, error) {
	p := &r.Prompts()[prompt]
	window := d.cfg.Window
	prefix := p.PromptTokens - window
	if prefix < 1 {
		return viz.Layer{}, fmt.Errorf("%s: prompt %q has %d tokens: window %d leaves no prefix",
			r.Path(), p.ID, p.PromptTokens, window)
	}
	source, err := r.LayerOf(prompt, layer)
	if err != nil {
		return viz.Layer{}, err
	}
	defer source.Release()
	rows, err := source.Weights(dumps.Prefill, p.WindowRows-window, window)
	if err != nil {
		return viz.Layer{}, err
	}
	reply, err := source.Weights(dumps.Decode, 0, p.ReplyTokens)
	if err != nil {
		return viz.Layer{}, err
	}
	vote := viz.NewGrid(rows.Heads, prefix)
	votes := make([]float64, prefix) // summed over heads
	for head := range rows.Heads {
		for j, v := range snapkv.Vote(rows.Head(head), rows.Rows, rows.Keys, window, prefix) {
			vote.Set(head, j, v/float64(window))
			votes[j] += v
		}
	}
	generated := viz.NewGrid(max(1, reply.Rows), prefix)
	attention := make([]float64, prefix) // summed over heads and reply rows
	for t := range reply.Rows {
		for j := range prefix {
			sum := 0.0
			for head := range reply.Heads {
				sum += float64(reply.Data[(head*reply.Rows+t)*reply.Keys+j])
			}
			generated.Set(t, j, sum/float64(reply.Heads))
			attention[j] += sum
		}
	}
	k := hitrate.Budget(d.cfg.Top, prefix)
	voted := snapkv.TopK(votes, k)
	attended := snapkv.TopK(attention, k)
	shared := float64(hitrate.Overlap(voted, attended)) / math.Max(1, float64(k))
	return viz.Layer{
		Title: fmt.Sprintf("%s, layer %d: prompt %s", r.Header().Model.ID, layer, p.ID),
		Caption: fmt.Sprintf("%d prompt tokens, %d reply tokens. Strip: the %d positions (%.3g %% of the prefix) with the largest vote "+
			"and generated attention, averaged over heads; %.0f %% are shared.",
			p.PromptTokens, p.ReplyTokens, k, 100*d.cfg.Top, 100*shared),
		Vote:      vote,
		Generated: generated,
		Voted:     marks(voted, prefix),
		Attended:  marks(attended, prefix),
		Window:    window,
	}, nil
}

// marks returns n flags that are true at the given positions.
func marks(positions []int32, n int) []bool {
	m := make([]bool, n)
	for _, j := range positions {
		m[j] = true
	}
	return m
}

// overview computes the figure of the recorded picture of a layer's whole map:
// the largest weight of each cell over heads.
func overview(r *dumps.Reader, prompt, layer int) (viz.Overview, error) {
	cells, side, err := r.Overview(prompt, layer) // [head, side, side]
	if err != nil {
		return viz.Overview{}, err
	}
	p := &r.Prompts()[prompt]
	g := viz.NewGrid(side, side)
	for i := range g.Values {
		g.Values[i] = 0
	}
	for i, v := range cells {
		at := i % (side * side)
		g.Values[at] = max(g.Values[at], float64(v))
	}
	return viz.Overview{
		Title: fmt.Sprintf("%s, layer %d: prompt %s, the whole map", r.Header().Model.ID, layer, p.ID),
		Caption: fmt.Sprintf("%d tokens in %d x %d cells. Each cell shows the largest weight of its queries and keys "+
			"over all heads.", p.PromptTokens, side, side),
		Map:    g,
		Tokens: p.PromptTokens,
	}, nil
}
