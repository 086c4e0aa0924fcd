package figures

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/words"
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
		return viz.Layer{}, fmt.Errorf("%s: prompt %q has %s: window %d leaves no prefix",
			r.Path(), p.ID, words.Count(p.PromptTokens, "token"), window)
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
	voteSinks, generatedSinks, err := sinkShares(r, prompt, layer, window)
	if err != nil {
		return viz.Layer{}, err
	}
	sinkText := ""
	if voteSinks != nil {
		sinkText = " Last column: the share of the learned sinks, which are not positions."
	}
	k := hitrate.Budget(d.cfg.Top, prefix)
	voted := snapkv.TopK(votes, k)
	attended := snapkv.TopK(attention, k)
	shared := float64(hitrate.Overlap(voted, attended)) / math.Max(1, float64(k))
	return viz.Layer{
		Title: fmt.Sprintf("%s, layer %d: prompt %s", r.Header().Model.ID, layer, p.ID),
		Caption: fmt.Sprintf("%s, %s. Strip: the %s (%.3g %% of the prefix) with the largest vote "+
			"and generated attention, averaged over heads; %.0f %% are shared.%s",
			words.Count(p.PromptTokens, "prompt token"), words.Count(p.ReplyTokens, "reply token"),
			words.Count(k, "position"), 100*d.cfg.Top, 100*shared, sinkText),
		Vote:      vote,
		Generated: generated,
		Voted:     marks(voted, prefix),
		Attended:  marks(attended, prefix),
		Window:    window,

		VoteSinks:      voteSinks,
		GeneratedSinks: generatedSinks,
	}, nil
}

// sinkShares returns the shares of the learned sinks of a layer: of each head, averaged
// over the window, and of each row of the reply, averaged over heads. Both are nil if it
// has none.
func sinkShares(r *dumps.Reader, prompt, layer, window int) (vote, generated []float64, err error) {
	inPrompt, err := r.Sinks(prompt, layer, dumps.Prefill)
	if err != nil || inPrompt == nil {
		return nil, nil, err
	}
	inReply, err := r.Sinks(prompt, layer, dumps.Decode)
	if err != nil {
		return nil, nil, err
	}
	p := &r.Prompts()[prompt]
	heads := len(r.Header().HeadsOf(layer))
	vote = make([]float64, heads)
	generated = make([]float64, max(1, p.ReplyTokens))
	for h := range heads {
		for _, share := range inPrompt[(h+1)*p.WindowRows-window : (h+1)*p.WindowRows] {
			vote[h] += float64(share) / float64(window)
		}
		for t := range p.ReplyTokens {
			generated[t] += float64(inReply[h*p.ReplyTokens+t]) / float64(heads)
		}
	}
	return vote, generated, nil
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
		Caption: fmt.Sprintf("%s in %d x %d cells. Each cell shows the largest weight of its queries and keys "+
			"over all heads.", words.Count(p.PromptTokens, "token"), side, side),
		Map:    g,
		Tokens: p.PromptTokens,
	}, nil
}
