package model

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// TestOutputProjectionOfLatents multiplies W_O by W_UV literally.
func TestOutputProjectionOfLatents(t *testing.T) {
	for _, file := range []string{"", "/model.gguf", "/old.gguf"} {
		dir := "testdata/deepseek_v3"
		m := load(t, dir+file, 64, 2)
		c := m.Config()
		got, err := m.OutputProjection(1)
		if err != nil {
			t.Fatal(err)
		}
		ck, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		read := func(name string) []float32 {
			x, _ := ck.Tensor("model.layers.1.self_attn." + name + ".weight")
			v, err := x.Float32()
			if err != nil || len(v) == 0 {
				t.Fatalf("%s: %d elements, %v", name, len(v), err)
			}
			return v
		}
		l := c.Latent
		o, b := read("o_proj"), read("kv_b_proj")
		if len(got) != c.Hidden*c.Heads*l.Rank {
			t.Fatalf("%d elements, want %d", len(got), c.Hidden*c.Heads*l.Rank)
		}
		for i := range c.Hidden {
			for h := range c.Heads {
				for r := range l.Rank {
					want := 0.0
					for d := range l.Value {
						up := b[(h*(l.Plain+l.Value)+l.Plain+d)*l.Rank+r]
						want += float64(o[i*c.Heads*l.Value+h*l.Value+d]) * float64(up)
					}
					if x := got[(i*c.Heads+h)*l.Rank+r]; math.Abs(float64(x)-want) > 1e-5 {
						t.Fatalf("%s: element [%d, head %d, %d] is %g, want %g", file, i, h, r, x, want)
					}
				}
			}
		}
	}
}

// TestCompressedLatents decodes from a compressed cache that keeps every slot, once for all
// heads and once by query head, and checks that values are parts of keys.
func TestCompressedLatents(t *testing.T) {
	g := openGolden(t, "testdata/deepseek_v3")
	m := load(t, "testdata/deepseek_v3", 64, 2)
	c := m.Config()
	ids, reply := g.ints("input_ids"), g.ints("gen_ids")
	s := m.NewSession()
	defer s.Close()
	if err := s.Forward(context.Background(), ids, Pass{}); err != nil {
		t.Fatal(err)
	}
	if got, want := s.CacheBytes(), int64(c.Layers*len(ids)*c.Latent.entry()*4); got != want || want != int64(len(ids))*c.CacheBytes() {
		t.Errorf("the cache has %d bytes, want %d: %d per position", got, want, c.CacheBytes())
	}
	keys, err := s.Keys(1, 5, 20)
	if err != nil {
		t.Fatal(err)
	}
	values, err := s.Values(1, 5, 20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if !slices.Equal(values[i*c.ValueDim:(i+1)*c.ValueDim], keys[i*c.HeadDim:][:c.ValueDim]) {
			t.Fatalf("the value of position %d is not a part of its key", 5+i)
		}
	}
	var all []int32
	for i := range ids {
		all = append(all, int32(i))
	}
	want := decodeAll(t, s, reply)
	for _, lists := range []int{1, c.Heads} {
		s.Truncate(len(ids))
		small, err := s.Compress(func(int) ([][]int32, error) { return slices.Repeat([][]int32{all}, lists), nil })
		if err != nil {
			t.Fatal(err)
		}
		if got := decodeAll(t, small, reply); !slices.Equal(got, want) {
			t.Errorf("%d lists of slots: logits differ", lists)
		}
		small.Close()
	}
}

// decodeAll appends tokens one by one and returns the logits of all.
func decodeAll(t *testing.T, s *Session, tokens []int32) []float32 {
	t.Helper()
	var all []float32
	for i := range tokens {
		err := s.Forward(context.Background(), tokens[i:i+1], Pass{Logits: func(_ int, l []float32) { all = append(all, l...) }})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
