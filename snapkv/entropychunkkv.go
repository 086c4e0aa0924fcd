package snapkv

import (
	"cmp"
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/topk"
)

const (
	entropyChunk = 10   // positions per chunk
	spikyKept    = 4    // positions kept of a chunk whose score comes from few positions
	entropyFloor = 1e-8 // added to shares before their logarithm
)

// entropyChunkKV keeps chunks of 10 positions, in the order of their mean pooled vote
// over all heads. Of a chunk with a high score but a low entropy of its votes, only the 4
// best positions are kept. High and low are relative to the medians over the
// chunks. If budget is left, the best of the other positions are kept. All heads keep the
// same positions.
//
// Source: kvpress, EntropyGatedChunkKVPress with SnapKVPress. There, the chunks include
// the window, which may be dropped.
var entropyChunkKV = Method{
	Name:       "entropychunkkv",
	Source:     "kvpress",
	Needs:      Needs{Rows: true},
	Scope:      ScopeLayer,
	ByCapacity: true,
	Alike:      true,
	Score:      scoreEntropyChunkKV,
}

func scoreEntropyChunkKV(l *Layer, c Config) ([][]float64, error) {
	list, err := pooledVotes(l, c)
	if err != nil {
		return nil, err
	}
	mean := make([]float64, l.Len-c.Window)
	for _, vote := range list {
		for j, v := range vote {
			mean[j] += v / float64(l.Heads)
		}
	}
	return forAllHeads(chosen(len(mean), gateChunks(mean, c.Budget())), l.Heads), nil
}

// scoredChunk is a chunk of positions [from, to).
type scoredChunk struct {
	from, to      int
	mean, entropy float64
}

// gateChunks returns the positions that are kept, in no order.
func gateChunks(score []float64, budget int) []int32 {
	var chunks []scoredChunk
	for from := 0; from < len(score); from += entropyChunk {
		chunks = append(chunks, newScoredChunk(score, from, min(from+entropyChunk, len(score))))
	}
	mean := lowerMedian(chunks, func(x scoredChunk) float64 { return x.mean })
	entropy := lowerMedian(chunks, func(x scoredChunk) float64 { return x.entropy })
	slices.SortStableFunc(chunks, func(a, b scoredChunk) int { return cmp.Compare(b.mean, a.mean) })
	var keep []int32
	rest := slices.Clone(score)
	for _, x := range chunks {
		n := min(x.to-x.from, budget-len(keep))
		if x.mean >= mean && x.entropy < entropy {
			n = min(n, spikyKept)
		}
		for _, j := range topk.Select(score[x.from:x.to], n) {
			keep = append(keep, int32(x.from)+j)
			rest[x.from+int(j)] = math.Inf(-1)
		}
	}
	return append(keep, topk.Select(rest, min(budget, len(score))-len(keep))...)
}

// newScoredChunk measures a chunk: its mean score, and the entropy of its shares of the
// scores, relative to that of equal shares.
func newScoredChunk(score []float64, from, to int) scoredChunk {
	total := sum(score[from:to])
	entropy := 0.0
	for _, v := range score[from:to] {
		p := v / (total + entropyFloor)
		entropy -= float64(p * math.Log(p+entropyFloor))
	}
	if to-from == 1 {
		entropy = 0
	} else {
		entropy = min(1, max(0, entropy/math.Log(float64(to-from))))
	}
	return scoredChunk{from: from, to: to, mean: total / float64(to-from), entropy: entropy}
}

// lowerMedian returns the lower of the two middle values if there is an even number, as
// PyTorch does.
func lowerMedian(chunks []scoredChunk, of func(x scoredChunk) float64) float64 {
	values := make([]float64, len(chunks))
	for i, x := range chunks {
		values[i] = of(x)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}
