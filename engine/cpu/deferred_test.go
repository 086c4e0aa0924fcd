package cpu

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

// TestDeferredMatrices packs matrices for each use, in memory that others have used: the
// products are those of matrices that stay packed, bit for bit.
func TestDeferredMatrices(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	r := rand.New(rand.NewPCG(5, 6))
	weight := func(d tensor.DType, out, in int) tensor.Tensor {
		w := tensor.Tensor{Name: "w", DType: d, Shape: []int{out, in}}
		for range out * in {
			v := r.Float32() - 0.5
			switch d {
			case tensor.BF16:
				h := tensor.F32ToBF16(v)
				w.Data = append(w.Data, byte(h), byte(h>>8))
			case tensor.F16:
				h := tensor.F32ToF16(v)
				w.Data = append(w.Data, byte(h), byte(h>>8))
			default:
				b := math.Float32bits(v)
				w.Data = append(w.Data, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
			}
		}
		return w
	}
	q4 := tensor.Tensor{Name: "w", DType: tensor.Q8_0, Shape: []int{256, 512}, Data: make([]byte, 256*512/32*34)}
	for i := range q4.Data {
		q4.Data[i] = byte(i*i) & 0x3f
	}
	for _, c := range []struct {
		name    string
		compute Compute
		weights []tensor.Tensor
	}{
		{"bf16", F32, []tensor.Tensor{weight(tensor.BF16, 256, 512)}},
		{"bf16 of two tensors", F32, []tensor.Tensor{weight(tensor.BF16, 130, 512), weight(tensor.BF16, 126, 512)}},
		{"f16, a last panel of 7", F32, []tensor.Tensor{weight(tensor.F16, 263, 510)}},
		{"f32", F32, []tensor.Tensor{weight(tensor.F32, 256, 512)}},
		{"mixed", F32, []tensor.Tensor{weight(tensor.F32, 100, 512), weight(tensor.BF16, 156, 512)}},
		{"q8_0", F32, []tensor.Tensor{q4}},
		{"rounded to bf16", BF16, []tensor.Tensor{weight(tensor.F32, 256, 512)}},
	} {
		want, err := Pack(p, c.compute, c.weights...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Deferred(c.compute, c.weights, nil)
		if err != nil {
			t.Fatal(err)
		}
		if far := got.Bytes() - want.Bytes(); far < -want.Bytes()/100 || far > want.Bytes()/100 {
			t.Errorf("%s: %d bytes before it is packed, %d packed", c.name, got.Bytes(), want.Bytes())
		}
		for _, rows := range []int{1, 3, 40} {
			if err := got.Load(p); err != nil {
				t.Fatal(err)
			}
			x := make([]float32, rows*got.in)
			for i := range x {
				x[i] = r.Float32() - 0.5
			}
			a, b := make([]float32, rows*got.out), make([]float32, rows*got.out)
			want.Mul(p, Dense(a, rows, got.out), Dense(x, rows, got.in))
			got.Mul(p, Dense(b, rows, got.out), Dense(x, rows, got.in))
			if !slices.Equal(a, b) {
				t.Errorf("%s, %d rows: the products differ", c.name, rows)
			}
			got.Unload(p)
			if got.Loaded() || len(p.unused) == 0 {
				t.Errorf("%s: loaded %v, %d slabs kept", c.name, got.Loaded(), len(p.unused))
			}
			for _, s := range p.unused {
				for i := range s.data {
					s.data[i] = 0xff
				}
			}
		}
		p.Release()
	}
}

// TestDeferredFails loads weights that are not finite or cannot be read.
func TestDeferredFails(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	w := tensor.FromFloat32("w", []float32{1, float32(math.Inf(1)), 2, 3}, 2, 2)
	m, err := Deferred(F32, []tensor.Tensor{w}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Load(p); err == nil || m.Loaded() {
		t.Errorf("infinite weights are loaded: %v", err)
	}
	gone := errors.New("gone")
	m, err = Deferred(F32, []tensor.Tensor{w}, func() ([]tensor.Tensor, error) { return nil, gone })
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Load(p); !errors.Is(err, gone) || m.Loaded() {
		t.Errorf("weights that cannot be read are loaded: %v", err)
	}
	if _, err := Deferred(F32, []tensor.Tensor{tensor.FromFloat32("w", []float32{1}, 1)}, nil); err == nil {
		t.Error("a vector is a matrix")
	}
}
