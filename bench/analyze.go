package main

import (
	"context"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
)

// analyze reads all weights of a dump once, or computes the hit rates of five windows
// for all layers and heads.
func analyze(t task) (answer, error) {
	clock := startClock()
	if t.Op == "sweep" {
		cfg := analysis.Paper
		cfg.Windows = []int{8, 16, 32, 64, 128}
		cfg.By = []analysis.By{analysis.ByLayer, analysis.ByHead}
		if _, _, err := analysis.HitRates(context.Background(), []string{t.Path}, cfg); err != nil {
			return answer{}, err
		}
		return clock.answer(0), nil
	}
	r, err := dumps.Open(t.Path)
	if err != nil {
		return answer{}, err
	}
	defer r.Close()
	for i := range r.Prompts() {
		for _, layer := range r.Header().Plan.Layers {
			for _, ph := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
				if _, err := r.Weights(i, layer, ph); err != nil {
					return answer{}, err
				}
			}
		}
	}
	return clock.answer(0), nil
}
