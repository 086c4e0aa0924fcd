package model

import (
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/tensor"
)

// CacheBytes returns the memory of the keys and values of one position on the
// processor. A latent counts once.
func (c *Config) CacheBytes() int64 {
	n := 0
	for l := range c.Shapes {
		if s := &c.Shapes[l]; s.HasAttention() && s.CacheOf == l {
			n += s.entryDim()
		}
	}
	return 4 * int64(n)
}

// HeldWidth returns the number of elements that a token keeps between layers besides its
// hidden state: further states, and the inputs of the layers' own.
func (c *Config) HeldWidth() int { return c.Streams*c.Hidden + c.Layers*c.LayerInput }

// TokenWeights returns the number of weights that one token is multiplied by in all
// layers: the weights of the attention's projections, and of the feed-forward or of the
// experts that the token goes through.
func (c *Config) TokenWeights() float64 {
	n := 0.0
	for l := range c.Shapes {
		s := &c.Shapes[l]
		if s.Latent {
			n += float64(c.Latent.weights(c.Hidden, s.Heads))
			continue
		}
		keys, values := c.newWidths(l)
		if c.keyValues(l) {
			values = 0
		}
		n += float64(c.Hidden) * float64(s.queryWidth()+keys+values+s.outputWidth()+3*c.LayerInput+2*c.Laurel)
	}
	for _, m := range c.Mixers {
		n += float64(m.Weights)
	}
	matrices := 3.0 // gate, up and down
	if c.Plain {
		matrices = 2
	}
	expert := matrices * float64(c.expertWidth()) * float64(c.ExpertSize)
	for l := range c.Layers {
		if !c.feeds(l) {
			continue
		}
		if c.sparse(l) {
			router := float64(c.Hidden) * float64(c.Experts)
			n += router + float64(c.TopExperts)*expert + matrices*float64(c.Hidden)*float64(c.SharedSize)
			n += 2 * float64(c.Hidden) * float64(c.ExpertHidden)
		}
		if !c.sparse(l) || c.BesideDense {
			n += matrices * float64(c.Hidden) * float64(c.intermediate(l))
		}
	}
	return n
}

// WeightBytes returns the memory that a checkpoint's weights take on the processor in
// an arithmetic. Embeddings count only if they are also the output projection;
// otherwise they are read from the file. Those of every layer's own are never kept.
func (c *Config) WeightBytes(ck *checkpoint.Checkpoint, compute string) int64 {
	var n int64
	l := &loader{ck: ck, c: c}
	for _, name := range ck.Names() {
		if l.later(name) {
			continue
		}
		t, _ := ck.Tensor(name)
		embed := strings.Contains(name, "embed_tokens.") || name == l.name("embed", -1, ".weight")
		head := strings.HasPrefix(name, "lm_head.") || strings.HasPrefix(name, "output.")
		switch {
		case len(t.Shape) < 2:
			n += 4 * int64(t.Elements())
		case c.Latent != nil && c.isUpProjection(name):
			n += c.Latent.packedBytes(name, t.DType, c.Heads)
		case embed && !c.TiedHead, strings.Contains(name, "embed_tokens_per_layer."), strings.HasPrefix(name, "per_layer_token_embd."):
		case embed || head:
			n += cpu.PackedBytes(cpu.F32, t.Exactly(), t.Rows(), t.Cols())
		default:
			n += cpu.PackedBytes(cpu.Compute(compute), t.Exactly(), t.Rows(), t.Cols())
		}
	}
	return n
}

// MostCardBytes returns an upper bound of the memory that a checkpoint's weights take
// on a card: everything becomes float32, except for bfloat16 matrices if they stay as
// they are or the arithmetic has 16 bits.
func MostCardBytes(ck *checkpoint.Checkpoint, compute string) int64 {
	narrow := cuda.Mixes(compute) || compute == "bf16" || compute == "f16"
	var n int64
	for _, name := range ck.Names() {
		t, _ := ck.Tensor(name)
		size := int64(4)
		if narrow && t.DType == tensor.BF16 && len(t.Shape) == 2 {
			size = 2
		}
		n += size * int64(t.Elements())
	}
	return n
}

// CardMemory estimates the memory that a sequence of n positions that is recorded takes on
// a card.
func (c *Config) CardMemory(compute string, n int, r cuda.Recorded) cuda.Memory {
	s := c.sizes()
	return s.Memory(compute, 0, n, r)
}
