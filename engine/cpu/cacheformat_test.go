package cpu

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"testing"
)

// TestQuantizedCacheAgainstNumpy compares what is read from a quantized store, bit for
// bit, with testdata/make_quantized_cache.py: after the prompt, while rows are appended,
// and again after the store was truncated to the prompt.
func TestQuantizedCacheAgainstNumpy(t *testing.T) {
	const prompt, steps, dim = 37, 14, 20
	data, err := os.ReadFile("testdata/quantized_cache.bin")
	if err != nil {
		t.Fatal(err)
	}
	next := func(n int) []float32 {
		x := make([]float32, n*dim)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		data = data[4*len(x):]
		return x
	}
	keys := next(prompt + steps)
	values := next(prompt + steps)
	for _, bits := range []int{2, 3, 4, 8} {
		kv := NewKV(1, dim, dim)
		kv.Append(nil, keys[:prompt*dim], values[:prompt*dim], prompt)
		f := CacheFormat{Bits: bits, Group: 4, Residual: 8}
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		kv.Quantize(f)
		kv.Mark()
		golden := map[int][2][]float32{}
		for _, n := range []int{prompt, prompt + 3, prompt + steps} {
			golden[n] = [2][]float32{next(n), next(n)}
		}
		for range 2 {
			for n := prompt; ; n++ {
				if want, ok := golden[n]; ok {
					kv.settle(&kv.heads[0]) // as the next call of Append does
					same(t, "keys", bits, n, kv.KeysOf(0), want[0])
					same(t, "values", bits, n, kv.ValuesOf(0), want[1])
				}
				if n == prompt+steps {
					break
				}
				kv.Append(nil, keys[n*dim:(n+1)*dim], values[n*dim:(n+1)*dim], 1)
				if got := kv.KeysOf(0)[n*dim:]; !slices.Equal(got, keys[n*dim:(n+1)*dim]) {
					t.Fatalf("%d bits: the new row %d was quantized before it attended", bits, n)
				}
			}
			kv.Truncate(prompt)
		}
	}
	if len(data) > 0 {
		t.Errorf("%d bytes of the golden file were not read", len(data))
	}
}

func same(t *testing.T, what string, bits, n int, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d bits, %d positions: %d %s, want %d", bits, n, len(got), what, len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%d bits, %d positions: %s %d is %g, want %g", bits, n, what, i, got[i], want[i])
		}
	}
}

// TestBytesOfQuantizedCaches counts by hand: 37 slots with residual 8 have 32 quantized
// keys and 29 quantized values.
func TestBytesOfQuantizedCaches(t *testing.T) {
	const n, keyDim, valueDim = 37, 20, 10
	f := CacheFormat{Bits: 2, Group: 4, Residual: 8}
	bits := 32*20*2 + 8*20*32 + 5*20*16 // codes, scales and minima, and the rest of the keys
	bits += 29*10*2 + 29*3*32 + 8*10*16 // groups of 4, 4 and 2 channels
	kv := NewKV(2, keyDim, valueDim)
	kv.Append(nil, make([]float32, n*2*keyDim), make([]float32, n*2*valueDim), n)
	if want := 4 * 2 * n * (keyDim + valueDim); kv.Bytes() != want {
		t.Errorf("%d bytes of float32, want %d", kv.Bytes(), want)
	}
	kv.Quantize(f)
	if want := 2 * 2 * bits / 8; kv.Bytes() != want {
		t.Errorf("%d bytes, want %d", kv.Bytes(), want)
	}
	for _, f := range []CacheFormat{{Bits: 1, Group: 4, Residual: 8}, {Bits: 9, Group: 4, Residual: 8}, {4, 0, 8}, {4, 4, 6}, {4, 4, 0}} {
		if f.Check() == nil {
			t.Errorf("%+v passes Check", f)
		}
	}
}
