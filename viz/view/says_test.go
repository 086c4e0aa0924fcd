package view

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// table returns the n-th table of the side panel as text.
func (b *tab) table(n int) [][]string {
	b.Helper()
	var rows [][]string
	text := b.eval(fmt.Sprintf(`return [...document.querySelectorAll("aside table")][%d].innerText.split("\n").map(l => l.split("\t"))`, n))
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		b.Fatalf("%v: %s", err, text)
	}
	return rows
}

// TestPageSaysWhatTheAPISays compares values in the panels of the page with the API: the
// highest head with its interval, the largest difference of two prompts, and what
// methods keep.
func TestPageSaysWhatTheAPISays(t *testing.T) {
	b := openTab(t)
	v := open(t, "factors", 0)
	type answer struct{ Measures, Low, High map[string][]float64 }
	near := func(what, said string, want float64) {
		t.Helper()
		if math.Abs(number64(said)-want) > 0.006*math.Abs(want)+1e-9 {
			t.Errorf("%s: the page says %s, the API %g", what, said, want)
		}
	}

	b.visit(v, "v=overview&mean=1&sort=rank&m=distance&w=8")
	best, at := answer{}, [2]int{}
	for layer := range 2 {
		var a answer
		v.json(fmt.Sprintf("api/stats?p=all&layer=%d&window=8", layer), &a)
		for head, x := range a.Measures["distance"] {
			if best.Measures == nil || x > best.Measures["distance"][at[1]] {
				best, at = a, [2]int{layer, head}
			}
		}
	}
	row := b.table(0)[1]
	if fmt.Sprint(row[:2]) != fmt.Sprint(at[:]) {
		t.Errorf("the farthest head is %v, the page says %v", at, row)
	}
	near("distance", row[2], best.Measures["distance"][at[1]])
	low, high, _ := strings.Cut(row[3], "–")
	if math.Abs(number64(low)-best.Low["distance"][at[1]]) > 0.6 || math.Abs(number64(high)-best.High["distance"][at[1]]) > 0.6 {
		t.Errorf("interval %s, want %g to %g", row[3], best.Low["distance"][at[1]], best.High["distance"][at[1]])
	}

	b.visit(v, "v=compare&p=0&p2=1&m=sink&w=8&head=0")
	far, at := 0.0, [2]int{}
	for layer := range 2 {
		var x, y answer
		v.json(fmt.Sprintf("api/stats?p=0&layer=%d&window=8", layer), &x)
		v.json(fmt.Sprintf("api/stats?p=1&layer=%d&window=8", layer), &y)
		for head := range 4 {
			if d := y.Measures["sink"][head] - x.Measures["sink"][head]; math.Abs(d) > math.Abs(far) {
				far, at = d, [2]int{layer, head}
			}
		}
	}
	row = b.table(1)[1]
	if fmt.Sprint(row[:2]) != fmt.Sprint(at[:]) {
		t.Errorf("the largest difference is at %v, the page says %v", at, row)
	}
	near("difference", row[2], far)

	b.visit(v, "v=sweep&sw=method&w=8&mk=3")
	lines := b.table(0)
	for _, row := range lines[1:] {
		var got struct {
			Rows []struct {
				Capacity int
				Mass     float64
			}
		}
		v.json("api/methods?p=all&layer=all&window=8&kernel=3&capacity="+strings.Join(lines[0][1:], ",")+"&methods="+row[0], &got)
		for i, r := range got.Rows {
			if math.Abs(number64(row[i+1])-r.Mass) > 0.0006 {
				t.Errorf("%s at %d: the page says %s, the API %g", row[0], r.Capacity, row[i+1], r.Mass)
			}
		}
		if len(got.Rows) != len(row)-1 {
			t.Errorf("%s: %d values, want %d", row[0], len(row)-1, len(got.Rows))
		}
	}
	if len(lines) < 10 || b.exception != "" {
		t.Errorf("%d methods; exceptions: %s", len(lines)-1, b.exception)
	}
}
