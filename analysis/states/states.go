// Package states compresses keys and values from a file of tensors, so that anyone can
// compare the selection with that of another implementation.
package states

import (
	"fmt"
	"math"
	"strconv"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/snapkv"
)

// Compress reads a safetensors file and writes another. The input holds, after the
// rotation,
//
//	key_states    [kv heads, length, dim]
//	value_states  [kv heads, length, dim of values]
//	query_states  [heads, length or the last rows of it, dim]
//
// and, if the model has learned sinks (gpt-oss), which the published code does not know,
//
//	sinks         [heads]
//
// all of one dtype (F32, F16 or BF16); a batch dimension of 1 before them is allowed. If
// scores are not divided by √dim, it also holds scale [1], F32, by which they are
// multiplied. Its metadata may have the numbers soft_cap, window and chunk (what a query
// sees; 0: everything before it), as an export of one layer has them.
// The output holds
//
//	indices       [heads, capacity - window], int32, ascending positions of the prefix
//	key_states    [heads, capacity, dim]
//	value_states  [heads, capacity, dim of values]
//
// where the kept positions come first and the window last. If the group merges heads,
// heads are kv heads. A prompt shorter than the capacity passes through: its states
// are copied, there are no indices, and the metadata say passthrough=true. The
// settings are in the metadata. If Compress fails, it leaves no output.
func Compress(in, out string, c snapkv.Config) error {
	f, err := checkpoint.ReadSafetensors(in)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	list, meta, err := t.compress(c)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	return checkpoint.WriteSafetensors(out, list, meta)
}

// states holds the tensors of an input file.
type states struct {
	keys, values, queries tensor.Tensor
	sinks                 *tensor.Tensor     // nil: there are none
	scale                 float32            // 0: 1/√dim
	settings              map[string]float64 // soft_cap, window and chunk of the layer, from the metadata
}

// read reads the tensors and checks their shapes, dtypes and elements.
func read(f *checkpoint.File) (*states, error) {
	s := &states{settings: map[string]float64{}}
	for _, name := range []string{"soft_cap", "window", "chunk"} {
		text, ok := f.Metadata[name]
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) || v > 1<<26 {
			return nil, fmt.Errorf("metadata: %s is %q, want a number, 0 or more", name, text)
		}
		s.settings[name] = v
	}
	for _, part := range []struct {
		name string
		dst  *tensor.Tensor
	}{{"key_states", &s.keys}, {"value_states", &s.values}, {"query_states", &s.queries}} {
		t, ok := f.Tensor(part.name)
		if !ok {
			return nil, fmt.Errorf("no tensor %s; want key_states, value_states and query_states", part.name)
		}
		if len(t.Shape) == 4 && t.Shape[0] == 1 { // a batch of one
			t.Shape = t.Shape[1:]
		}
		if len(t.Shape) != 3 || t.Elements() == 0 {
			return nil, fmt.Errorf("%s has shape %v, want [heads, length, dim]", part.name, t.Shape)
		}
		if t.DType != tensor.F32 && t.DType != tensor.F16 && t.DType != tensor.BF16 {
			return nil, fmt.Errorf("%s has dtype %s, want F32, F16 or BF16", part.name, t.DType)
		}
		*part.dst = t
	}
	if t, ok := f.Tensor("sinks"); ok {
		s.sinks = &t
	}
	if t, ok := f.Tensor("scale"); ok {
		x, err := t.Float32()
		if err != nil {
			return nil, err
		}
		if len(x) != 1 || x[0]-x[0] != 0 || x[0] == 0 {
			return nil, fmt.Errorf("scale has shape %v and elements %v, want one number other than 0", t.Shape, x)
		}
		s.scale = x[0]
	}
	return s, s.check()
}

// check compares the tensors with each other and looks for elements that are not finite.
func (s *states) check() error {
	k, v, q := s.keys.Shape, s.values.Shape, s.queries.Shape
	switch {
	case s.keys.DType != s.queries.DType || s.keys.DType != s.values.DType:
		return fmt.Errorf("dtypes %s, %s and %s of keys, values and queries: want one",
			s.keys.DType, s.values.DType, s.queries.DType)
	case k[0] != v[0] || k[1] != v[1]:
		return fmt.Errorf("key_states %v and value_states %v: want the same number of heads and positions", k, v)
	case k[2] != q[2]:
		return fmt.Errorf("key_states %v and query_states %v: want one head dimension", k, q)
	case q[0]%k[0] != 0:
		return fmt.Errorf("%d query heads on %d kv heads: want a multiple", q[0], k[0])
	case q[1] > k[1]:
		return fmt.Errorf("query_states has %d rows, more than the %d positions of key_states", q[1], k[1])
	case s.sinks != nil && (s.sinks.DType != s.keys.DType || s.sinks.Elements() != q[0]):
		return fmt.Errorf("sinks is %s of shape %v, want %s of shape [%d], a score for each query head",
			s.sinks.DType, s.sinks.Shape, s.keys.DType, q[0])
	}
	list := []tensor.Tensor{s.keys, s.values, s.queries}
	if s.sinks != nil {
		list = append(list, *s.sinks)
	}
	for _, t := range list {
		x, err := t.Float32()
		if err != nil {
			return err
		}
		for i, v := range x {
			if v-v != 0 {
				return fmt.Errorf("tensor %s: element %d is %v: the states must be finite", t.Name, i, v)
			}
		}
	}
	return nil
}

// round returns the function that rounds to a dtype.
func round(d tensor.DType) func(float32) float32 {
	switch d {
	case tensor.F16:
		return func(v float32) float32 { return tensor.F16ToF32(tensor.F32ToF16(v)) }
	case tensor.BF16:
		return func(v float32) float32 { return tensor.BF16ToF32(tensor.F32ToBF16(v)) }
	}
	return func(v float32) float32 { return v }
}

// compress returns the tensors and the metadata of the output.
func (s *states) compress(c snapkv.Config) ([]tensor.Tensor, map[string]string, error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	meta := map[string]string{
		"format":      "attnscope states",
		"method":      snapkv.SnapKV,
		"window":      strconv.Itoa(c.Window),
		"capacity":    strconv.Itoa(c.Capacity),
		"kernel":      strconv.Itoa(c.Kernel),
		"pooling":     c.Pooling.String(),
		"group":       c.Group.String(),
		"passthrough": "false",
	}
	if c.Passthrough(s.keys.Shape[1]) {
		meta["passthrough"] = "true"
		return []tensor.Tensor{named(s.keys, "key_states"), named(s.values, "value_states")}, meta, nil
	}
	queries, err := s.queries.Float32()
	if err != nil {
		return nil, nil, err
	}
	keys, err := s.keys.Float32()
	if err != nil {
		return nil, nil, err
	}
	in := &snapkv.States{
		Heads: s.queries.Shape[0], KVHeads: s.keys.Shape[0], Len: s.keys.Shape[1],
		Rows: s.queries.Shape[1], Dim: s.keys.Shape[2],
		Scale:   s.scale,
		Queries: queries, Keys: keys, Round: round(s.keys.DType),
		SoftCap: s.settings["soft_cap"],
		Window:  int(s.settings["window"]), Chunk: int(s.settings["chunk"]),
	}
	if s.sinks != nil {
		if in.Sinks, err = s.sinks.Float32(); err != nil {
			return nil, nil, err
		}
	}
	keep, err := in.Select(c)
	if err != nil {
		return nil, nil, err
	}
	var flat []int32
	for _, list := range keep {
		flat = append(flat, list...)
	}
	return []tensor.Tensor{
		tensor.FromInt32("indices", flat, len(keep), c.Budget()),
		gather("key_states", s.keys, keep, c), gather("value_states", s.values, keep, c),
	}, meta, nil
}

// named returns a tensor under another name.
func named(t tensor.Tensor, name string) tensor.Tensor {
	t.Name = name
	return t
}

// gather copies the kept positions and the window of a tensor, byte by byte.
func gather(name string, t tensor.Tensor, keep [][]int32, c snapkv.Config) tensor.Tensor {
	length, dim := t.Shape[1], t.Shape[2]
	row := len(t.Data) / (t.Shape[0] * length)
	group := len(keep) / t.Shape[0]
	out := tensor.Tensor{Name: name, DType: t.DType, Shape: []int{len(keep), c.Capacity, dim}}
	for h, list := range keep {
		head := t.Data[h/group*length*row:]
		for _, j := range list {
			out.Data = append(out.Data, head[int(j)*row:(int(j)+1)*row]...)
		}
		out.Data = append(out.Data, head[(length-c.Window)*row:length*row]...)
	}
	return out
}
