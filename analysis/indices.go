package analysis

import (
	"fmt"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// Indices are the prefix positions that a method keeps of one prompt, by the
// recorded layers in ascending order: [layer][head or kv head], ascending.
func Indices(r *dumps.Reader, prompt int, m snapkv.Method, c snapkv.Config) ([][][]int32, error) {
	p, plan := &r.Prompts()[prompt], &r.Header().Plan
	switch {
	case c.Check() != nil:
		return nil, c.Check()
	case c.Window > p.WindowRows:
		return nil, fmt.Errorf("%s: prompt %q: window %d, but its last %d rows were recorded: capture with --window-rows %d", r.Path(), p.ID, c.Window, p.WindowRows, c.Window)
	case c.Window >= p.PromptTokens:
		return nil, fmt.Errorf("%s: prompt %q has %d tokens: window %d leaves no prefix", r.Path(), p.ID, p.PromptTokens, c.Window)
	}
	a := &methods{list: []judged{{&m, c}}, warned: map[Warning]bool{}}
	budgets, err := a.budgets(r, prompt)
	if err != nil {
		return nil, err
	}
	var out [][][]int32
	for _, layer := range plan.Layers {
		l, err := ReadLayer(r, prompt, layer)
		if err != nil {
			return nil, err
		}
		keep, err := m.Select(&l.Layer, c, budgets[0][layer])
		if err != nil {
			return nil, fmt.Errorf("%s: prompt %q, layer %d: %w", r.Path(), p.ID, layer, err)
		}
		out = append(out, keep)
	}
	return out, nil
}
