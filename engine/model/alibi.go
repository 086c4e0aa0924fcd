package model

import (
	"math"
	"sync"
)

// KeyBias is what a model adds to the scores of a query head for the position of each key
// instead of rotating queries and keys (ALiBi, arXiv:2108.12409). As in transformers, the
// bias grows with the position, and does not depend on that of the query: softmax is the
// same for both forms.
type KeyBias struct {
	Slopes  []float32 // by query head
	Rounded bool      // slopes, positions and their products are rounded to bfloat16 (Falcon)
	Scale   float32   // factor of the bias (Falcon scales it as the scores); 1 elsewhere

	mu    sync.Mutex
	table [][]float32 // by query head and position
}

// newKeyBias returns the biases of the given number of query heads.
func newKeyBias(heads int) *KeyBias {
	b := &KeyBias{Slopes: make([]float32, heads), Scale: 1}
	whole := 1 << int(math.Log2(float64(heads))) // the largest power of two
	for h := range b.Slopes {
		base, power := alibiBase(whole), h+1
		if h >= whole {
			base, power = alibiBase(2*whole), 2*(h-whole)+1
		}
		b.Slopes[h] = float32(math.Pow(float64(base), float64(power)))
	}
	return b
}

// alibiBase returns the base of the slopes of a power of two of heads.
func alibiBase(heads int) float32 { return float32(math.Exp2(-8 / float64(heads))) }

// Table returns the biases by query head and position, for at least n positions.
func (b *KeyBias) Table(n int) [][]float32 {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.table) > 0 && len(b.table[0]) >= n {
		return b.table
	}
	table := make([][]float32, len(b.Slopes))
	for h := range table {
		row := make([]float32, max(1024, 2*n))
		for pos := range row {
			row[pos] = b.at(h, pos)
		}
		table[h] = row
	}
	b.table = table
	return table
}

// at returns the bias of a query head for a key.
func (b *KeyBias) at(head, pos int) float32 {
	if !b.Rounded {
		return float32(b.Slopes[head]*float32(pos)) * b.Scale
	}
	return roundBF16(roundBF16(b.Slopes[head])*roundBF16(float32(pos))) * b.Scale
}

// roundBF16 returns x rounded to bfloat16, ties to even.
func roundBF16(x float32) float32 {
	bits := math.Float32bits(x)
	return math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
}
