package cuda

import "os"

// DefaultChunk is the number of tokens that pass through a layer together if the memory
// allows: enough to keep the card busy, and few enough that the activations fit.
const (
	DefaultChunk = 2048
	minChunk     = 16
)

// Sizes of the ring through which recorded data goes to the host.
const (
	ringSlots    = 8
	maxSlotBytes = 16 << 20
	minSlotBytes = 32 << 10
)

// Memory is the memory that a run takes on a card, in bytes.
type Memory struct{ Weights, Cache, Work, Recording int64 }

// Total is the sum of the parts.
func (m Memory) Total() int64 { return m.Weights + m.Cache + m.Work + m.Recording }

// termsSetting is off to widen bfloat16 weights to float32 for --compute f32, instead of
// multiplying them on tensor cores by the terms of the activations.
const termsSetting = "ATTNSCOPE_CUDA_TERMS"

// Mixes reports whether bfloat16 weights stay as they are for products with float32
// activations, and so take 2 bytes each.
func Mixes(compute string) bool {
	return elementBytes(compute) == 4 && os.Getenv(termsSetting) != "off"
}

func elementBytes(compute string) int64 {
	if compute == "bf16" || compute == "f16" {
		return 2
	}
	return 4
}

// weights returns the bytes of the weights in a compute type.
func (s *Sizes) weights(compute string) int64 {
	h, ff := int64(s.Hidden), int64(s.Intermediate)
	attn := h*int64(s.Heads*s.HeadDim+s.KVHeads*(s.HeadDim+s.ValueDim)) + h*int64(s.Heads*s.ValueDim)
	parts := int64(3)
	if s.Plain {
		parts = 2
	}
	dense, sparse := parts*h*ff, int64(0)
	if s.Experts > 0 {
		sparse = 3*h*int64(s.Experts)*int64(s.ExpertSize) + 3*h*int64(s.SharedSize) + h*int64(s.Experts)
	}
	tables := int64(1)
	if !s.TiedHead {
		tables = 2
	}
	return (int64(s.Layers)*attn + int64(s.SparseLayers)*sparse + int64(s.Layers-s.SparseLayers)*dense + tables*h*int64(s.Vocab)) * elementBytes(compute)
}

// Recorded specifies what is added up on the card over all queries of a sequence.
type Recorded struct {
	Layers, Heads int  // number of layers, and of heads in each
	Sums          bool // sums over the queries
	Side          int  // a pooled picture of Side x Side cells; 0: none
}

// totals returns the memory of sums and pictures of a sequence of n positions.
func (r *Recorded) totals(n int) int64 {
	return int64(r.Layers) * int64(r.Heads) * (b2i(r.Sums)*8*int64(n) + 4*int64(r.Side)*int64(r.Side))
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Memory estimates the memory of a sequence of n positions that is recorded. For float32 it
// counts weights of float32, and work as for weights of bfloat16.
func (s *Sizes) Memory(compute string, chunk, n int, r Recorded) Memory {
	size := elementBytes(compute)
	if chunk < 1 {
		chunk = DefaultChunk
	}
	chunk = min(chunk, n)
	w := workspace{}
	return Memory{
		Weights:   s.weights(compute),
		Cache:     int64(n) * int64(s.Layers*s.KVHeads*(s.HeadDim+s.ValueDim)) * size,
		Work:      w.plan(s, size, chunk, 0, Mixes(compute)).total + s.scoreBytes(n),
		Recording: (ringSlots+1)*max(s.slotBytes(n), 4*int64(r.Side)*int64(r.Side)) + r.totals(n),
	}
}

// slotBytes returns the size of a ring's slot for sequences of n positions: the sums of
// all heads over one window, within bounds, and at least one row.
func (s *Sizes) slotBytes(n int) int64 {
	want := max(minSlotBytes, min(maxSlotBytes, 8*int64(s.Heads)*int64(n)))
	return max(want, 8*int64(n), 4*int64(s.Heads*s.HeadDim))
}

// decodeRows is the largest number of queries whose attention is computed as in
// decoding. Each query has blocks of its own; a key is read once for the query heads of a group.
const decodeRows = 8

// scoreBytes returns the memory that decoding needs for n positions.
func (s *Sizes) scoreBytes(n int) int64 {
	const part = 128 // the smallest: most parts
	parts := int64(n+part-1) / part
	return 4 * decodeRows * int64(s.Heads) * (int64(n) + parts*int64(2+s.ValueDim))
}
