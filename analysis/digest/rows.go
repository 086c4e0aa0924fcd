package digest

import (
	"context"

	"github.com/attnscope/attnscope/dumps"
)

// AllHeads means the mean over the recorded heads of a layer.
const AllHeads = -1

// LayerRows reads the recorded rows of one layer of a prompt. Row numbers run through
// the prompt's rows first and continue with the reply's rows. Row r is the query at
// position First+r, and every row has Keys weights, zero for keys after its own
// position.
type LayerRows struct {
	Prompt *dumps.Prompt
	Heads  []int // ids of the recorded heads, ascending
	Rows   int   // recorded rows of prompt and reply
	Keys   int   // positions of prompt and reply
	First  int   // position of row 0

	dump   *dumps.Reader
	index  int // of the prompt in the dump
	layer  int
	reader *dumps.LayerReader
}

// OpenLayer opens a recorded layer, by its id, of a prompt, by its index. If the dump
// stores queries and keys, it reads them once and holds them.
func OpenLayer(dump *dumps.Reader, prompt, layer int) (*LayerRows, error) {
	reader, err := dump.LayerOf(prompt, layer)
	if err != nil {
		return nil, err
	}
	p := &dump.Prompts()[prompt]
	return &LayerRows{
		Prompt: p,
		Heads:  dump.Header().HeadsOf(layer),
		Rows:   p.WindowRows + p.ReplyTokens,
		Keys:   p.PromptTokens + p.ReplyTokens,
		First:  p.PromptTokens - p.WindowRows,
		dump:   dump,
		index:  prompt,
		layer:  layer,
		reader: reader,
	}, nil
}

// LayerBytes estimates the memory that an open layer of a prompt holds.
func LayerBytes(h *dumps.Header, p *dumps.Prompt, layer int) int {
	if p.Store != dumps.StoreFactors {
		return 1
	}
	s := h.Model.Layer(layer)
	keys := (p.PromptTokens + p.ReplyTokens) * s.KVHeads
	queries := (p.WindowRows + p.ReplyTokens) * s.Heads
	return 4 * s.KeyDim * (keys + queries)
}

// Bytes returns the memory that the open layer holds.
func (r *LayerRows) Bytes() int { return r.reader.Bytes() + 1 }

// Release makes the memory available to the next layer. The rows must not be read
// afterwards.
func (r *LayerRows) Release() { r.reader.Release() }

// Read writes rows [row0, row0+n) of a head, an index or [AllHeads], into dst,
// [n, Keys].
func (r *LayerRows) Read(ctx context.Context, dst []float32, head, row0, n int) error {
	if head == AllHeads {
		return r.mean(ctx, dst, row0, n)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.reader.JoinedRows(dst, head, row0, n)
}

// Sinks returns the share of the learned sink of a head, an index or [AllHeads], in each
// row, [Rows]; or nil if the layer has no learned sinks.
func (r *LayerRows) Sinks(head int) ([]float32, error) {
	var parts [len(dumps.Phases)][]float32 // [head, row]
	for i, ph := range dumps.Phases {
		var err error
		if parts[i], err = r.dump.Sinks(r.index, r.layer, ph); err != nil || parts[i] == nil && i == 0 {
			return nil, err
		}
	}
	from, to := head, head+1
	if head == AllHeads {
		from, to = 0, len(r.Heads)
	}
	out := make([]float32, 0, r.Rows)
	for _, shares := range parts {
		rows := len(shares) / len(r.Heads)
		for row := range rows {
			sum := 0.0
			for h := from; h < to; h++ {
				sum += float64(shares[h*rows+row])
			}
			out = append(out, float32(sum/float64(to-from)))
		}
	}
	return out, nil
}

// mean averages over the heads in float64, in the order of the heads.
func (r *LayerRows) mean(ctx context.Context, dst []float32, row0, n int) error {
	const strip = 64 // rows at a time: bounds the memory
	size := min(strip, n) * r.Keys
	one := make([]float32, size)
	sum := make([]float64, size)
	for at := 0; at < n; at += strip {
		rows := min(strip, n-at)
		size := rows * r.Keys
		clear(sum)
		for h := range r.Heads {
			if err := r.Read(ctx, one, h, row0+at, rows); err != nil {
				return err
			}
			for i, v := range one[:size] {
				sum[i] += float64(v)
			}
		}
		for i, v := range sum[:size] {
			dst[at*r.Keys+i] = float32(v / float64(len(r.Heads)))
		}
	}
	return nil
}
