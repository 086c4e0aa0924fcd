package cpu

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/engine/tensor"
)

// CacheFormat says how the entries of a cache are quantized, as KIVI (arXiv:2402.02750)
// does: keys by channel, values by position. Group numbers, those of one channel at
// successive slots or those of one slot at successive channels, have a scale and a minimum
// in half precision, and a code each:
//
//	minimum = half(min x)
//	scale   = half((max x - min x) / (2^Bits - 1))
//	code    = round(clamp((x - minimum) / scale, 0, 2^Bits - 1)), ties to even
//	read    = code · scale + minimum
//
// in float32. A scale of zero has codes of zero. If the channels of a value are not a
// multiple of Group, its last group is smaller.
type CacheFormat struct {
	Bits     int // of a code, 2 to 8; 0: nothing is quantized
	Group    int // numbers with the same scale
	Residual int // the last slots that are not quantized, a multiple of Group; see KV.Quantize
}

// Check returns an error if the format does not exist.
func (f CacheFormat) Check() error {
	switch {
	case f.Bits == 0:
		return nil
	case f.Bits < 2 || f.Bits > 8:
		return fmt.Errorf("%d bits: want 2 to 8", f.Bits)
	case f.Group < 1 || f.Residual < f.Group || f.Residual%f.Group != 0:
		return fmt.Errorf("residual %d with groups of %d: want a multiple of the group", f.Residual, f.Group)
	}
	return nil
}

// quantizedKeys returns how many of n slots have quantized keys: the others are fewer than
// Residual.
func (f CacheFormat) quantizedKeys(n int) int { return n - n%f.Residual }

// quantizedValues returns how many of n slots have quantized values: all but the last
// Residual.
func (f CacheFormat) quantizedValues(n int) int { return max(0, n-f.Residual) }

// bits returns the size of a store of n slots, in bits. A number that is not quantized
// has 16 bits, a scale and a minimum together 32.
func (f CacheFormat) bits(n, keyDim, valueDim int) int {
	if f.Bits == 0 {
		return 16 * n * (keyDim + valueDim)
	}
	keys := f.quantizedKeys(n)
	values := f.quantizedValues(n)
	groups := keys/f.Group*keyDim + values*((valueDim+f.Group-1)/f.Group)
	codes := keys*keyDim + values*valueDim
	return f.Bits*codes + 32*groups + 16*((n-keys)*keyDim+(n-values)*valueDim)
}

// Bytes returns the size of a store of n slots. To compare with stores of float32, it is
// twice the size of a cache in which numbers that are not quantized have 16 bits.
func (f CacheFormat) Bytes(n, keyDim, valueDim int) int {
	return (2*f.bits(n, keyDim, valueDim) + 7) / 8
}

// round replaces the numbers of a group by those that are read from their codes.
func (f CacheFormat) round(x []float32) {
	low, high := x[0], x[0]
	for _, v := range x {
		low = min(low, v)
		high = max(high, v)
	}
	most := float32(int(1)<<f.Bits - 1)
	minimum := toHalf(low)
	scale := toHalf((high - low) / most)
	for i, v := range x {
		code := float32(0)
		if scale > 0 {
			code = (v - minimum) / scale
			code = float32(math.RoundToEven(float64(max(0, min(code, most)))))
		}
		x[i] = float32(code*scale) + minimum
	}
}

// toHalf rounds to half precision. A number that is too large becomes the largest one.
func toHalf(v float32) float32 {
	const largest = 65504
	return tensor.F16ToF32(tensor.F32ToF16(max(-largest, min(v, largest))))
}

// quantized is the state of a quantized store.
type quantized struct {
	format       CacheFormat
	keys, values int // slots, from the first on
	start        residual
}

// residual holds what was not yet quantized of a store at the call of Mark.
type residual struct {
	keys, values     int // quantized slots
	keyRest, valRest []float32
}

// Quantize quantizes the store, and what will be appended: the keys as soon as Residual
// slots are not quantized, all of these at once, and the values of a slot as soon as it is
// no longer among the last Residual slots. A row that is appended is quantized after it
// has attended, so that only one row may be appended at a time. The store can then be
// truncated only to the length that it had when Mark was called. A store of latents cannot
// be quantized.
func (kv *KV) Quantize(f CacheFormat) {
	for h := range kv.heads {
		s := &kv.heads[h]
		s.quantized = &quantized{format: f}
		kv.settle(s)
	}
}

// Mark keeps what Truncate needs to return a quantized store to its present length.
func (kv *KV) Mark() {
	for h := range kv.heads {
		s := &kv.heads[h]
		q := s.quantized
		if q == nil {
			continue
		}
		q.start = residual{
			keys: q.keys, values: q.values,
			keyRest: make([]float32, (s.n-q.keys)*kv.keyDim), valRest: make([]float32, (s.n-q.values)*kv.valueDim),
		}
		for slot := q.keys; slot < s.n; slot++ {
			kv.Key(h, slot, q.start.keyRest[(slot-q.keys)*kv.keyDim:])
		}
		for slot := q.values; slot < s.n; slot++ {
			kv.Value(h, slot, q.start.valRest[(slot-q.values)*kv.valueDim:])
		}
	}
}

// settle quantizes what is due of a quantized store.
func (kv *KV) settle(s *store) {
	q := s.quantized
	f := q.format
	group := make([]float32, f.Group)
	for end := f.quantizedKeys(s.n); q.keys < end; q.keys += f.Group {
		for d := range kv.keyDim {
			for i := range group {
				group[i] = *kv.keyAt(s, q.keys+i, d)
			}
			f.round(group)
			for i, v := range group {
				*kv.keyAt(s, q.keys+i, d) = v
			}
		}
	}
	value := make([]float32, kv.valueDim)
	for end := f.quantizedValues(s.n); q.values < end; q.values++ {
		kv.readValue(s, q.values, value)
		for d := 0; d < kv.valueDim; d += f.Group {
			f.round(value[d:min(d+f.Group, kv.valueDim)])
		}
		kv.writeValue(s, q.values, value)
	}
}

// reset returns a quantized store to its state at the call of Mark.
func (kv *KV) reset(s *store) {
	q := s.quantized
	q.keys = q.start.keys
	q.values = q.start.values
	for i, v := range q.start.keyRest {
		*kv.keyAt(s, q.keys+i/kv.keyDim, i%kv.keyDim) = v
	}
	for i := 0; i < len(q.start.valRest); i += kv.valueDim {
		kv.writeValue(s, q.values+i/kv.valueDim, q.start.valRest[i:i+kv.valueDim])
	}
}
