package dumps

import "fmt"

// Sinks writes the shares of the sinks in n rows of a layer, [heads, n], whose heads are
// those of Header.HeadsOf. row0 counts from the first recorded row of the phase. Every
// layer with sinks needs them, in both forms.
func (p *PromptWriter) Sinks(layer int, ph Phase, row0, n int, shares []float32) error {
	return p.send(record{
		Kind: kindSinks, Phase: ph, Layer: uint32(layer), NH: uint32(len(p.w.header.HeadsOf(layer))),
		Row0: uint32(row0), Rows: uint32(n), Keys: 1,
	}, shares, float32Bits)
}

// SinkSums writes the shares of the sinks of a layer summed over queries, [heads, 1 +
// windows]: over all queries of the prompt, and over those of each query window. The
// first is 0 if the plan leaves prompt sums out.
func (p *PromptWriter) SinkSums(layer int, sums []float32) error {
	heads := len(p.w.header.HeadsOf(layer))
	return p.send(record{
		Kind: kindSinkSums, Layer: uint32(layer), NH: uint32(heads), Rows: 1, Keys: uint32(len(sums) / max(1, heads)),
	}, sums, float32Bits)
}

// Sinks returns the shares of the sinks in the recorded rows of a layer, [heads, rows],
// whose heads are those of [Header.HeadsOf]: with the weights of its keys, each row sums
// to 1. It returns nil if the layer has no sinks.
func (r *Reader) Sinks(prompt, layer int, ph Phase) ([]float32, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	if err := r.checkLayer(layer); err != nil {
		return nil, err
	}
	if s := r.header.Model.Layer(layer); !s.Sink {
		return nil, nil
	}
	rows, _, _ := p.Shape(ph)
	heads := len(r.header.HeadsOf(layer))
	shares, err := r.stack(prompt, stackShape{layer: layer, kind: kindSinks, phase: ph, rows: rows, heads: heads, width: 1})
	if err != nil {
		return nil, err
	}
	if at := outside(shares, maxWeight); at >= 0 && !r.unchecked {
		return nil, fmt.Errorf("%s: prompt %q, layer %d, head %d, %s: the share of the sink is %g, want 0 to 1: %w",
			r.path, p.ID, layer, r.header.HeadsOf(layer)[at/rows], phaseRow(ph, at%rows), shares[at], ErrCorrupt)
	}
	return shares, nil
}

// SinkSums returns the shares of the sinks of a layer summed over queries: over all
// queries of the prompt, [heads], and over those of each query window, [heads, windows].
// If the plan leaves prompt sums out, the first are 0. Both are nil if the layer has no
// sinks.
func (r *Reader) SinkSums(prompt, layer int) (all, windows []float32, err error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, nil, err
	}
	if err := r.checkLayer(layer); err != nil {
		return nil, nil, err
	}
	if s := r.header.Model.Layer(layer); !s.Sink {
		return nil, nil, nil
	}
	list := r.find(prompt, layer, kindSinkSums, Prefill)
	if len(list) != 1 {
		return nil, nil, fmt.Errorf("%s: prompt %q, layer %d: sums of sinks: %w", r.path, p.ID, layer, ErrAbsent)
	}
	heads := len(r.header.HeadsOf(layer))
	n := r.header.Plan.Windows(p.PromptTokens)
	if int(list[0].NH) != heads || list[0].Rows != 1 || int(list[0].Keys) != 1+n {
		return nil, nil, r.misfit(&list[0])
	}
	sums, err := r.summed(&list[0], p.PromptTokens)
	if err != nil {
		return nil, nil, err
	}
	all = make([]float32, heads)
	windows = make([]float32, 0, heads*n)
	for h := range heads {
		all[h] = sums[h*(1+n)]
		windows = append(windows, sums[h*(1+n)+1:(h+1)*(1+n)]...)
	}
	return all, windows, nil
}

// leaveToSinks scales rows of weights, [rows, keys], that sum to 1 so that their sums
// leave the shares of the sinks.
func leaveToSinks(rows []float32, keys int, shares []float32) {
	for i, share := range shares {
		for j := range keys {
			rows[i*keys+j] *= 1 - share
		}
	}
}
