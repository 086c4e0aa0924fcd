package checkpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

// TestWriteChecksLengths: a tensor whose data are shorter or longer than its shape is
// not written.
func TestWriteChecksLengths(t *testing.T) {
	for _, test := range []struct {
		bytes int
		dtype tensor.DType
		want  string
	}{
		{24, tensor.F32, ""},
		{23, tensor.F32, "tensor x: 23 bytes, but [2 3] of F32 take 24"},
		{28, tensor.F32, "tensor x: 28 bytes"},
		{12, tensor.F16, ""},
		{0, tensor.BF16, "tensor x: 0 bytes, but [2 3] of BF16 take 12"},
		{24, tensor.Unknown, "tensor x: "},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		x := tensor.Tensor{Name: "x", DType: test.dtype, Shape: []int{2, 3}, Data: make([]byte, test.bytes)}
		err := WriteSafetensors(path, []tensor.Tensor{tensor.FromInt32("first", []int32{1}, 1), x}, nil)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%d bytes of %s: %v, want %q", test.bytes, test.dtype, err, test.want)
		}
		if _, err := os.Stat(path); (err == nil) != (test.want == "") {
			t.Errorf("%d bytes of %s: file is there: %v", test.bytes, test.dtype, err == nil)
		}
	}
}
