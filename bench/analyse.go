package main

import (
	"context"
	"time"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
)

// analyse reads all weights of a dump once, or computes the hit rates of five
// windows for all layers and heads.
func analyse(t task) (answer, error) {
	start, used := time.Now(), cpuSeconds()
	if t.Op == "sweep" {
		cfg := analysis.Paper
		cfg.Windows, cfg.By = []int{8, 16, 32, 64, 128}, []analysis.By{analysis.ByLayer, analysis.ByHead}
		if _, _, err := analysis.HitRates(context.Background(), []string{t.Path}, cfg); err != nil {
			return answer{}, err
		}
		return answer{Seconds: time.Since(start).Seconds(), CPU: cpuSeconds() - used}, nil
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
	return answer{Seconds: time.Since(start).Seconds(), CPU: cpuSeconds() - used}, nil
}
