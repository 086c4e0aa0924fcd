package experiments

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/engine/model"
)

// batchMemory limits the memory of the caches of a batch, in bytes.
const batchMemory = 4 << 30

// batchRow is the time to decode several sequences at once.
type batchRow struct {
	promptTokens    int
	cache           string
	capacity        int
	batch           int     // sequences
	tokensPerSecond float64 // of all sequences together
	one             float64 // tokens per second with the smallest batch
	bytes           int     // of all caches
}

func (r batchRow) cells() []any {
	return []any{
		r.promptTokens, r.cache, r.capacity, r.batch, r.tokensPerSecond,
		1000 * float64(r.batch) / r.tokensPerSecond, r.tokensPerSecond / r.one, r.bytes,
	}
}

func batchTable(rows []batchRow) *table.Table {
	return tableOf([]string{
		"prompt_tokens", "cache", "capacity", "batch", "tok_s", "ms_a_step", "against_one", "cache_bytes",
	}, rows)
}

// batchSpeeds measures the speed of decoding several sequences at once, after prompts
// of one length, from full caches and from compressed ones. A step reads the weights
// once, and the cache of every sequence. Batch sizes that need too much memory are
// left out. The choice of positions does not affect the time, so compressed caches
// keep the first four and the last ones.
func (l *Lab) batchSpeeds(ctx context.Context, length, capacity, steps int, sizes []int) ([]batchRow, error) {
	r := rand.New(rand.NewPCG(l.Seed, 2))
	ids := make([]int32, length)
	for i := range ids {
		ids[i] = int32(r.IntN(l.Config.Vocab))
	}
	s := l.Model.NewSession()
	defer s.Close()
	if err := s.Forward(ctx, ids, model.Pass{LogitsFrom: length}); err != nil {
		return nil, err
	}
	layouts := []struct {
		cache    string
		heads    int
		capacity int
	}{
		{"full", l.Config.KVHeads, length},
		{"compressed by query head", l.Config.Heads, capacity},
		{"compressed by kv head", l.Config.KVHeads, capacity},
	}
	var rows []batchRow
	for _, layout := range layouts {
		one := 0.0
		for _, n := range sizes {
			keep := sinksAndRecent(layout.heads, layout.capacity, length)
			rate, bytes, err := l.batchSpeed(ctx, s, keep, n, steps)
			if err != nil {
				return nil, err
			}
			if bytes > batchMemory {
				break
			}
			if n == sizes[0] {
				one = rate
			}
			rows = append(rows, batchRow{length, layout.cache, layout.capacity, n, rate, one, bytes})
		}
	}
	return rows, nil
}

// sinksAndRecent returns, for each head, the first four and the last positions of a
// prompt, together as many as the capacity.
func sinksAndRecent(heads, capacity, length int) [][]int32 {
	keep := make([][]int32, heads)
	for h := range keep {
		for i := range capacity {
			at := i
			if i >= 4 {
				at = length - capacity + i
			}
			keep[h] = append(keep[h], int32(at))
		}
	}
	return keep
}

// batchSpeed decodes some steps of n copies of a sequence that keep the given
// positions. It returns the tokens per second of all copies together and the bytes of
// their caches; if these exceed batchMemory, nothing is decoded.
func (l *Lab) batchSpeed(ctx context.Context, full *model.Session, keep [][]int32, n, steps int) (rate float64, bytes int, err error) {
	list := make([]*model.Session, n)
	tokens := make([]int32, n)
	passes := make([]model.Pass, n)
	for i := range list {
		if list[i], err = full.Compress(func(int) ([][]int32, error) { return keep, nil }); err != nil {
			return 0, 0, err
		}
		defer list[i].Close()
		bytes += int(list[i].CacheBytes())
		if bytes > batchMemory {
			return 0, bytes, nil
		}
		if err := list[i].Reserve(full.Len() + steps + 1); err != nil {
			return 0, 0, err
		}
		passes[i].Logits = func(int, []float32) {} // computed, as decoding needs them
	}
	step := func(at int) error {
		for i := range tokens {
			tokens[i] = int32((31*at + 7*i) % l.Config.Vocab)
		}
		return l.Model.Step(ctx, list, tokens, passes)
	}
	if err := step(0); err != nil { // the first step allocates and is not timed
		return 0, 0, err
	}
	start := time.Now()
	for at := range steps {
		if err := step(at + 1); err != nil {
			return 0, 0, err
		}
	}
	return float64(n*steps) / time.Since(start).Seconds(), bytes, nil
}
