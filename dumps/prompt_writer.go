package dumps

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
)

// PromptWriter writes the blocks of one prompt. Its methods may be called from several
// goroutines; call Finish when all of them have returned. They copy the slices that
// they are given, so that the caller may reuse them at once. Blocks are encoded and
// compressed concurrently and appear in the file in the order of the calls. A method
// waits while the writer holds 64 MB of values that are not encoded yet. A method
// returns an error if the shape does not fit the number of values or if an earlier
// write failed.
type PromptWriter struct {
	w     *Writer
	index uint32 // of the prompt in the file

	mu     sync.Mutex
	held   []job // blocks that Finish is to write; nil: blocks are written as they come
	order  int   // of the next blocks among the held ones
	blocks int
	maxQ   map[int]float64 // per cache: length of the longest query of its readers, times the scale

	encoding sync.WaitGroup // blocks that are being read and encoded
}

// Rows writes consecutive rows of one head, in the rows form. Half floats in a dump of
// precision Exact are an error.
func (p *PromptWriter) Rows(rows Rows) error {
	if err := p.w.queue.failed(); err != nil {
		return err
	}
	n := rows.Rows * rows.Keys
	rounding := p.precision().Rounding()
	switch {
	case rows.Halves != nil && rounding == nil:
		return fmt.Errorf("%s: rows of half floats in a dump of precision %s, which keeps float32", p.w.path, p.precision())
	case rows.Halves != nil:
		p.take(n)
		planes := rows.planes()
		return p.sendLater(rows.record(), n, func(r *record) []byte {
			r.Enc = encF16
			r.Bits = halfBits
			return planes
		})
	case rounding != nil:
		p.take(n)
		return p.sendOwned(rows.record(), rows.flat(), encF16, halfBits)
	}
	p.take(n)
	return p.sendOwned(rows.record(), rows.flat(), encF32, float32Bits)
}

// Queries writes n queries of all heads of a layer after the rotation, q
// [n, heads*dim], and the log-sum-exps of their scores, lse [heads, n]. row0 counts
// from the first recorded row of the phase.
func (p *PromptWriter) Queries(layer int, ph Phase, row0, n int, q, lse []float32) error {
	s := p.w.header.Model.Layer(layer)
	p.mu.Lock()
	p.maxQ[s.CacheOf] = max(p.maxQ[s.CacheOf], s.Scale*longest(q, s.KeyDim))
	p.mu.Unlock()
	r := record{
		Kind: kindQueries, Phase: ph, Layer: uint32(layer), NH: uint32(s.Heads),
		Row0: uint32(row0), Rows: uint32(n), Keys: uint32(s.KeyDim),
	}
	if err := p.send(r, q[:n*s.Heads*s.KeyDim], p.precision().rules().queryBits); err != nil {
		return err
	}
	r.Kind = kindLSE
	r.Keys = 1
	return p.send(r, lse, float32Bits)
}

// Keys writes n keys after the rotation, k [n, kvHeads*dim], of positions pos0 and
// following. Layers that share a cache have one set of keys, under the id of the layer
// that owns it. Write the queries of all of its readers first: their lengths decide how
// many bits the keys need.
func (p *PromptWriter) Keys(layer, pos0, n int, k []float32) error {
	if err := p.checkCache(layer); err != nil {
		return err
	}
	return p.send(p.keysRecord(layer, pos0, n), k, p.keyBits(layer, k))
}

// KeysLater is like Keys but takes the keys from read, which another goroutine calls
// before Settle returns.
func (p *PromptWriter) KeysLater(layer, pos0, n int, read func() []float32) error {
	err := p.w.queue.failed()
	if err == nil {
		err = p.checkCache(layer)
	}
	if err != nil {
		return err
	}
	r := p.keysRecord(layer, pos0, n)
	values := int(r.elements())
	p.take(values)
	return p.sendLater(r, values, func(r *record) []byte {
		k := read()
		return p.encode(r, k, encF32, p.keyBits(layer, k))
	})
}

func (p *PromptWriter) keysRecord(layer, pos0, n int) record {
	s := p.w.header.Model.Layer(layer)
	return record{
		Kind: kindKeys, Layer: uint32(layer), NH: uint32(s.KVHeads),
		Row0: uint32(pos0), Rows: uint32(n), Keys: uint32(s.KeyDim),
	}
}

// checkCache returns an error unless a layer has a cache of its own.
func (p *PromptWriter) checkCache(layer int) error {
	if s := p.w.header.Model.Layer(layer); s.CacheOf != layer {
		return fmt.Errorf("%s: keys or values of layer %d, which reads the cache of layer %d: write them once, for layer %d",
			p.w.path, layer, s.CacheOf, s.CacheOf)
	}
	return nil
}

// Settle waits until all blocks so far have been read and encoded. Afterwards the
// caller may free the source of KeysLater.
func (p *PromptWriter) Settle() { p.encoding.Wait() }

// keyBits returns the number of mantissa bits that the keys of a layer need.
func (p *PromptWriter) keyBits(layer int, k []float32) int {
	s := p.w.header.Model.Layer(layer)
	maxK := longest(k, s.KeyDim)
	p.mu.Lock()
	maxQ := p.maxQ[layer]
	p.mu.Unlock()
	return p.precision().keyBits(s.KeyDim, maxQ, maxK)
}

// longest returns the length of the longest of the vectors x [n, dim].
func longest(x []float32, dim int) float64 {
	top := 0.0
	for ; len(x) >= dim; x = x[dim:] {
		sum := 0.0
		for _, v := range x[:dim] {
			sum += float64(v) * float64(v) // an exact product
		}
		top = max(top, sum)
	}
	return math.Sqrt(top)
}

// Values writes n values, v [n, kvHeads*valueDim], of positions pos0 and following: once
// for layers that share a cache. In the factors form, a latent cache has none, because
// its keys contain them.
func (p *PromptWriter) Values(layer, pos0, n int, v []float32) error {
	if err := p.checkCache(layer); err != nil {
		return err
	}
	s := p.w.header.Model.Layer(layer)
	return p.send(record{
		Kind: kindValues, Layer: uint32(layer), NH: uint32(s.KVHeads),
		Row0: uint32(pos0), Rows: uint32(n), Keys: uint32(s.ValueDim),
	}, v, p.precision().rules().valueBits)
}

// Sums writes the weights summed over all queries of the prompt, [heads, P].
func (p *PromptWriter) Sums(layer int, sums []float32) error {
	heads := len(p.w.header.HeadsOf(layer))
	if heads == 0 || len(sums) == 0 {
		return nil
	}
	return p.send(record{
		Kind: kindSums, Layer: uint32(layer), NH: uint32(heads),
		Rows: 1, Keys: uint32(len(sums) / heads),
	}, sums, p.precision().SumBits())
}

// Window writes the weights summed over the queries of one query window,
// [heads, keys]: windows are numbered from the oldest, and the last one ends with
// the prompt.
func (p *PromptWriter) Window(layer, index, keys int, sums []float32) error {
	return p.send(record{
		Kind: kindWindow, Layer: uint32(layer), Head0: uint32(index), NH: uint32(len(sums) / max(1, keys)),
		Row0: uint32(index), Rows: 1, Keys: uint32(keys),
	}, sums, p.precision().SumBits())
}

// Overview writes a pooled picture of a layer's whole attention map,
// [heads, side, side]: each cell holds the largest weight of its queries and keys.
func (p *PromptWriter) Overview(layer, side int, cells []float32) error {
	return p.send(record{
		Kind: kindOverview, Layer: uint32(layer), NH: uint32(len(cells) / max(1, side*side)),
		Rows: uint32(side), Keys: uint32(side),
	}, cells, overviewBits)
}

// Logits writes n rows of logits, [n, vocab], from reply row row0 on.
func (p *PromptWriter) Logits(row0, n int, logits []float32) error {
	return p.send(record{
		Kind: kindLogits, NH: 1, Row0: uint32(row0), Rows: uint32(n), Keys: uint32(len(logits) / n),
	}, logits, p.precision().SumBits())
}

// Order sets the place of the next blocks of a prompt whose blocks are held: in the file,
// blocks are in ascending order of n, and blocks of equal n in the order of the calls. It
// has no effect on other prompts.
func (p *PromptWriter) Order(n int) {
	p.mu.Lock()
	p.order = n
	p.mu.Unlock()
}

// Finish completes the prompt and waits until it is in the file.
func (p *PromptWriter) Finish(info Prompt) error {
	info.Blocks = p.blocks
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if p.held != nil {
		p.index = uint32(p.w.file.prompts)
		slices.SortStableFunc(p.held, func(a, b job) int { return cmp.Compare(a.order, b.order) })
		for _, j := range p.held {
			j.prompt = p.index
			if err := p.w.queue.send(j); err != nil {
				return err
			}
		}
		p.held = []job{}
	}
	if err := p.w.queue.send(job{block: seal(record{Kind: kindPrompt, Prompt: p.index}, text)}); err != nil {
		return err
	}
	if err := p.w.queue.wait(); err != nil {
		return err
	}
	p.w.finished(&info)
	return nil
}

func (p *PromptWriter) precision() Precision { return p.w.header.Plan.Precision }

// take waits until the queue has room for n more values to encode.
func (p *PromptWriter) take(n int) { p.w.queue.pending.take(int64(n)) }

// send hands a copy of x to the writer, to be stored with bits mantissa bits.
func (p *PromptWriter) send(r record, x []float32, bits int) error {
	if err := p.w.queue.failed(); err != nil {
		return err
	}
	p.take(len(x))
	return p.sendOwned(r, append([]float32(nil), x...), encF32, bits)
}

// sendOwned is like send but does not copy x: the caller gives up x and has called
// take for its values.
func (p *PromptWriter) sendOwned(r record, x []float32, enc uint8, bits int) error {
	return p.sendLater(r, len(x), func(r *record) []byte { return p.encode(r, x, enc, bits) })
}

// encode returns the payload of an array block before compression, and completes the
// record's encoding.
func (p *PromptWriter) encode(r *record, x []float32, enc uint8, bits int) []byte {
	return encodeFloats(r, x, enc, bits, p.precision())
}

// sendLater queues a block of n values, for which the caller has called take. Another
// goroutine calls encode to get the payload.
func (p *PromptWriter) sendLater(r record, n int, encode func(r *record) []byte) error {
	r.Prompt = p.index
	if want := r.elements(); want != uint64(n) {
		p.w.queue.pending.give(int64(n))
		return fmt.Errorf("%s: %s: %d values, want %d", p.w.path, r.place(), n, want)
	}
	p.encoding.Add(1)
	late := p.w.queue.encodeLater(r, n, encode, p.encoding.Done)
	p.mu.Lock()
	p.blocks++
	hold := p.held != nil
	if hold {
		p.held = append(p.held, job{late: late, order: p.order})
	}
	p.mu.Unlock()
	if hold {
		return nil
	}
	return p.w.queue.send(job{late: late, prompt: p.index})
}
