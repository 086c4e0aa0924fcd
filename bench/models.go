package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tensor"
)

// models are the checkpoints that both sides run.
type models struct {
	gguf         string // SmolLM2-135M as it ships
	small, half  string // the same, decoded to float32, and rounded to bfloat16
	big, bigHalf string // random weights in the shape of Qwen2.5-0.5B
	long         string // random weights, few layers, 128k positions
}

// prepare finds the default model and makes the others, once, under dir.
func prepare(dir string) (models, error) {
	m := models{
		small:   filepath.Join(dir, "smollm2-135m-f32"),
		half:    filepath.Join(dir, "smollm2-135m-bf16"),
		big:     filepath.Join(dir, "random-0.5b-f32"),
		bigHalf: filepath.Join(dir, "random-0.5b-bf16"),
		long:    filepath.Join(dir, "random-long-bf16"),
	}
	var err error
	options := checkpoint.ResolveOptions{Log: note}
	if m.gguf, err = checkpoint.Resolve(context.Background(), checkpoint.DefaultModel, options); err != nil {
		return m, err
	}
	for _, one := range []struct {
		path  string
		dtype tensor.DType
		shape *shape
	}{
		{m.small, tensor.F32, nil},
		{m.half, tensor.BF16, nil},
		{m.big, tensor.F32, &qwen},
		{m.bigHalf, tensor.BF16, &qwen},
		{m.long, tensor.BF16, &long},
	} {
		if _, err := os.Stat(filepath.Join(one.path, "model.safetensors")); err == nil {
			continue
		}
		note("making " + one.path)
		if one.shape == nil {
			err = decoded(m.gguf, one.path, one.dtype)
		} else {
			err = one.shape.random(one.path, one.dtype)
		}
		if err != nil {
			return m, err
		}
	}
	return m, nil
}

// writeModel writes a folder in hub layout.
func writeModel(dir string, config map[string]any, dtype tensor.DType, list []tensor.Tensor) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	config["torch_dtype"] = map[tensor.DType]string{tensor.F32: "float32", tensor.BF16: "bfloat16"}[dtype]
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		return err
	}
	return checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, map[string]string{"format": "pt"})
}

// encode makes a tensor of a type. It rounds to the nearest value, ties to even.
func encode(name string, x []float32, dtype tensor.DType, shape ...int) tensor.Tensor {
	if dtype == tensor.F32 {
		return tensor.FromFloat32(name, x, shape...)
	}
	data := make([]byte, 2*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint16(data[2*i:], bfloat16(v))
	}
	return tensor.Tensor{Name: name, DType: tensor.BF16, Shape: shape, Data: data}
}

func bfloat16(v float32) uint16 {
	u := math.Float32bits(v)
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// hubNames turns the GGUF names of a Llama's tensors into those of the hub.
var hubNames = strings.NewReplacer("token_embd", "model.embed_tokens", "output_norm", "model.norm", "blk.", "model.layers.",
	"attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm", "attn_output", "self_attn.o_proj", "attn_q", "self_attn.q_proj",
	"attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj", "ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj")

// decoded writes a GGUF Llama as a folder with decoded weights. The rotation of a GGUF
// Llama pairs neighbors; here queries and keys are reordered to pairs of halves.
func decoded(path, dir string, dtype tensor.DType) error {
	ck, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer ck.Close()
	c, err := model.ReadConfig(ck)
	if err != nil {
		return err
	}
	var list []tensor.Tensor
	for _, name := range ck.Names() {
		t, _ := ck.Tensor(name)
		x, err := t.Float32()
		if err != nil {
			return err
		}
		if strings.Contains(name, "attn_q.") || strings.Contains(name, "attn_k.") {
			x = halves(x, t.Cols(), c.HeadDim)
		}
		list = append(list, encode(hubNames.Replace(name), x, dtype, t.Shape...))
	}
	return writeModel(dir, map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": c.Hidden,
		"intermediate_size": c.Intermediate, "num_hidden_layers": c.Layers, "num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads,
		"head_dim": c.HeadDim, "vocab_size": c.Vocab, "max_position_embeddings": c.MaxPositions, "rms_norm_eps": c.NormEps,
		"rope_theta": c.Rope.Theta, "tie_word_embeddings": c.TiedHead, "bos_token_id": 1, "eos_token_id": 2,
	}, dtype, list)
}

// halves reorders the outputs of each head to 0, 2, 4, ..., 1, 3, 5, ...
func halves(x []float32, cols, headDim int) []float32 {
	out := make([]float32, len(x))
	for row := range len(x) / cols {
		head, in := row/headDim, row%headDim
		to := head*headDim + in/2 + in%2*headDim/2
		copy(out[to*cols:(to+1)*cols], x[row*cols:(row+1)*cols])
	}
	return out
}

// shape is the shape of a Qwen2 with random weights.
type shape struct{ layers, hidden, ff, heads, kv, vocab, positions int }

var (
	qwen = shape{24, 896, 4864, 14, 2, 151936, 32768}
	long = shape{4, 896, 4864, 14, 2, 4096, 131072}
	// For scaling: the width of SmolLM2-135M and few layers. One number changes at a time.
	narrow = shape{8, 576, 1536, 9, 3, 4096, 8192}
)

// random writes a checkpoint of random weights. They are first rounded to bfloat16, so
// that both types hold equal values.
func (s *shape) random(dir string, dtype tensor.DType) error {
	r := rand.New(rand.NewPCG(1, 1))
	var list []tensor.Tensor
	add := func(name string, spread, mean float64, dims ...int) {
		n := 1
		for _, d := range dims {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = math.Float32frombits(uint32(bfloat16(float32(mean+spread*r.NormFloat64()))) << 16)
		}
		list = append(list, encode(name, x, dtype, dims...))
	}
	q, kv := s.heads*64, s.kv*64
	add("model.embed_tokens.weight", 0.02, 0, s.vocab, s.hidden)
	for l := range s.layers {
		at := fmt.Sprintf("model.layers.%d.", l)
		add(at+"input_layernorm.weight", 0.05, 1, s.hidden)
		for _, p := range []struct {
			name         string
			out          int
			weight, bias float64
		}{{"q", q, 0.06, 0.5}, {"k", kv, 0.06, 0.5}, {"v", kv, 0.02, 0.02}} { // large q and k give peaked attention
			add(at+"self_attn."+p.name+"_proj.weight", p.weight, 0, p.out, s.hidden)
			add(at+"self_attn."+p.name+"_proj.bias", p.bias, 0, p.out)
		}
		add(at+"self_attn.o_proj.weight", 0.02, 0, s.hidden, q)
		add(at+"post_attention_layernorm.weight", 0.05, 1, s.hidden)
		add(at+"mlp.gate_proj.weight", 0.02, 0, s.ff, s.hidden)
		add(at+"mlp.up_proj.weight", 0.02, 0, s.ff, s.hidden)
		add(at+"mlp.down_proj.weight", 0.02, 0, s.hidden, s.ff)
	}
	add("model.norm.weight", 0.05, 1, s.hidden)
	return writeModel(dir, map[string]any{
		"architectures": []string{"Qwen2ForCausalLM"}, "model_type": "qwen2", "hidden_act": "silu", "hidden_size": s.hidden,
		"intermediate_size": s.ff, "num_hidden_layers": s.layers, "num_attention_heads": s.heads, "num_key_value_heads": s.kv,
		"vocab_size": s.vocab, "max_position_embeddings": s.positions, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
		"head_dim": 64, "use_sliding_window": false, "bos_token_id": 0, "eos_token_id": 0,
	}, dtype, list)
}
