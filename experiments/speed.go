package experiments

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// speedReport holds the data for speed.md.tmpl.
type speedReport struct {
	Speed *table.Table
	Batch *table.Table
}

// speedRow is the time to decode after one prompt from one cache.
type speedRow struct {
	promptTokens int
	cache        string
	capacity     int
	prefill      float64 // prompt tokens per second
	decode       float64 // reply tokens per second
	fullDecode   float64 // reply tokens per second from the full cache
	bytes        int64   // of the cache
	fullBytes    int64   // of the full cache
}

// milliseconds returns the milliseconds per decoded token.
func (r speedRow) milliseconds() float64 { return 1000 / r.decode }

func (r speedRow) cells() []any {
	return []any{
		r.promptTokens, r.cache, r.capacity, r.prefill, r.decode, r.milliseconds(), r.decode / r.fullDecode,
		int(r.bytes), float64(r.bytes) / float64(r.fullBytes),
	}
}

func speedTable(rows []speedRow) *table.Table {
	return tableOf([]string{
		"prompt_tokens", "cache", "capacity", "prefill_tok_s", "decode_tok_s", "ms_a_token", "speedup", "cache_bytes", "bytes_share",
	}, rows)
}

// speed decodes after prompts of increasing length, from the full cache and from
// compressed ones, then several sequences at once.
func speed(ctx context.Context, l *Lab) (any, error) {
	lengths := []int{512, 1024, 2048, 4096, 8000}
	capacity := 1024
	reply := 32
	batchLength := 4096
	sizes := []int{1, 2, 4, 8}
	if l.Quick {
		lengths = []int{256, 512}
		capacity = 128
		reply = 8
		batchLength = 256
		sizes = []int{1, 2}
	}
	if n := l.Config.MaxPositions; n > 0 {
		lengths = slices.DeleteFunc(lengths, func(x int) bool { return x+reply > n })
		batchLength = min(batchLength, n-reply-1)
	}
	rows, err := l.decodeSpeeds(ctx, lengths, capacity, reply)
	if err != nil {
		return nil, err
	}
	report := &speedReport{Speed: speedTable(rows)}
	if err := l.table(report.Speed, "speed"); err != nil {
		return nil, err
	}
	k := speedCurves(rows)
	k.Caption = l.caption("capacity %d, window %d; %d tokens decoded; one sequence; %s. "+
		"Wall-clock times: they differ from run to run.",
		capacity, snapkv.Default.Window, reply, words.Count(l.Threads, "thread"))
	if err := l.curves(k, "speed"); err != nil {
		return nil, err
	}
	batch, err := l.batchSpeeds(ctx, batchLength, min(capacity, batchLength), reply, sizes)
	if err != nil {
		return nil, err
	}
	report.Batch = batchTable(batch)
	if err := l.table(report.Batch, "batch"); err != nil {
		return nil, err
	}
	k = batchCurves(batch)
	if n := len(batch); n > 0 {
		k.Caption = fmt.Sprintf("after prompts of %d tokens; compressed to %d positions; %s."+
			" Wall-clock times: they differ from run to run.", batch[0].promptTokens, batch[n-1].capacity,
			words.Count(l.Threads, "thread"))
	}
	return report, l.curves(k, "batch")
}

// decodeSpeeds measures decoding after random tokens. Compressed caches are left
// out where a prompt is shorter than the capacity.
func (l *Lab) decodeSpeeds(ctx context.Context, lengths []int, capacity, reply int) ([]speedRow, error) {
	byHead := snapkv.Default
	byHead.Capacity = capacity
	byHead.Seed = l.Seed
	grouped := byHead
	grouped.Group = snapkv.GroupMean
	choices := []choice{{"snapkv by query head", "snapkv", byHead}, {"snapkv by kv head", "snapkv", grouped}}
	r := rand.New(rand.NewPCG(l.Seed, 1))
	var rows []speedRow
	for _, n := range lengths {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(r.IntN(l.Config.Vocab))
		}
		results, err := l.decodeAll(ctx, "", []prompts.Prompt{{ID: fmt.Sprint(n), Tokens: ids}}, choices, reply)
		if errors.Is(err, errPlanned) {
			continue
		}
		if err != nil {
			return nil, err
		}
		full := results[0]
		for _, x := range results {
			if !x.Full() && n < capacity {
				continue
			}
			rows = append(rows, speedRow{
				promptTokens: n,
				cache:        x.label,
				capacity:     x.Capacity,
				prefill:      float64(x.PrefillTokens),
				decode:       float64(x.DecodeTokens),
				fullDecode:   float64(full.DecodeTokens),
				bytes:        x.CacheBytes,
				fullBytes:    full.CacheBytes,
			})
		}
	}
	if l.Model == nil {
		return nil, errPlanned
	}
	return rows, nil
}
