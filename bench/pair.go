package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// bench is a run of the benchmark.
type bench struct {
	o options
	m models
	r *report
}

// row is a row of the table.
type row struct {
	name   string
	tokens int // of the prompt; 0: none
	ours   string
	theirs string
	unit   string
	a, b   float64    // medians of both sides
	ratio  [3]float64 // median, least, largest of the ratios a/b of neighboring runs
	target float64    // 0: none; negative: at most its absolute value
	peaks  [2]int64
	remark string
}

// met says whether the target is reached; empty if there is none.
func (r *row) met() string {
	switch {
	case r.target == 0 || math.IsNaN(r.ratio[0]):
		return ""
	case r.target > 0 && r.ratio[0] >= r.target || r.target < 0 && r.ratio[0] <= -r.target:
		return "yes"
	}
	return "no"
}

// pair runs both sides in turn and adds a row to the report.
func (b *bench) pair(name string, tokens int, target float64, ours, theirs side) {
	if b.o.only != "" && !strings.Contains(name, b.o.only) {
		return
	}
	if b.o.shrink > 1 {
		tokens /= b.o.shrink
		target = 0
		ours.task = ours.task.shrunk(b.o.shrink)
		theirs.task = theirs.task.shrunk(b.o.shrink)
	}
	note(fmt.Sprintf("%s, %d tokens: %s against %s", name, tokens, ours.name, theirs.name))
	l := row{name: name, tokens: tokens, ours: ours.name, theirs: theirs.name, unit: "tokens/s", target: target}
	switch ours.task.Op {
	case "gemm":
		l.unit = "GFLOP/s"
	case "read", "sweep":
		l.unit = "s"
	}
	nan := math.NaN()
	l.a = nan
	l.b = nan
	l.ratio = [3]float64{nan, nan, nan}
	if err := b.alternate(&l, ours, theirs); err != nil {
		l.remark = "SKIPPED: " + err.Error()
		note(l.remark)
	}
	b.r.add(l)
	b.r.save(b.o.out)
}

func (b *bench) alternate(l *row, ours, theirs side) error {
	if len(theirs.argv) == 0 {
		return fmt.Errorf("%s: %w", theirs.name, errAbsent)
	}
	var workers [2]*worker
	for i, s := range []side{ours, theirs} {
		var err error
		if workers[i], err = start(s.name, s.argv...); err != nil {
			return err
		}
		defer workers[i].stop()
	}
	var speeds [2][]float64
	for round := range b.o.rounds + 1 {
		order := [2]int{0, 1}
		if round%2 == 1 {
			order = [2]int{1, 0}
		}
		for _, i := range order {
			t := []side{ours, theirs}[i].task
			a, err := workers[i].do(t)
			if err != nil {
				return err
			}
			l.peaks[i] = max(l.peaks[i], a.Peak)
			if round > 0 { // the first is a warm-up
				speeds[i] = append(speeds[i], a.figure(t))
			}
		}
	}
	l.a = median(speeds[0])
	l.b = median(speeds[1])
	ratios := make([]float64, b.o.rounds)
	for i := range ratios {
		ratios[i] = speeds[0][i] / speeds[1][i]
	}
	l.ratio = [3]float64{median(ratios), slices.Min(ratios), slices.Max(ratios)}
	return nil
}

// figure returns the number of a run that is compared: GFLOP/s of a product, seconds
// of an analysis, and tokens per second otherwise.
func (a answer) figure(t task) float64 {
	switch t.Op {
	case "gemm":
		return 2 * float64(t.N) * float64(t.Out) * float64(t.In) / a.Seconds / 1e9
	case "read", "sweep":
		return a.Seconds
	}
	return float64(a.Tokens) / a.Seconds
}

// single runs one side alone, several times. It returns the median of a figure of its
// answers, and the last answer.
func (b *bench) single(s side, figure func(answer) float64) (float64, answer, error) {
	w, err := start(s.name, s.argv...)
	if err != nil {
		return 0, answer{}, err
	}
	defer w.stop()
	var list []float64
	var last answer
	for range b.o.rounds {
		if last, err = w.do(s.task); err != nil {
			return 0, last, err
		}
		list = append(list, figure(last))
	}
	return median(list), last, nil
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
