package states

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/snapkv"
)

// stateFile writes states of 2 heads, 12 positions and 2 dimensions in a dtype. All
// queries are (query, 0). Key j of head h is (key[j], 0) if h is 1, else (0, 0).
func stateFile(t *testing.T, d tensor.DType, query float32, key [12]float32) string {
	t.Helper()
	q := make([]float32, 2*12*2)
	k := make([]float32, 2*12*2)
	for j := range 12 {
		q[j*2] = query
		q[(12+j)*2] = query
		k[(12+j)*2] = key[j]
	}
	var list []tensor.Tensor
	for _, s := range []struct {
		name   string
		values []float32
	}{{"query_states", q}, {"key_states", k}, {"value_states", make([]float32, 2*12*2)}} {
		list = append(list, encode(s.name, d, s.values, 2, 12, 2))
	}
	path := filepath.Join(t.TempDir(), "in.safetensors")
	if err := checkpoint.WriteSafetensors(path, list, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// encode returns a tensor of F32, F16 or BF16.
func encode(name string, d tensor.DType, x []float32, shape ...int) tensor.Tensor {
	out := tensor.FromFloat32(name, x, shape...)
	if d == tensor.F32 {
		return out
	}
	out.DType = d
	out.Data = nil
	for _, v := range x {
		half := tensor.F32ToF16(v)
		if d == tensor.BF16 {
			half = tensor.F32ToBF16(v)
		}
		out.Data = append(out.Data, byte(half), byte(half>>8))
	}
	return out
}

// TestScoresThatOverflow: a score that is not finite in the dtype of the states is an
// error with the head and the position, and leaves no file. Large scores that are
// finite select the positions of float32.
func TestScoresThatOverflow(t *testing.T) {
	c := snapkv.Config{Window: 2, Capacity: 4, Kernel: 1, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
	plain := [12]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0}
	with := func(position int, v float32) [12]float32 {
		keys := plain
		keys[position] = v
		return keys
	}
	tooLarge := "is too large for the dtype of the states: convert them to F32"
	for _, test := range []struct {
		name  string
		dtype tensor.DType
		query float32
		key   [12]float32
		want  string // in the error; empty: positions 3 and 9 of head 1
	}{
		{"F32 large", tensor.F32, 1e18, with(3, 1e19), ""},
		{"F32 infinite", tensor.F32, 1e19, with(3, 1e20), "head 1: the score of window row 0 and position 3 is not finite"},
		{"F32 negative", tensor.F32, 1e19, with(7, -1e20), "head 1: the score of window row 0 and position 7 is not finite"},
		{"F32 in the window", tensor.F32, 1e19, with(11, 1e20), "head 1: the score of window row 1 and position 11"},
		{"BF16 large", tensor.BF16, 1e18, with(3, 1e19), ""},
		{"BF16 infinite", tensor.BF16, 1e19, with(3, 1e20), "the product of query and key overflows float32"},
		{"BF16 rounds to infinity", tensor.BF16, 1, with(3, 3.3895e38), ""},
		{"F16 large", tensor.F16, 128, with(3, 511), ""},
		{"F16 rounds to infinity", tensor.F16, 128, with(3, 512), tooLarge},
		{"F16 infinite", tensor.F16, 300, with(3, 300), "head 1: the score of window row 0 and position 3 is not finite"},
		{"F16 negative", tensor.F16, 300, with(9, -300), "position 9 is not finite: the product -90000 of query and key " + tooLarge},
		{"F16 in the window", tensor.F16, 300, with(10, 300), "head 1: the score of window row 0 and position 10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := stateFile(t, test.dtype, test.query, test.key)
			out := filepath.Join(t.TempDir(), "out.safetensors")
			err := Compress(in, out, c)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				if _, err := os.Stat(out); err == nil {
					t.Error("a refused run left its output")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f, err := checkpoint.ReadSafetensors(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, _ := f.Tensor("indices")
			// Head 0 has equal scores: the lowest positions. In head 1 all the weight is at
			// position 3; the others are equal at 0.
			if got, _ := x.Int32(); !slices.Equal(got, []int32{0, 1, 0, 3}) {
				t.Errorf("positions %v", got)
			}
		})
	}
}
