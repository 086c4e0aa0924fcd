package experiments

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/viz"
)

// batchMemory is the most that the caches of a batch may take.
const batchMemory = 4 << 30

// batches decodes several sequences at once, after prompts of one length, from
// full caches and from compressed ones: a step reads the weights once, and every
// cache. What is kept does not change the time, so the first and the last
// positions are.
func (l *Lab) batches(ctx context.Context, length, capacity, steps int, sizes []int) (*table.Table, error) {
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
	t := table.New("prompt_tokens", "cache", "capacity", "batch", "tok_s", "ms_a_step", "against_one", "cache_bytes")
	for _, cache := range []struct {
		name     string
		heads    int
		capacity int
	}{{"full", l.Config.KVHeads, length}, {"compressed by query head", l.Config.Heads, capacity}, {"compressed by kv head", l.Config.KVHeads, capacity}} {
		one := 0.0
		for _, n := range sizes {
			rate, bytes, err := l.batch(ctx, s, cache.heads, cache.capacity, n, steps)
			if err != nil {
				return nil, err
			}
			if bytes > batchMemory {
				break
			}
			if n == sizes[0] {
				one = rate
			}
			t.Add(length, cache.name, cache.capacity, n, rate, 1000*float64(n)/rate, rate/one, bytes)
		}
	}
	return t, nil
}

// batch decodes some steps of n copies of a sequence that keep so many slots, and
// returns tokens a second of all together and the bytes of their caches.
func (l *Lab) batch(ctx context.Context, full *model.Session, heads, capacity, n, steps int) (rate float64, bytes int, err error) {
	keep := make([][]int32, heads)
	for h := range keep {
		for i := range capacity {
			at := i
			if i >= 4 {
				at = full.Len() - capacity + i
			}
			keep[h] = append(keep[h], int32(at))
		}
	}
	list, tokens, passes := make([]*model.Session, n), make([]int32, n), make([]model.Pass, n)
	for i := range list {
		if list[i], err = full.Compress(func(int) ([][]int32, error) { return keep, nil }); err != nil {
			return 0, 0, err
		}
		defer list[i].Close()
		if bytes += int(list[i].CacheBytes()); bytes > batchMemory {
			return 0, bytes, nil
		}
		if err := list[i].Reserve(full.Len() + steps + 1); err != nil {
			return 0, 0, err
		}
		passes[i].Logits = func(int, []float32) {} // as decoding needs them
	}
	step := func(at int) error {
		for i := range tokens {
			tokens[i] = int32((31*at + 7*i) % l.Config.Vocab)
		}
		return l.Model.Step(ctx, list, tokens, passes)
	}
	if err := step(0); err != nil { // the first one makes room
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

// batchFigure draws tokens a second against the size of the batch.
func (l *Lab) batchFigure(t *table.Table) *viz.Figure {
	k := viz.Curves{Title: "decode speed by number of sequences at once", XLabel: "sequences at once", YLabel: "tokens a second, all together", LogX: true, Meta: l.meta()}
	at := map[string]int{}
	for _, row := range t.Rows {
		name := row[1].(string)
		i, ok := at[name]
		if !ok {
			i = len(k.Series)
			at[name] = i
			k.Series = append(k.Series, viz.Series{Name: name})
		}
		s := &k.Series[i]
		s.X, s.Y = append(s.X, float64(row[3].(int))), append(s.Y, row[4].(float64))
	}
	if len(t.Rows) > 0 {
		k.Caption = fmt.Sprintf("after prompts of %v tokens; compressed to %v positions; %d threads. Wall-clock times: they differ from run to run.", t.Rows[0][0], t.Rows[len(t.Rows)-1][2], l.Threads)
	}
	return viz.CurvesFigure(k)
}
