package model

import (
	"math"
	"math/rand/v2"
)

// Sampler picks the next token: the most likely one, or a random one at a temperature.
type Sampler struct {
	temperature float64
	rng         *rand.Rand
}

// NewSampler returns a sampler. At temperature 0 it picks the most likely token; otherwise
// the seed determines its choices.
func NewSampler(temperature float64, seed int64) *Sampler {
	return &Sampler{temperature, rand.New(rand.NewPCG(uint64(seed), 0x5eed))}
}

// Next picks a token from its logits. Among equal logits, the lowest id counts as the
// most likely.
func (s *Sampler) Next(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	if s.temperature <= 0 {
		return int32(best)
	}
	var sum float64
	weights := make([]float64, len(logits))
	for i, v := range logits {
		weights[i] = math.Exp(float64(v-logits[best]) / s.temperature)
		sum += weights[i]
	}
	at := s.rng.Float64() * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return int32(i)
		}
	}
	return int32(best)
}
