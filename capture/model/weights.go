package model

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/capture/checkpoint"
	"github.com/attnscope/attnscope/capture/cpu"
	"github.com/attnscope/attnscope/capture/tensor"
)

// layer holds the packed weights of one layer; a bias or norm that the family
// does not have is nil.
type layer struct {
	attnNorm, ffnNorm         []float32
	attnPostNorm, ffnPostNorm []float32
	qNorm, kNorm              []float32
	qkv, out, gateUp, down    *cpu.Matrix
	qkvBias, outBias          []float32
	router                    *cpu.Matrix // [experts, hidden]; nil in dense layers
	experts                   []expert
	output                    tensor.Tensor // W_O as it lies in the file
}

// roles names the tensors of a layer in hub checkpoints and in GGUF files.
var roles = map[string][2]string{
	"embed":         {"model.embed_tokens", "token_embd"},
	"norm":          {"model.norm", "output_norm"},
	"head":          {"lm_head", "output"},
	"attn_norm":     {"model.layers.%d.input_layernorm", "blk.%d.attn_norm"},
	"ffn_norm":      {"model.layers.%d.post_attention_layernorm", "blk.%d.ffn_norm"},
	"q":             {"model.layers.%d.self_attn.q_proj", "blk.%d.attn_q"},
	"k":             {"model.layers.%d.self_attn.k_proj", "blk.%d.attn_k"},
	"v":             {"model.layers.%d.self_attn.v_proj", "blk.%d.attn_v"},
	"qkv":           {"model.layers.%d.self_attn.qkv_proj", "blk.%d.attn_qkv"},
	"o":             {"model.layers.%d.self_attn.o_proj", "blk.%d.attn_output"},
	"q_norm":        {"model.layers.%d.self_attn.q_norm", "blk.%d.attn_q_norm"},
	"k_norm":        {"model.layers.%d.self_attn.k_norm", "blk.%d.attn_k_norm"},
	"gate":          {"model.layers.%d.mlp.gate_proj", "blk.%d.ffn_gate"},
	"up":            {"model.layers.%d.mlp.up_proj", "blk.%d.ffn_up"},
	"gate_up":       {"model.layers.%d.mlp.gate_up_proj", "blk.%d.ffn_up"},
	"down":          {"model.layers.%d.mlp.down_proj", "blk.%d.ffn_down"},
	"pre_ffn_norm":  {"model.layers.%d.pre_feedforward_layernorm", "blk.%d.ffn_norm"},
	"post_ffn_norm": {"model.layers.%d.post_feedforward_layernorm", "blk.%d.post_ffw_norm"},
}

// loader reads tensors by role and checks their shapes.
type loader struct {
	ck *checkpoint.Checkpoint
	c  *Config
	p  *cpu.Pool
}

func (l *loader) name(role string, at int, suffix string) string {
	form := roles[role][0]
	if own, ok := l.c.arch.Names[role]; ok {
		form = own
	}
	if l.c.gguf {
		form = roles[role][1]
	}
	if at >= 0 {
		form = fmt.Sprintf(form, at)
	}
	return form + suffix
}

// tensor finds a weight and checks its shape.
func (l *loader) tensor(role string, at int, suffix string, shape ...int) (tensor.Tensor, error) {
	name := l.name(role, at, suffix)
	t, ok := l.ck.Tensor(name)
	if !ok {
		return t, fmt.Errorf("%s: no tensor %s, which a %s model has", l.ck.Path(), name, l.c.Architecture)
	}
	same := len(t.Shape) == len(shape)
	for i := range shape {
		same = same && t.Shape[i] == shape[i]
	}
	if !same {
		return t, fmt.Errorf("%s: tensor %s has shape %v, the configuration makes it %v", l.ck.Path(), name, t.Shape, shape)
	}
	return t, nil
}

// raw finds a weight [out, in] by its full name.
func (l *loader) raw(name string, out, in int) (tensor.Tensor, error) {
	t, ok := l.ck.Tensor(name)
	if !ok {
		return t, fmt.Errorf("%s: no tensor %s, which a %s model has", l.ck.Path(), name, l.c.Architecture)
	}
	if len(t.Shape) != 2 || t.Shape[0] != out || t.Shape[1] != in {
		return t, fmt.Errorf("%s: tensor %s has shape %v, the configuration makes it [%d %d]", l.ck.Path(), name, t.Shape, out, in)
	}
	return t, nil
}

// named packs a weight by its full name.
func (l *loader) named(name string, out, in int) (*cpu.Matrix, error) {
	t, err := l.raw(name, out, in)
	if err != nil {
		return nil, err
	}
	return l.pack(t)
}

// vector reads a norm or bias; offset is added to each element.
func (l *loader) vector(role string, at int, suffix string, n int, offset float32) ([]float32, error) {
	t, err := l.tensor(role, at, suffix, n)
	if err != nil {
		return nil, err
	}
	v, err := t.Float32()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
	}
	for i := range v {
		if x := float64(v[i]); math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("%s: tensor %s: element %d is %v: the weights are damaged; fetch the checkpoint again", l.ck.Path(), t.Name, i, v[i])
		}
		v[i] += offset
	}
	return v, nil
}

// bias reads a bias that may be absent.
func (l *loader) bias(role string, at, n int) ([]float32, error) {
	if _, ok := l.ck.Tensor(l.name(role, at, ".bias")); !ok {
		return nil, nil
	}
	return l.vector(role, at, ".bias", n, 0)
}

func (l *loader) pack(list ...tensor.Tensor) (*cpu.Matrix, error) {
	if l.p == nil { // a card packs for itself
		return cpu.Unpacked(list...), nil
	}
	m, err := cpu.PackRows(l.p, list...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
	}
	return m, nil
}

// matrices finds weights [out, in] by role and packs them under one another.
func (l *loader) matrices(at, in int, parts ...part) (*cpu.Matrix, error) {
	list := make([]tensor.Tensor, len(parts))
	for i, p := range parts {
		t, err := l.tensor(p.role, at, ".weight", p.out, in)
		if err != nil {
			return nil, err
		}
		list[i] = t
	}
	return l.pack(list...)
}

type part struct {
	role string
	out  int
}

func (l *loader) layer(at int) (w layer, err error) {
	c := l.c
	if err := l.norms(at, &w); err != nil {
		return w, err
	}
	nq, nk, nv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.KVHeads*c.ValueDim
	qkv := []part{{"q", nq}, {"k", nk}, {"v", nv}}
	gateUp := []part{{"gate", c.Intermediate}, {"up", c.Intermediate}}
	if c.arch.Fused {
		qkv, gateUp = []part{{"qkv", nq + nk + nv}}, []part{{"gate_up", 2 * c.Intermediate}}
	}
	if w.qkv, err = l.matrices(at, c.Hidden, qkv...); err != nil {
		return w, err
	}
	for _, p := range qkv {
		b, err := l.bias(p.role, at, p.out)
		if err != nil {
			return w, err
		}
		if b == nil && w.qkvBias != nil {
			b = make([]float32, p.out)
		}
		w.qkvBias = append(w.qkvBias, b...)
	}
	if n := len(w.qkvBias); n != 0 && n != nq+nk+nv {
		return w, fmt.Errorf("%s: layer %d: some of q, k and v have a bias and some have none", l.ck.Path(), at)
	}
	if w.outBias, err = l.bias("o", at, c.Hidden); err != nil {
		return w, err
	}
	if w.output, err = l.tensor("o", at, ".weight", c.Hidden, c.Heads*c.ValueDim); err != nil {
		return w, err
	}
	if w.out, err = l.pack(w.output); err != nil {
		return w, err
	}
	if c.Experts > 0 {
		return w, l.mixture(at, &w)
	}
	if w.gateUp, err = l.matrices(at, c.Hidden, gateUp...); err != nil {
		return w, err
	}
	w.down, err = l.matrices(at, c.Intermediate, part{"down", c.Hidden})
	return w, err
}

// norms reads the norms that the family has.
func (l *loader) norms(at int, w *layer) error {
	c := l.c
	ffnNorm, qDim, kDim := "ffn_norm", c.HeadDim, c.HeadDim
	if c.arch.PostNorms && !c.gguf {
		ffnNorm = "pre_ffn_norm"
	}
	if c.arch.WideQKNorm {
		qDim, kDim = c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	}
	for _, n := range []struct {
		dst  *[]float32
		role string
		dim  int
		have bool
	}{
		{&w.attnNorm, "attn_norm", c.Hidden, !c.arch.NoPreNorms},
		{&w.ffnNorm, ffnNorm, c.Hidden, !c.arch.NoPreNorms},
		{&w.attnPostNorm, "ffn_norm", c.Hidden, c.arch.PostNorms && !c.gguf},
		{&w.ffnPostNorm, "post_ffn_norm", c.Hidden, c.arch.PostNorms && !c.gguf},
		{&w.qNorm, "q_norm", qDim, c.arch.QKNorm || c.arch.WideQKNorm},
		{&w.kNorm, "k_norm", kDim, c.arch.QKNorm || c.arch.WideQKNorm},
	} {
		if !n.have {
			continue
		}
		var err error
		if *n.dst, err = l.vector(n.role, at, ".weight", n.dim, c.NormOffset); err != nil {
			return err
		}
	}
	return nil
}
