package dumps

import (
	"cmp"
	"fmt"
	"slices"
)

// Sums returns the weights summed over all queries of the prompt, [heads, P]. If the
// plan leaves them out, the error is [ErrAbsent].
func (r *Reader) Sums(prompt, layer int) ([]float32, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	list := r.find(prompt, layer, kindSums, Prefill)
	if len(list) != 1 {
		return nil, fmt.Errorf("%s: sums over all queries of layer %d: %w", r.path, layer, ErrAbsent)
	}
	if list[0].elements() != uint64(len(r.header.HeadsOf(layer))*p.PromptTokens) {
		return nil, r.misfit(&list[0])
	}
	return r.summed(&list[0], p.PromptTokens)
}

// Windows returns the weights summed over the queries of each query window, [heads,
// count, P]. Windows are numbered from the oldest; the last one ends with the prompt.
// count is the planned number, or as many as fit into the prompt.
func (r *Reader) Windows(prompt, layer int) (sums []float32, count int, err error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, 0, err
	}
	plan := &r.header.Plan
	count = plan.Windows(p.PromptTokens)
	list, err := r.windowBlocks(prompt, layer, count)
	if err != nil {
		return nil, 0, err
	}
	heads := len(r.header.HeadsOf(layer))
	n := p.PromptTokens
	if sums, err = r.allocate("query windows", heads, count, n); err != nil {
		return nil, 0, err
	}
	for i := range list {
		x, err := r.summed(&list[i], plan.PromptWindowSize)
		if err != nil {
			return nil, 0, err
		}
		keys := int(list[i].Keys)
		for h := range heads {
			copy(sums[(h*count+int(list[i].Row0))*n:], x[h*keys:(h+1)*keys])
		}
	}
	return sums, count, nil
}

// windowBlocks lists the blocks of count query windows of a layer, from the oldest. Their
// shapes are checked before anything is allocated for them.
func (r *Reader) windowBlocks(prompt, layer, count int) ([]record, error) {
	p := &r.prompts[prompt]
	list := slices.Clone(r.find(prompt, layer, kindWindow, Prefill))
	if len(list) != count {
		return nil, fmt.Errorf("%s: prompt %q, layer %d: %d query windows, want %d: %w",
			r.path, p.ID, layer, len(list), count, ErrCorrupt)
	}
	slices.SortFunc(list, func(a, b record) int { return cmp.Compare(a.Row0, b.Row0) })
	for i := range list {
		rec := &list[i]
		keys := p.PromptTokens - (count-1-i)*r.header.Plan.PromptWindowSize // the last position it sees, and one
		if int(rec.Row0) != i || int(rec.Keys) != keys || int(rec.NH) != len(r.header.HeadsOf(layer)) || rec.Rows != 1 {
			return nil, r.misfit(rec)
		}
	}
	return list, nil
}

// summed reads a block of sums over a number of queries: numbers from 0 to that number.
func (r *Reader) summed(rec *record, queries int) ([]float32, error) {
	x, err := r.floats(rec)
	if err != nil {
		return nil, err
	}
	if at := outside(x, sumLimit(queries)); at >= 0 && !r.unchecked {
		keys := max(1, int(rec.Keys))
		heads := r.header.HeadsOf(int(rec.Layer))
		return nil, fmt.Errorf("%s: %s: head %d, key %d: sum %g, want 0 to %d: %w", r.path, r.placeOf(rec),
			heads[min(at/keys, len(heads)-1)], at%keys, x[at], queries, ErrCorrupt)
	}
	return x, nil
}

// Overview returns a pooled picture of the prompt's whole attention map in a layer,
// [heads, side, side]: each cell holds the largest weight of its queries and keys. If
// the plan has no overview, the error is [ErrAbsent].
func (r *Reader) Overview(prompt, layer int) (cells []float32, side int, err error) {
	if _, err := r.promptAt(prompt); err != nil {
		return nil, 0, err
	}
	list := r.find(prompt, layer, kindOverview, Prefill)
	if len(list) != 1 {
		return nil, 0, fmt.Errorf("%s: overview of layer %d: %w (capture with --overview SIDE)", r.path, layer, ErrAbsent)
	}
	side = r.header.Plan.Overview
	if list[0].elements() != uint64(len(r.header.HeadsOf(layer))*side*side) {
		return nil, 0, r.misfit(&list[0])
	}
	cells, err = r.summed(&list[0], 1)
	return cells, side, err
}

// Logits returns the logits of the reply, [G, vocab]: row i holds the logits from
// which reply token i was chosen or scored. If the plan has no logits, the error is
// [ErrAbsent].
func (r *Reader) Logits(prompt int) ([]float32, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	rows := p.ReplyTokens
	vocab := r.header.Model.Vocab
	list := r.find(prompt, 0, kindLogits, Prefill)
	if len(list) == 0 && rows > 0 {
		return nil, fmt.Errorf("%s: logits: %w (capture with --logits)", r.path, ErrAbsent)
	}
	if err := r.checkRows(prompt, 0, kindLogits, list, rows); err != nil {
		return nil, err
	}
	for i := range list {
		rec := &list[i]
		if rec.NH != 1 || int(rec.Row0)+int(rec.Rows) > rows || int(rec.Keys) != vocab {
			return nil, r.misfit(rec)
		}
	}
	logits, err := r.allocate("logits", rows, vocab)
	if err != nil {
		return nil, err
	}
	for i := range list {
		rec := &list[i]
		x, err := r.floats(rec)
		if err != nil {
			return nil, err
		}
		copy(logits[int(rec.Row0)*vocab:], x)
	}
	return logits, nil
}
