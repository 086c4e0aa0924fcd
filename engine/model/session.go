package model

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
)

// A Session holds the keys and values of a sequence while it grows. Positions are
// counted from 0. Only one goroutine may use a session, and only one session of a
// model may run at a time, since each uses all threads of the processor or the
// whole card; Model.Step runs several together.
type Session struct {
	m   *Model
	seq sequence

	// Of a model whose keys are computed anew, see Rope.Restarts:
	tokens     []int32 // of the cache
	long       bool    // whether the cache has the rotation of long sequences
	compressed bool    // the tokens are unknown

	quantized bool // tokens pass through the layers one at a time
}

// Pass sets what a call of Forward hands over. All callbacks are optional.
type Pass struct {
	// Logits receives the logits of the tokens from LogitsFrom on, [vocab] each; row
	// is an index into the tokens of the pass. The logits are valid during the call.
	Logits     func(row int, logits []float32)
	LogitsFrom int // len(tokens) or more: no logits are computed

	Recorder   *Recorder // nil: nothing is recorded
	RecordFrom int       // first token of the pass whose weights are recorded

	// Length is the length of the whole sequence that the tokens are a part of. Some
	// rotations depend on it. 0 means the length after this pass; 1 rotates each token as
	// if it had been decoded alone.
	Length int

	// Hidden receives the last token's state before each layer and after the last
	// one. Only tests use it.
	Hidden func(layer int, hidden []float32)
}

// NewSession starts an empty sequence.
func (m *Model) NewSession() *Session { return &Session{m: m, seq: m.backend.newSequence()} }

// Len returns the number of tokens so far, which is the position of the next one.
func (s *Session) Len() int { return s.seq.length() }

// Forward appends tokens to the sequence. It fails if a token is outside the vocabulary
// or the sequence is longer than the model's table of position embeddings, or if the
// model's files have changed. If a card lacks memory, the error is a *cuda.MemoryError.
func (s *Session) Forward(ctx context.Context, tokens []int32, p Pass) error {
	if s.m.config.Rope.Restart {
		if err := s.check(tokens); err != nil {
			return err
		}
		return s.m.orChanged(s.forwardAnew(ctx, tokens, p))
	}
	single, err := s.prepare(tokens, &p)
	if err != nil {
		return err
	}
	return s.m.orChanged(s.seq.forward(ctx, tokens, single, p))
}

// check reports tokens that cannot be appended.
func (s *Session) check(tokens []int32) error {
	c := &s.m.config
	for at, id := range tokens {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("token %d is %d, but the vocabulary has %d tokens", at, id, c.Vocab)
		}
	}
	if end := s.Len() + len(tokens); c.Learned && end > c.MaxPositions {
		return fmt.Errorf("%d tokens, but the model has embeddings of %d positions", end, c.MaxPositions)
	}
	return nil
}

// prepare checks tokens and completes their pass. single says that they must pass through
// the layers one at a time.
func (s *Session) prepare(tokens []int32, p *Pass) (single bool, err error) {
	end := s.Len() + len(tokens)
	single = s.quantized
	if p.Length == 0 {
		p.Length = end
	} else if s.m.config.Rope.Varies(end) && end > p.Length {
		single = true
	}
	return single, s.check(tokens)
}

// forwardAnew is Forward for a model whose keys are computed anew when the sequence
// grows longer than the original length.
func (s *Session) forwardAnew(ctx context.Context, tokens []int32, p Pass) error {
	r := &s.m.config.Rope
	end := s.Len() + len(tokens)
	if p.Length == 0 {
		p.Length = end
	}
	if !r.Varies(p.Length) { // the tokens after the original length are rotated as long ones, those before it are not
		if short := min(max(r.Original-s.Len(), 0), len(tokens)); short > 0 {
			if err := s.append(ctx, tokens[:short], p, false); err != nil {
				return err
			}
			tokens = tokens[short:]
			p = p.after(short)
		}
		if len(tokens) == 0 {
			return nil
		}
	}
	p.Length = max(p.Length, end)
	return s.append(ctx, tokens, p, true)
}

// append runs tokens that are all rotated as in a long sequence, or as in a short one.
// If the cache is rotated differently, it is computed anew.
func (s *Session) append(ctx context.Context, tokens []int32, p Pass, long bool) error {
	if n := s.Len(); n > 0 && s.long != long {
		if s.compressed {
			return fmt.Errorf("position %d is past %d, where this model computes all its keys anew, which a compressed cache does not allow: "+
				"keep the prompt and the reply together within %d tokens, or use a longer prompt", n, s.m.config.Rope.Original, s.m.config.Rope.Original)
		}
		if err := s.seq.truncate(0); err != nil {
			return err
		}
		again := Pass{LogitsFrom: n, Length: n}
		if long {
			again.Length = p.Length
		}
		if err := s.seq.forward(ctx, s.tokens, false, again); err != nil {
			return err
		}
	}
	s.long = long
	if err := s.seq.forward(ctx, tokens, false, p); err != nil {
		return err
	}
	s.tokens = append(s.tokens, tokens...)
	return nil
}

// after returns the pass of the tokens that follow the first n.
func (p Pass) after(n int) Pass {
	out := p
	out.LogitsFrom = max(p.LogitsFrom-n, 0)
	out.RecordFrom = max(p.RecordFrom-n, 0)
	if p.Logits != nil {
		out.Logits = func(row int, logits []float32) { p.Logits(row+n, logits) }
	}
	return out
}

// Keys returns the keys of positions pos to pos+n-1 of a layer after the rotation,
// [n, kvHeads*headDim]. The layer must not be compressed.
func (s *Session) Keys(layer, pos, n int) ([]float32, error) { return s.seq.keys(layer, pos, n) }

// Values returns the values of positions pos to pos+n-1 of a layer,
// [n, kvHeads*valueDim]. The layer must not be compressed.
func (s *Session) Values(layer, pos, n int) ([]float32, error) { return s.seq.values(layer, pos, n) }

// Store is what a sequence keeps of one layer for a kv head or, if the cache was
// compressed by query head, for a query head.
type Store struct {
	Positions []int32   // of the slots, ascending
	Keys      []float32 // [slot, keyDim], after the rotation
	Values    []float32 // [slot, valueDim]
}

// Stores returns what is kept of a layer that has a cache of its own, compressed or not.
// It fails on a card.
func (s *Session) Stores(layer int) ([]Store, error) { return s.seq.stores(layer) }

// Slots returns the number of slots of each store of a layer that has a cache of its own.
// It fails on a card.
func (s *Session) Slots(layer int) ([]int, error) { return s.seq.slots(layer) }

// InMemory reports whether keys and values are in the processor's memory. If so,
// Keys and Values may be called from several goroutines and do not fail.
func (s *Session) InMemory() bool { return s.seq.inMemory() }

// CacheBytes returns the memory of all keys and values.
func (s *Session) CacheBytes() int64 { return s.seq.cacheBytes() }

// Reserve makes room for n tokens in all, so that the cache is neither copied nor
// larger than needed while the sequence grows to that length. It fails if a card
// does not have the memory.
func (s *Session) Reserve(n int) error { return s.seq.reserve(n) }

// Mark keeps what Truncate and Copy need to return to the present length of a quantized
// sequence, and in a model with layers from whose state earlier states do not follow
// (linear attention, convolutions).
// Only the last mark is kept; a return to the empty sequence and other sequences need none.
func (s *Session) Mark() { s.seq.mark() }

// Truncate drops the tokens from position n on. In a compressed sequence, n must not be
// less than the length at which it was compressed. In a model with states, it fails if n
// is neither the length of the last Mark nor 0.
func (s *Session) Truncate(n int) error {
	if err := s.seq.truncate(n); err != nil {
		return err
	}
	s.tokens = s.tokens[:min(n, len(s.tokens))]
	return nil
}

// Close releases the memory. The session must not be used afterwards.
func (s *Session) Close() { s.seq.close() }

// Copy returns a new sequence of the first n tokens with room for the given number of
// tokens. The session itself, which must not be compressed, does not change. Copy fails
// if a card does not have the memory. In a model with states, n must be the present
// length or that of the last Mark.
func (s *Session) Copy(n, room int) (*Session, error) {
	out := &Session{m: s.m, tokens: slices.Clone(s.tokens[:min(n, len(s.tokens))]), long: s.long}
	var err error
	if out.seq, err = s.seq.copy(n, room); err != nil {
		return nil, err
	}
	return out, nil
}

// Select chooses slots of one layer on the card that holds the cache, by the votes
// of its last n queries q, [n, heads*headDim], as Recorder.States received them.
// It returns for each pick the slots of each query head or kv head in ascending
// order, as Compress takes them. ok is false if the caller must choose instead:
// the cache is not on a card, or the card has no room for the weights.
func (s *Session) Select(layer int, q []float32, n int, picks []Pick) (keep [][][]int32, ok bool, err error) {
	return s.seq.choose(layer, q, n, picks)
}

// Compress returns a new sequence whose layers keep only some slots of their caches. keep
// returns, for a layer, the slots of each kv head or of each query head in ascending
// order. It is called for the layers that have a cache of their own; a cache that several
// layers read keeps slots by kv head. Later tokens take the positions that follow the
// uncompressed sequence. The session itself does not change. It may be compressed, by
// query head only if the slots are given by query head; on a card it must not be.
func (s *Session) Compress(keep func(layer int) ([][]int32, error)) (*Session, error) {
	all := make([][][]int32, s.m.config.Layers)
	for layer := range all {
		if shape := &s.m.config.Shapes[layer]; !shape.HasAttention() || shape.CacheOf != layer {
			continue
		}
		slots, err := keep(layer)
		if err != nil {
			return nil, err
		}
		have := slices.Repeat([]int{s.Len()}, len(slots))
		if s.compressed {
			if have, err = s.seq.slots(layer); err != nil {
				return nil, err
			}
		}
		if err := s.checkSlots(layer, slots, have); err != nil {
			return nil, err
		}
		all[layer] = slots
	}
	seq, err := s.seq.compress(all)
	if err != nil {
		return nil, err
	}
	return &Session{m: s.m, seq: seq, long: s.long, compressed: true}, nil
}

// CacheFormat says how a cache is quantized.
type CacheFormat = cpu.CacheFormat

// Quantize quantizes keys and values, those that the session holds and those of later
// tokens, which then pass through the layers one at a time. The session can then be
// truncated to the length of the last Mark only, and neither copied nor compressed. It
// fails on a card and in models with latent attention.
func (s *Session) Quantize(f CacheFormat) error {
	if err := f.Check(); err != nil {
		return err
	}
	if s.m.config.Latent != nil {
		return ErrLatentFormat
	}
	if err := s.seq.quantize(f); err != nil {
		return err
	}
	s.quantized = true
	return nil
}

// ErrLatentFormat says that latent entries, which are keys and values at once, have no
// channels of keys and positions of values to quantize.
var ErrLatentFormat = errors.New(
	"a cache of latent entries cannot be quantized as keys by channel and values by position")

// checkSlots checks the slots that a layer is to keep. have has the number of slots of
// each store.
func (s *Session) checkSlots(layer int, slots [][]int32, have []int) error {
	c := &s.m.config.Shapes[layer]
	switch {
	case len(slots)%len(have) != 0:
		return fmt.Errorf("layer %d: slots for %d heads, but the compressed cache has %d stores",
			layer, len(slots), len(have))
	case len(slots) == c.KVHeads:
	case s.m.config.shared(layer):
		return fmt.Errorf("layer %d: slots for %d heads, want %d (kv heads), because other layers read its cache", layer, len(slots), c.KVHeads)
	case len(slots) != c.Heads:
		return fmt.Errorf("layer %d: slots for %d heads, want %d (query heads) or %d (kv heads)", layer, len(slots), c.Heads, c.KVHeads)
	}
	for h, list := range slots {
		last := int32(-1)
		most := have[h*len(have)/len(slots)]
		for _, at := range list {
			if at <= last || int(at) >= most {
				return fmt.Errorf("layer %d, head %d: slot %d after %d: want ascending slots below %d",
					layer, h, at, last, most)
			}
			last = at
		}
	}
	return nil
}
