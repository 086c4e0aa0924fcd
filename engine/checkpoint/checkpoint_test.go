package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

func file(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func safetensors(header string, body int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, body)...)
}

func TestSafetensorsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	in := []tensor.Tensor{tensor.FromFloat32("b", []float32{1, 2, 3, 4, 5, 6}, 2, 3), tensor.FromInt32("a", []int32{7}, 1), tensor.FromFloat32("none", nil, 0, 4)}
	if err := WriteSafetensors(path, in, map[string]string{"k": "v\""}); err != nil {
		t.Fatal(err)
	}
	f, err := ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, want := range in {
		got, ok := f.Tensor(want.Name)
		if !ok || got.DType != want.DType || len(got.Shape) != len(want.Shape) || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s comes back as %+v", want.Name, got)
		}
	}
	if f.Metadata["k"] != "v\"" {
		t.Errorf("metadata %v", f.Metadata)
	}
}

func TestHostileSafetensors(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":      {nil, "too short"},
		"huge":       {binary.LittleEndian.AppendUint64(nil, 1<<62), "header of"},
		"cut header": {safetensors(`{"a":1}`, 0)[:10], "truncated"},
		"no JSON":    {safetensors(`{"a"`, 0), "header"},
		"dtype":      {safetensors(`{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}`, 4), `"F7"`},
		"overflow":   {safetensors(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}`, 4), "too large"},
		"backwards":  {safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}`, 8), "backwards"},
		"cut data":   {safetensors(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4), "truncated"},
		"wrong size": {safetensors(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), "want 12"},
		"hole":       {safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "hole"},
		"overlap":    {safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4), "overlap"},
		"trailing":   {safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 9), "after the last"},
	} {
		path := file(t, "x.safetensors", c.data)
		_, err := ReadSafetensors(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error with %q and the file", name, err, c.want)
		}
	}
}

func TestShardNamesWithPathAreRefused(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644)
	os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(`{"weight_map":{"a":"../secret.safetensors"}}`), 0o644)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "plain file name") {
		t.Errorf("%v", err)
	}
}

// tinyGGUF is a version 3 file with one Q4_0 matrix [2, 32] and metadata.
func tinyGGUF() []byte {
	le := binary.LittleEndian
	b := []byte("GGUF")
	b = le.AppendUint32(b, 3)
	b = le.AppendUint64(b, 1)
	b = le.AppendUint64(b, 2)
	text := func(s string) { b = append(le.AppendUint64(b, uint64(len(s))), s...) }
	text("general.architecture")
	b = le.AppendUint32(b, 8)
	text("llama")
	text("list")
	b = le.AppendUint32(b, 9)
	b = le.AppendUint32(b, 4)
	b = le.AppendUint64(b, 2)
	b = le.AppendUint32(le.AppendUint32(b, 11), 12)
	text("w")
	b = le.AppendUint32(b, 2)
	b = le.AppendUint64(le.AppendUint64(b, 32), 2)
	b = le.AppendUint32(b, 2)
	b = le.AppendUint64(b, 0)
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	for range 2 {
		b = append(b, 0x00, 0x3c) // scale 1
		b = append(b, bytes.Repeat([]byte{0x98}, 16)...)
	}
	return b
}

func TestGGUF(t *testing.T) {
	ck, err := Open(file(t, "x.gguf", tinyGGUF()))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	w, _ := ck.Tensor("w")
	v, err := w.Float32()
	if err != nil || len(w.Shape) != 2 || w.Shape[0] != 2 || w.Shape[1] != 32 || v[0] != 0 || v[16] != 1 {
		t.Errorf("shape %v, %v, %v: want [2 32], 0 and 1", w.Shape, v[:17], err)
	}
	if list := ck.Config()["list"].([]any); list[1].(uint64) != 12 {
		t.Errorf("list %v", list)
	}
}

// splitGGUF is part no of count, with one F32 vector of two elements.
func splitGGUF(no, count int, name string) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(le.AppendUint64(le.AppendUint32([]byte("GGUF"), 3), 1), 2)
	text := func(s string) { b = append(le.AppendUint64(b, uint64(len(s))), s...) }
	for key, v := range map[string]int{"split.no": no, "split.count": count} {
		text(key)
		b = le.AppendUint16(le.AppendUint32(b, 2), uint16(v))
	}
	text(name)
	b = le.AppendUint64(le.AppendUint32(le.AppendUint64(le.AppendUint32(b, 1), 2), 0), 0)
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, 0, 0, 0x80, 0x3f, 0, 0, 0, byte(0x40)) // 1, 2
}

// TestSplitGGUF: the first part opens all of them.
func TestSplitGGUF(t *testing.T) {
	dir := t.TempDir()
	part := func(i int) string { return filepath.Join(dir, fmt.Sprintf("m-%05d-of-00003.gguf", i)) }
	for i, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(part(i+1), splitGGUF(i, 3, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ck, err := Open(part(1))
	if err != nil {
		t.Fatal(err)
	}
	if names := ck.Names(); !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("tensors %v", names)
	}
	x, _ := ck.Tensor("c")
	if v, err := x.Float32(); err != nil || !slices.Equal(v, []float32{1, 2}) {
		t.Errorf("%v, %v", v, err)
	}
	ck.Close()
	if _, err := Open(part(2)); err == nil || !strings.Contains(err.Error(), "open the first, "+part(1)) {
		t.Errorf("the second part: %v", err)
	}
	if err := os.WriteFile(part(3), splitGGUF(2, 3, "a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(part(1)); err == nil || !strings.Contains(err.Error(), "tensor a is in an earlier part") {
		t.Errorf("a tensor twice: %v", err)
	}
	os.Remove(part(3))
	if _, err := Open(part(1)); err == nil || !strings.Contains(err.Error(), "part 3 of 3") {
		t.Errorf("a part is missing: %v", err)
	}
	if _, err := Open(file(t, "other.gguf", splitGGUF(0, 3, "a"))); err == nil || !strings.Contains(err.Error(), "-00001-of-00003.gguf") {
		t.Errorf("another name: %v", err)
	}
}

// TestHostileGGUF cuts the file everywhere and flips its bytes: an error or a
// checkpoint, never a panic.
func TestHostileGGUF(t *testing.T) {
	good := tinyGGUF()
	for n := range good {
		if ck, err := Open(file(t, "x.gguf", good[:n])); err == nil {
			ck.Close()
			t.Fatalf("cut at %d of %d: no error", n, len(good))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	path := file(t, "x.gguf", good)
	for range 3000 {
		bad := bytes.Clone(good)
		for range 1 + r.IntN(3) {
			bad[r.IntN(len(bad))] = byte(r.IntN(256))
		}
		os.WriteFile(path, bad, 0o644)
		if ck, err := Open(path); err == nil {
			ck.Close()
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s File
		if s.parse(data, uint64(len(data))) == nil {
			for _, n := range s.Names() {
				x, _ := s.Tensor(n)
				_, _ = x.Float32()
			}
		}
	})
}

func FuzzGGUF(f *testing.F) {
	f.Add(tinyGGUF())
	f.Fuzz(func(t *testing.T, data []byte) {
		ck := &Checkpoint{}
		if ck.parseGGUF(data, uint64(len(data))) == nil {
			for _, n := range ck.Names() {
				x, _ := ck.Tensor(n)
				_, _ = x.Float32()
			}
		}
	})
}
