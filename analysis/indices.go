package analysis

import (
	"context"
	"fmt"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// Indices returns the prefix positions that a method keeps in one prompt, given by its
// index in the dump: [recorded layer][head or kv head], ascending. Layers that read one
// cache have the same lists, one per kv head. A prompt that passes through keeps its
// whole prefix. It returns an error if the window leaves no prefix or was not recorded.
func Indices(ctx context.Context, r *dumps.Reader, prompt int, m snapkv.Method, c snapkv.Config) ([][][]int32, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	p := &r.Prompts()[prompt]
	switch {
	case c.Window > p.WindowRows:
		return nil, fmt.Errorf(
			"%s: prompt %q: window %d, but its last %d rows were recorded: capture with --window-rows %d",
			r.Path(), p.ID, c.Window, p.WindowRows, c.Window)
	case c.Window >= p.PromptTokens:
		return nil, fmt.Errorf("%s: prompt %q has %s: window %d leaves no prefix",
			r.Path(), p.ID, words.Count(p.PromptTokens, "token"), c.Window)
	}
	sweep, err := sweepOf(ctx, r, prompt, []snapkv.Entry{{Method: &m, Config: c}})
	if err != nil {
		return nil, err
	}
	h := r.Header()
	byCache := map[int][][]int32{}
	for _, layer := range cachesOf(h) {
		l, err := ReadLayer(r, prompt, layer)
		if err != nil {
			return nil, err
		}
		sweep.Select(&l.Layer, nil, func(_ int, keep [][]int32, why error) {
			byCache[layer] = keep
			err = why
		})
		if err != nil {
			return nil, fmt.Errorf("%s: prompt %q, layer %d: %w", r.Path(), p.ID, layer, err)
		}
	}
	out := make([][][]int32, len(h.Plan.Layers))
	for i, layer := range h.Plan.Layers {
		out[i] = byCache[h.Model.Layer(layer).CacheOf]
	}
	return out, nil
}
