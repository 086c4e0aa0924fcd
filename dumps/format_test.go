package dumps

import (
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFormatNamesTheFieldsOfShapes: the page explains every field of a layer's shape.
func TestFormatNamesTheFieldsOfShapes(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(fieldNames(LayerShape{}), fieldNames(RopeShape{}), []string{"layer_shapes"}) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("FORMAT.md does not name %s", name)
		}
	}
}

// TestFormatPage decodes the record that FORMAT.md shows in hex, so that page and code
// agree.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```hex\n")
	text, _, _ = strings.Cut(text, "```")
	var data []byte
	for line := range strings.Lines(text) {
		digits := regexp.MustCompile(`^([0-9a-f]{2} {1,2})+`).FindString(line)
		part, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, part...)
	}
	r, err := readRecord(strings.NewReader(string(data)), 0, int64(len(data)), make([]byte, frameBytes))
	if err != nil {
		t.Fatal(err)
	}
	want := record{
		Kind: kindWeights, Enc: encF16, Phase: Decode, Bits: 10, Prompt: 2, Layer: 7, Head0: 3, NH: 1,
		Rows: 2, Keys: 5, Raw: 20, Stored: 29, Sum: 0x3532bc01, at: frameBytes,
	}
	if r != want {
		t.Errorf("the record is %+v, want %+v", r, want)
	}
	raw, err := inflate(&r, data[frameBytes:])
	if err != nil {
		t.Fatal(err)
	}
	weights := make([]float32, r.elements())
	if err := decodeFloats(&r, raw, weights); err != nil {
		t.Fatal(err)
	}
	if want := []float32{.5, .25, .25, 0, 0, .125, .125, .25, .5, 0}; !slices.Equal(weights, want) {
		t.Errorf("its weights are %v, want %v", weights, want)
	}
	if got := r.marshal(nil); !slices.Equal(got, data[:frameBytes]) {
		t.Errorf("its head is % x, want % x", got, data[:frameBytes])
	}
}
