package viz

import (
	"math"
	"testing"
)

// TestLearnedSinksAreApart: the shares of learned sinks are columns of their own after a
// gap behind the keys, and without them the columns are as ever.
func TestLearnedSinksAreApart(t *testing.T) {
	const keys = 30
	g := NewGrid(2, keys)
	for r := range 2 {
		for j := range keys {
			g.Set(r, j, 0.01*float64(j+1))
		}
	}
	plain := newColumns(keys, false)
	c := newColumns(keys, true)
	before := plain.spread(g, nil)
	with := c.spread(g, []float64{0.5, 0.7})
	if c.count() != plain.count()+c.gap+learnedWidth*c.sinkWidth {
		t.Fatalf("%d columns, %d without sinks", c.count(), plain.count())
	}
	for r, share := range []float64{0.5, 0.7} {
		for k := range with.Cols {
			got := with.at(r, k)
			switch {
			case k < before.Cols:
				want := before.at(r, k)
				if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
					t.Errorf("row %d, column %d: %g, want %g", r, k, got, want)
				}
			case k < before.Cols+c.gap:
				if !math.IsNaN(got) {
					t.Errorf("row %d: the gap has %g", r, got)
				}
			case got != share:
				t.Errorf("row %d, column %d: share %g, want %g", r, k, got, share)
			}
		}
	}
	ticks := c.ticks(8)
	if last := ticks[len(ticks)-1]; last.Label != "sink" || last.Value <= float64(before.Cols) {
		t.Errorf("the last tick is %+v", last)
	}
}
