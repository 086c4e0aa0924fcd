package tensor

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// TestQuantsBitForBit compares every quantised type with the values that
// testdata/make_goldens.py stored.
func TestQuantsBitForBit(t *testing.T) {
	text, err := os.ReadFile("testdata/quants.json")
	if err != nil {
		t.Fatal(err)
	}
	var goldens map[string]struct{ Raw, Values string }
	if err := json.Unmarshal(text, &goldens); err != nil {
		t.Fatal(err)
	}
	for d := Q4_0; d <= Q6_K; d++ {
		g, ok := goldens[d.String()]
		if !ok {
			t.Errorf("no golden of %s", d)
			continue
		}
		raw, _ := base64.StdEncoding.DecodeString(g.Raw)
		want, _ := base64.StdEncoding.DecodeString(g.Values)
		n := len(want) / 4
		got, err := Tensor{Name: d.String(), DType: d, Shape: []int{n}, Data: raw}.Float32()
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if w := binary.LittleEndian.Uint32(want[4*i:]); math.Float32bits(got[i]) != w && !(got[i] == 0 && w&0x7fffffff == 0) {
				t.Errorf("%s: element %d is %g, want %g", d, i, got[i], math.Float32frombits(w))
				break
			}
		}
	}
}

func TestHalvesRoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		v := F16ToF32(uint16(h))
		if v != v {
			continue
		}
		if got := F32ToF16(v); got != uint16(h) {
			t.Fatalf("half %04x is %g and comes back as %04x", h, v, got)
		}
	}
	// Ties go to even: halfway between 1 and the next half, and the one above.
	for v, want := range map[float32]uint16{1 + 1.0/2048: 0x3c00, 1 + 3.0/2048: 0x3c02, 70000: 0x7c00, 1e-9: 0} {
		if got := F32ToF16(v); got != want {
			t.Errorf("%g becomes %04x, want %04x", v, got, want)
		}
	}
	for v, want := range map[float32]uint16{1: 0x3f80, 1 + 1.0/256: 0x3f80, 1 + 3.0/256: 0x3f82} {
		if got := F32ToBF16(v); got != want {
			t.Errorf("%g becomes bfloat16 %04x, want %04x", v, got, want)
		}
	}
}
