package dumps_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

func TestParseStore(t *testing.T) {
	for _, want := range dumps.Stores() {
		if got, err := dumps.ParseStore(string(want)); got != want || err != nil {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
	_, err := dumps.ParseStore("columns")
	if err == nil || err.Error() != `store "columns": want auto, rows or factors` {
		t.Errorf("an unknown store: %v", err)
	}
}

func TestParsePrecision(t *testing.T) {
	for _, want := range dumps.Precisions() {
		if got, err := dumps.ParsePrecision(string(want)); got != want || err != nil {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
	_, err := dumps.ParsePrecision("Fine")
	if err == nil || !strings.Contains(err.Error(), `precision "Fine": want exact, fine or coarse`) {
		t.Errorf("an unknown precision: %v", err)
	}
}

// TestPrecisionRules: what each precision promises and keeps. The zero value and
// unknown words, which a dump may hold, are Fine.
func TestPrecisionRules(t *testing.T) {
	const fine = "weights within 1e-4 + 5e-4 of the weight: 16 bits of a sum, half floats true"
	for precision, want := range map[dumps.Precision]string{
		dumps.Exact:  "float32; weights within 1e-6: 23 bits of a sum, half floats false",
		dumps.Fine:   fine,
		dumps.Coarse: "weights within 3e-3: 16 bits of a sum, half floats true",
		"":           fine,
		"finer":      fine,
	} {
		got := fmt.Sprintf("%s: %d bits of a sum, half floats %v",
			precision.Bound(), precision.SumBits(), precision.Rounding() != nil)
		if got != want {
			t.Errorf("%q: %s, want %s", precision, got, want)
		}
	}
}

// TestRoundingKeepsTheBound computes the largest error that each exponent allows: half
// a unit in the last place that is kept, of weights in [2^e, 2^(e+1)).
func TestRoundingKeepsTheBound(t *testing.T) {
	for precision, bound := range map[dumps.Precision]func(w float64) float64{
		dumps.Fine:   func(w float64) float64 { return 1e-4 + 5e-4*w },
		dumps.Coarse: func(float64) float64 { return 3e-3 },
	} {
		for field, drop := range precision.Rounding() {
			if field < 127-14 || field > 126 { // half floats of a fixed step; weights above 1
				continue
			}
			unit := math.Ldexp(1, field-127)
			bits := 23 - int(drop)
			if err := math.Ldexp(unit, -bits-1); err > bound(unit) {
				t.Errorf("%s: weights from %g on keep %d bits and are wrong by up to %g, want at most %g", precision, unit, bits, err, bound(unit))
			}
		}
	}
}

func TestPhases(t *testing.T) {
	p := dumps.Prompt{PromptTokens: 10, ReplyTokens: 3, WindowRows: 4}
	for i, want := range []string{"prompt: 4 rows of 10 keys from query 6", "reply: 3 rows of 13 keys from query 10"} {
		rows, keys, pos0 := p.Shape(dumps.Phases[i])
		if got := fmt.Sprintf("%s: %d rows of %d keys from query %d", dumps.Phases[i], rows, keys, pos0); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := dumps.Phase(7).String(); got != "phase 7" {
		t.Errorf("an unknown phase is %q", got)
	}
}

// TestHeaderHash: the hash depends on model, plan and manifest.
func TestHeaderHash(t *testing.T) {
	h := dumps.Header{Version: 1, Plan: dumps.Plan{WindowRows: 3}}
	same := h
	if len(h.SHA256()) != 64 || h.SHA256() != same.SHA256() {
		t.Errorf("hashes of equal headers: %s and %s", h.SHA256(), same.SHA256())
	}
	for what, change := range map[string]func(h *dumps.Header){
		"model":    func(h *dumps.Header) { h.Model.ID = "other" },
		"plan":     func(h *dumps.Header) { h.Plan.WindowRows = 4 },
		"manifest": func(h *dumps.Header) { h.Manifest.PromptsSHA256 = "00" },
	} {
		other := h
		if change(&other); other.SHA256() == h.SHA256() {
			t.Errorf("another %s has the same hash", what)
		}
	}
}
