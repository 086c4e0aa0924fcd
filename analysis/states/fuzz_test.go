package states

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/snapkv"
)

// FuzzCompress: hostile state files are errors, never panics, and leave no
// output.
func FuzzCompress(f *testing.F) {
	in := filepath.Join(f.TempDir(), "in.safetensors")
	x := make([]float32, 2*12*2)
	tensors := []tensor.Tensor{
		tensor.FromFloat32("key_states", x, 2, 12, 2),
		tensor.FromFloat32("value_states", x, 2, 12, 2),
		tensor.FromFloat32("query_states", x, 2, 12, 2),
	}
	if err := checkpoint.WriteSafetensors(in, tensors, nil); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(in)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, 2, 6, 3)
	f.Add(data, 12, 13, 1)
	out := filepath.Join(f.TempDir(), "out.safetensors")
	f.Fuzz(func(t *testing.T, data []byte, window, capacity, kernel int) {
		if err := os.WriteFile(in, data, 0o644); err != nil {
			t.Fatal(err)
		}
		os.Remove(out)
		c := snapkv.Config{
			Window: window, Capacity: capacity, Kernel: kernel, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead,
		}
		if err := Compress(in, out, c); err != nil {
			if _, err := os.Stat(out); err == nil {
				t.Error("a failed run left its output")
			}
		}
	})
}
