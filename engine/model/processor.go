package model

import (
	"context"
	"fmt"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
)

// processor is the backend that runs on the processor.
type processor struct {
	config *Config
	*weights
	source    *checkpoint.Checkpoint
	placement Placement
	pool      *cpu.Pool
	chunk     int // most tokens that pass through a layer together
	buf       buffers
	failed    error // of loading a weight
}

func (p *processor) newSequence() sequence {
	s := &cpuSequence{processor: p, kv: make([]*cpu.KV, p.config.Layers), mixerStates: p.config.newStates()}
	for l := range s.kv {
		if shape := &p.config.Shapes[l]; shape.HasAttention() && shape.CacheOf == l {
			s.kv[l] = newKV(shape)
		}
	}
	return s
}

// newKV returns an empty cache of a layer.
func newKV(s *LayerShape) *cpu.KV {
	if s.Latent {
		return cpu.NewLatentKV(s.KeyDim, s.ValueDim)
	}
	return cpu.NewKV(s.KVHeads, s.KeyDim, s.ValueDim)
}

func (p *processor) piece() int { return cpu.PieceRows() }

func (p *processor) close() { p.pool.Close() }

func (p *processor) weightBytes() int64 {
	return p.placement.Memory
}

// cpuSequence is a sequence on the processor. forward.go has its arithmetic.
type cpuSequence struct {
	*processor
	kv          []*cpu.KV   // by layer; nil for a layer without attention or with the cache of another one
	mixerStates [][]float32 // by layer; nil for a layer without a state
	marked      mark
	seen        int  // tokens so far
	apart       bool // the rows of a chunk belong to different sequences: each is multiplied as if it were alone
}

// buffers holds the buffers of a chunk, [n, width] each, which all sequences of a model
// share. They grow with the largest chunk.
type buffers struct {
	x, h   []float32 // hidden states, and the input or output of a block
	qkv    []float32
	q, k   []float32
	v      []float32
	attn   []float32
	heads  []float32 // latent attention: queries, and later outputs, of the heads
	gateUp []float32
	act    []float32
	logits []float32

	routed    []float32 // mixture of experts: the router's logits
	gathered  []float32 // mixture of experts: the rows of one expert and their results
	mixed     []float32 // mixture of experts: the weighted sum of the results
	expertsIn []float32 // mixture of experts: what they read, if it is not the hidden state

	gates      []float32 // of the attention's output
	mixer      []float32 // the projections of a mixer
	mixerConv  []float32 // a mixer's convolution
	mixerRates []float32 // what a mixer writes and keeps
	mixerOut   []float32
	own        []float32 // the inputs of all layers' own, [n, layers, LayerInput]
	states     []float32 // the states of the tokens, [Streams][n, hidden]
	laurel     []float32 // the low-rank path parallel to the attention
	beside     []float32 // the mixture parallel to the feed-forward: its input and its output
}

// grow returns a buffer of n elements, which keeps its memory between calls.
func grow(b *[]float32, n int) []float32 {
	if cap(*b) < n {
		*b = make([]float32, n)
	}
	return (*b)[:n]
}

func (s *cpuSequence) length() int { return s.seen }

// cache returns the keys and values that a layer reads.
func (s *cpuSequence) cache(layer int) *cpu.KV { return s.kv[s.config.Shapes[layer].CacheOf] }

// caches lists the keys and values of all layers, each once.
func (s *cpuSequence) caches() []*cpu.KV {
	list := make([]*cpu.KV, 0, len(s.kv))
	for _, kv := range s.kv {
		if kv != nil {
			list = append(list, kv)
		}
	}
	return list
}

func (s *cpuSequence) keys(layer, pos, n int) ([]float32, error) {
	if !s.config.Shapes[layer].HasAttention() {
		return nil, errNoAttention(layer)
	}
	return s.cache(layer).Keys(pos, n), nil
}

func (s *cpuSequence) values(layer, pos, n int) ([]float32, error) {
	if !s.config.Shapes[layer].HasAttention() {
		return nil, errNoAttention(layer)
	}
	return s.cache(layer).Values(pos, n), nil
}

func (s *cpuSequence) stores(layer int) ([]Store, error) {
	kv := s.kv[layer]
	if kv == nil {
		return nil, fmt.Errorf("layer %d has no cache of its own", layer)
	}
	list := make([]Store, kv.Stores())
	for h := range list {
		list[h] = Store{Positions: kv.Positions(h), Keys: kv.KeysOf(h), Values: kv.ValuesOf(h)}
	}
	return list, nil
}

func (s *cpuSequence) slots(layer int) ([]int, error) {
	list := make([]int, s.kv[layer].Stores())
	for h := range list {
		list[h] = s.kv[layer].Slots(h)
	}
	return list, nil
}

func (s *cpuSequence) inMemory() bool { return true }

func (s *cpuSequence) cacheBytes() int64 {
	var n int64
	for _, kv := range s.caches() {
		n += int64(kv.Bytes())
	}
	return n
}

func (s *cpuSequence) reserve(n int) error {
	for _, kv := range s.caches() {
		kv.Reserve(n)
	}
	return nil
}

func (s *cpuSequence) truncate(n int) error {
	if n >= s.seen {
		return nil
	}
	states, err := s.statesAt(n)
	if err != nil {
		return err
	}
	s.mixerStates = cloneStates(states)
	for _, kv := range s.caches() {
		kv.Truncate(n)
	}
	s.seen = n
	return nil
}

func (s *cpuSequence) close() {
	for _, kv := range s.caches() {
		kv.Free()
	}
}

// choose leaves the choice to the caller, which can read the keys.
func (s *cpuSequence) choose(int, []float32, int, []Pick) ([][][]int32, bool, error) {
	return nil, false, nil
}

func (s *cpuSequence) copy(n, room int) (sequence, error) {
	states, err := s.statesAt(n)
	if err != nil {
		return nil, err
	}
	out := &cpuSequence{processor: s.processor, kv: make([]*cpu.KV, len(s.kv)), mixerStates: cloneStates(states), seen: n}
	for l, kv := range s.kv {
		if kv != nil {
			out.kv[l] = kv.Copy(n, room)
		}
	}
	return out, nil
}

func (s *cpuSequence) compress(keep [][][]int32) (sequence, error) {
	out := &cpuSequence{processor: s.processor, kv: make([]*cpu.KV, len(s.kv)), mixerStates: cloneStates(s.mixerStates), seen: s.seen}
	for l, kv := range s.kv {
		if kv != nil {
			out.kv[l] = kv.Compress(keep[l])
		}
	}
	return out, nil
}

func (s *cpuSequence) quantize(f CacheFormat) error {
	for _, kv := range s.caches() {
		kv.Quantize(f)
	}
	return nil
}

func (s *cpuSequence) forward(ctx context.Context, tokens []int32, single bool, p Pass) error {
	step := s.chunk
	if single {
		step = 1
	} else if s.streams() {
		return s.throughLayers(ctx, []*cpuSequence{s}, [][]int32{tokens}, []Pass{p})
	}
	for lo := 0; lo < len(tokens); lo += step {
		hi := min(lo+step, len(tokens))
		if err := s.pass(ctx, tokens[lo:hi], lo, &p); err != nil {
			return err
		}
	}
	return nil
}
