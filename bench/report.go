package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report collects rows and notes, and writes them as Markdown and TSV.
type report struct {
	started time.Time
	machine string
	quick   bool
	shrink  int // the numbers of tokens were divided by it
	busy    float64
	rows    []row
	notes   []string // measurements without a comparison
}

func (r *report) add(l row) {
	r.rows = append(r.rows, l)
	fmt.Fprintf(os.Stderr, "bench:   %s\n", strings.Join(l.cells(), "  "))
}

func (r *report) tell(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, line)
	note(line)
}

var heads = []string{
	"what", "tokens", "ours", "theirs", "ours, median", "theirs, median", "unit", "ratio", "least", "largest",
	"target", "reached", "peak GB, ours", "theirs", "remark",
}

func (l *row) cells() []string {
	target := ""
	if l.target > 0 {
		target = fmt.Sprintf(">= %.3g", l.target)
	} else if l.target < 0 {
		target = fmt.Sprintf("<= %.3g", -l.target)
	}
	tokens := ""
	if l.tokens > 0 {
		tokens = fmt.Sprint(l.tokens)
	}
	return []string{
		l.name, tokens, l.ours, l.theirs, number(l.a), number(l.b), l.unit, number(l.ratio[0]), number(l.ratio[1]), number(l.ratio[2]),
		target, l.met(), gigabytes(l.peaks[0]), gigabytes(l.peaks[1]), l.remark,
	}
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func gigabytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(n)/1e9)
}

// save writes the report so far. An error is only logged; write at the end returns it.
func (r *report) save(dir string) {
	if err := r.write(dir); err != nil {
		note(err.Error())
	}
}

// base returns the path of this run's files without their extension.
func (r *report) base(dir string) string {
	base := filepath.Join(dir, r.started.UTC().Format("2006-01-02"))
	if r.quick {
		base += "-quick"
	}
	if r.shrink > 1 {
		base += fmt.Sprintf("-shrunk-%d", r.shrink)
	}
	return base
}

// write makes DIR/DATE.md and DIR/DATE.tsv.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	base := r.base(dir)
	var md, tsv strings.Builder
	fmt.Fprintf(&md, "# Benchmark of %s\n\n%s\n\n", r.started.UTC().Format("2006-01-02 15:04 UTC"), r.machine)
	fmt.Fprintf(&md, "Made by `make bench` in %s; %.0f %% of the machine was in use by other programs when it began. "+
		"Ratios are medians over neighboring runs, with the smallest and the largest.\n\n",
		time.Since(r.started).Round(time.Minute), 100*r.busy)
	fmt.Fprintf(&md, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	fmt.Fprintln(&tsv, strings.ReplaceAll(strings.Join(heads, "\t"), ", ", "_"))
	for i := range r.rows {
		c := r.rows[i].cells()
		fmt.Fprintf(&md, "| %s |\n", strings.Join(c, " | "))
		fmt.Fprintln(&tsv, strings.Join(c, "\t"))
	}
	md.WriteString("\n")
	for _, n := range r.notes {
		fmt.Fprintf(&md, "- %s\n", n)
	}
	if err := os.WriteFile(base+".tsv", []byte(tsv.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".md", []byte(md.String()), 0o644)
}
