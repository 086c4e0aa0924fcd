package pace

import "testing"

// TestPace: speeds of reading and generating are kept apart, and prompts that are
// done already say nothing of either.
func TestPace(t *testing.T) {
	var p Pace
	p.Plan(1000, 100)
	p.Plan(5000, 50) // another one, done by an earlier run
	p.Skip(5000, 50)
	if _, left := p.Left(); left >= 0 {
		t.Errorf("%s left before anything was run", left)
	}
	p.todo[Reading], p.done[Reading], p.spent[Reading] = 500, 500, 5e9
	if rate, left := p.Left(); rate != 100 || left != 5e9+100*slower*1e7 {
		t.Errorf("%g tokens/s, %s left", rate, left)
	}
	p.todo[Generating], p.done[Generating], p.spent[Generating] = 75, 25, 1e9
	if rate, left := p.Left(); rate != 87.5 || left != 5e9+3e9 {
		t.Errorf("%g tokens/s, %s left, want 87.5 and 8 s", rate, left)
	}
}
