package experiments

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// speed decodes after prompts of growing length, from the full cache and from
// compressed ones.
func speed(ctx context.Context, l *Lab) (string, error) {
	lengths, capacity, reply := []int{512, 1024, 2048, 4096, 8000}, 1024, 32
	if l.Quick {
		lengths, capacity, reply = []int{256, 512}, 128, 8
	}
	if n := l.Config.MaxPositions; n > 0 {
		lengths = slices.DeleteFunc(lengths, func(x int) bool { return x+reply > n })
	}
	r := rand.New(rand.NewPCG(l.Seed, 1))
	t := table.New("prompt_tokens", "cache", "capacity", "prefill_tok_s", "decode_tok_s", "ms_a_token", "speedup", "cache_bytes", "bytes_share")
	k := viz.Curves{Title: "decode time by prompt length", XLabel: "prompt tokens", YLabel: "milliseconds a token", LogX: true, Meta: l.meta()}
	base := snapkv.Config{Window: 32, Capacity: capacity, Kernel: 5, Pooling: "avgpool", Group: "head", Seed: l.Seed}
	grouped := base
	grouped.Group = "mean"
	choices := []choice{{"snapkv by query head", "snapkv", base}, {"snapkv by kv head", "snapkv", grouped}}
	series := map[string]*viz.Series{}
	var order []string
	for _, n := range lengths {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(r.IntN(l.Config.Vocab))
		}
		results, err := l.decodeAll(ctx, "", []prompts.Prompt{{ID: fmt.Sprint(n), Tokens: ids}}, choices, reply, true)
		if errors.Is(err, errPlanned) {
			continue
		}
		if err != nil {
			return "", err
		}
		full := results[0]
		for _, x := range results {
			if x.label != "full" && n < capacity {
				continue
			}
			ms := 1000 / float64(x.DecodeTokens)
			t.Add(n, x.label, x.Capacity, float64(x.PrefillTokens), float64(x.DecodeTokens), ms, float64(x.DecodeTokens)/float64(full.DecodeTokens), int(x.CacheBytes), float64(x.CacheBytes)/float64(full.CacheBytes))
			if series[x.label] == nil {
				series[x.label] = &viz.Series{Name: x.label}
				order = append(order, x.label)
			}
			s := series[x.label]
			s.X, s.Y = append(s.X, float64(n)), append(s.Y, ms)
		}
	}
	for _, name := range order {
		k.Series = append(k.Series, *series[name])
	}
	if l.Model == nil {
		return "", errPlanned
	}
	k.Caption = l.caption("capacity %d, window 32; %d tokens decoded; one sequence; %d threads. Wall-clock times: they differ from run to run.", capacity, reply, l.Threads)
	if err := l.table(t, "speed"); err != nil {
		return "", err
	}
	if err := l.figure(viz.CurvesFigure(k), "speed"); err != nil {
		return "", err
	}
	length, sizes := 4096, []int{1, 2, 4, 8}
	if l.Quick {
		length, sizes = 256, []int{1, 2}
	}
	if n := l.Config.MaxPositions; n > 0 {
		length = min(length, n-reply-1)
	}
	many, err := l.batches(ctx, length, min(capacity, length), reply, sizes)
	if err != nil {
		return "", err
	}
	if err := l.table(many, "batch"); err != nil {
		return "", err
	}
	if err := l.figure(l.batchFigure(many), "batch"); err != nil {
		return "", err
	}
	return "By query head, the published layout, every query head has a cache of its own: with a group of g heads it holds g times the rows of\nthe layout by kv head.\n\n" + markdown(t, t.Columns...) +
		"\n## Several sequences at once\n\nA step reads the weights once for all of them, and every cache.\n\n" + markdown(many, many.Columns...), nil
}
