package dumps

import "fmt"

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
	sums, err := r.floats(&list[0])
	if err == nil && len(sums) != len(r.header.Plan.Heads)*p.PromptTokens {
		err = r.misfit(&list[0])
	}
	return sums, err
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
	list := r.find(prompt, layer, kindWindow, Prefill)
	if len(list) != count {
		return nil, 0, fmt.Errorf("%s: prompt %q, layer %d: %d query windows, want %d: %w",
			r.path, p.ID, layer, len(list), count, ErrCorrupt)
	}
	heads := len(plan.Heads)
	n := p.PromptTokens
	if sums, err = r.allocate("query windows", heads, count, n); err != nil {
		return nil, 0, err
	}
	for i := range list {
		rec := &list[i]
		x, err := r.floats(rec)
		if err != nil {
			return nil, 0, err
		}
		keys := int(rec.Keys)
		window := int(rec.Row0)
		if int(rec.NH) != heads || keys > n || window >= count || rec.Rows != 1 {
			return nil, 0, r.misfit(rec)
		}
		for h := range heads {
			copy(sums[(h*count+window)*n:], x[h*keys:(h+1)*keys])
		}
	}
	return sums, count, nil
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
	cells, err = r.floats(&list[0])
	side = r.header.Plan.Overview
	if err == nil && len(cells) != len(r.header.Plan.Heads)*side*side {
		err = r.misfit(&list[0])
	}
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
		if int(rec.Row0)+int(rec.Rows) > rows || int(rec.Keys) != vocab {
			return nil, r.misfit(rec)
		}
		copy(logits[int(rec.Row0)*vocab:], x)
	}
	return logits, nil
}
