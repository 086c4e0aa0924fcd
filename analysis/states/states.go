// Package states compresses tensors of keys and values from a file, so that
// anyone can compare the selection with their own implementation.
package states

import (
	"fmt"
	"strconv"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/snapkv"
)

// Compress reads key_states and value_states [kv heads, length, dim] and
// query_states [heads, length or its last rows, dim] from a safetensors file
// and writes indices [heads, capacity - window], key_states and value_states
// [heads, capacity, dim]: the kept prefix positions, ascending, then the window.
// With a Group other than head there are as many as kv heads. A prompt shorter
// than the capacity passes through: no indices, metadata passthrough=true.
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

type states struct {
	k, v, q tensor.Tensor
}

func read(f *checkpoint.File) (*states, error) {
	s := &states{}
	for _, part := range []struct {
		name string
		dst  *tensor.Tensor
	}{{"key_states", &s.k}, {"value_states", &s.v}, {"query_states", &s.q}} {
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
	k, v, q := s.k.Shape, s.v.Shape, s.q.Shape
	switch {
	case s.k.DType != s.q.DType || s.k.DType != s.v.DType:
		return nil, fmt.Errorf("dtypes %s, %s and %s of keys, values and queries: want one", s.k.DType, s.v.DType, s.q.DType)
	case k[0] != v[0] || k[1] != v[1]:
		return nil, fmt.Errorf("key_states %v and value_states %v: want as many heads and positions", k, v)
	case k[2] != q[2]:
		return nil, fmt.Errorf("key_states %v and query_states %v: want one head dimension", k, q)
	case q[0]%k[0] != 0:
		return nil, fmt.Errorf("%d query heads on %d kv heads: want a multiple", q[0], k[0])
	case q[1] > k[1]:
		return nil, fmt.Errorf("query_states hold %d rows of %d positions", q[1], k[1])
	}
	for _, t := range []tensor.Tensor{s.k, s.v, s.q} {
		x, err := t.Float32()
		if err != nil {
			return nil, err
		}
		for i, v := range x {
			if v-v != 0 {
				return nil, fmt.Errorf("tensor %s: element %d is %v: the states must be finite", t.Name, i, v)
			}
		}
	}
	return s, nil
}

// round rounds to a dtype.
func round(d tensor.DType) func(float32) float32 {
	switch d {
	case tensor.F16:
		return func(v float32) float32 { return tensor.F16ToF32(tensor.F32ToF16(v)) }
	case tensor.BF16:
		return func(v float32) float32 { return tensor.BF16ToF32(tensor.F32ToBF16(v)) }
	}
	return func(v float32) float32 { return v }
}

func (s *states) compress(c snapkv.Config) ([]tensor.Tensor, map[string]string, error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	meta := map[string]string{
		"format": "attnscope states", "method": "snapkv", "window": strconv.Itoa(c.Window), "capacity": strconv.Itoa(c.Capacity),
		"kernel": strconv.Itoa(c.Kernel), "pooling": c.Pooling.String(), "group": c.Group.String(), "passthrough": "false",
	}
	if c.Passthrough(s.k.Shape[1]) {
		meta["passthrough"] = "true"
		return []tensor.Tensor{named(s.k, "key_states"), named(s.v, "value_states")}, meta, nil
	}
	q, err := s.q.Float32()
	if err != nil {
		return nil, nil, err
	}
	k, err := s.k.Float32()
	if err != nil {
		return nil, nil, err
	}
	in := &snapkv.States{
		Heads: s.q.Shape[0], KVHeads: s.k.Shape[0], Len: s.k.Shape[1], Rows: s.q.Shape[1], Dim: s.k.Shape[2],
		Queries: q, Keys: k, Round: round(s.k.DType),
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
		gather("key_states", s.k, keep, c), gather("value_states", s.v, keep, c),
	}, meta, nil
}

func named(t tensor.Tensor, name string) tensor.Tensor {
	t.Name = name
	return t
}

// gather copies the rows of the kept positions and of the window, byte by
// byte.
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
