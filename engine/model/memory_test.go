package model

import "testing"

// TestTokenWeights counts the weights that a token is multiplied with, by hand.
func TestTokenWeights(t *testing.T) {
	base := Config{Hidden: 8, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 4, ValueDim: 4, Intermediate: 16, LayerWindows: make([]int, 2)}
	base.Shapes = base.alike()
	const projections = 8*(8+4+4) + 8*8
	for name, c := range map[string]struct {
		change func(c *Config)
		want   float64
	}{
		"dense":           {func(*Config) {}, 2 * (projections + 3*8*16)},
		"without a gate":  {func(c *Config) { c.Plain = true }, 2 * (projections + 2*8*16)},
		"mixture":         {func(c *Config) { c.Experts, c.TopExperts, c.ExpertSize = 6, 2, 5 }, 2 * (projections + 8*6 + 2*3*8*5)},
		"a shared expert": {func(c *Config) { c.Experts, c.TopExperts, c.ExpertSize, c.SharedSize = 6, 2, 5, 7 }, 2 * (projections + 8*6 + 2*3*8*5 + 3*8*7)},
		"one dense layer": {func(c *Config) { c.Experts, c.TopExperts, c.ExpertSize, c.Sparse = 6, 2, 5, []bool{false, true} }, 2*projections + 3*8*16 + 8*6 + 2*3*8*5},
	} {
		config := base
		c.change(&config)
		if got := config.TokenWeights(); got != c.want {
			t.Errorf("%s: %v weights, want %v", name, got, c.want)
		}
	}
}
