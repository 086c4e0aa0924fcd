package judge

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// WritePage writes the findings as a page of Markdown.
func (f *Findings) WritePage(w io.Writer) error {
	p := &page{}
	p.head(f)
	p.sentences(f)
	p.predictions(f)
	p.models(f)
	p.kernels(f)
	p.counters(f)
	p.steps(f)
	p.failures(f)
	_, err := io.WriteString(w, p.String())
	return err
}

// page is the text of a page.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// row writes a row of a table. A bar would end a cell.
func (p *page) row(cells ...string) {
	for i := range cells {
		cells[i] = strings.ReplaceAll(strings.Join(strings.Fields(cells[i]), " "), "|", `\|`)
	}
	p.line("| %s |", strings.Join(cells, " | "))
}

func (p *page) table(columns ...string) {
	p.row(columns...)
	p.line("|%s", strings.Repeat("---|", len(columns)))
}

func (p *page) head(f *Findings) {
	c := &f.Card
	p.line("# attnscope on %s\n", c.Name)
	if c.Emulated() {
		p.line("**This card is emulated. Its times mean nothing, no prediction is compared, " +
			"and no sentence is settled.**\n")
	}
	p.line("%s, %.0f s in all. Compute capability %d.%d, %.0f GiB, driver for CUDA %d.%d, %d multiprocessors.",
		f.Started, f.Seconds, c.Capability[0], c.Capability[1], float64(c.Memory)/(1<<30), c.Driver[0], c.Driver[1],
		c.Multiprocessors)
	p.line("Peak at the highest clock: %.0f TFLOP/s of bfloat16 products, %.0f GB/s of memory. cuBLAS: %s.",
		c.Peak(), c.Bandwidth(), cmp.Or(f.Cublas, "none works"))
	count := map[string]int{}
	for _, t := range f.Tests {
		count[t.Result]++
	}
	p.line("Tests: %d passed, %d failed, %d skipped.", count["pass"], count["fail"], count["skip"])
}

func (p *page) sentences(f *Findings) {
	p.line("\n## Sentences of docs/CUDA.md\n")
	p.table("now", "sentence", "why")
	for _, v := range f.Sentences {
		p.row(string(v.Word), v.Sentence, v.Why)
	}
}

func (p *page) predictions(f *Findings) {
	p.line("\n## Predictions\n")
	p.line("The intervals were written down before a card had been measured.")
	p.line("x is a ratio of times or of memory; x and s are better if they are less.\n")
	p.table("measure", "shape", "tokens", "predicted", "measured", "", "predicted from")
	for _, c := range f.Predictions {
		measured := ""
		if c.Measured != nil {
			measured = number(*c.Measured)
		}
		interval := fmt.Sprintf("%s to %s %s", number(c.Low), number(c.High), c.Unit)
		p.row(string(c.Measure), c.Shape, tokens(c.Tokens), interval, measured, c.Word, c.Basis)
	}
	var others []Value
	for _, v := range f.Values {
		same := func(c Comparison) bool {
			return c.Measure == v.Measure && c.Shape == v.Shape && c.Tokens == v.Tokens
		}
		if !slices.ContainsFunc(f.Predictions, same) {
			others = append(others, v)
		}
	}
	if len(others) == 0 {
		return
	}
	p.line("\nMeasured without a prediction:\n")
	p.table("measure", "shape", "tokens", "measured")
	for _, v := range others {
		p.row(string(v.Measure), v.Shape, tokens(v.Tokens), number(v.Number)+" "+v.Unit)
	}
}

func (p *page) models(f *Findings) {
	if len(f.Models) == 0 {
		return
	}
	p.line("\n## Small checkpoints, card against processor, float32\n")
	p.table("checkpoint", "logits", "weights", "sums", "")
	for _, m := range f.Models {
		word := "same"
		if !m.Same() {
			word = cmp.Or(m.Failed, "differs")
		}
		p.row(m.Name, fmt.Sprintf("%.1e", m.Logits), fmt.Sprintf("%.1e", m.Weights), fmt.Sprintf("%.1e", m.Sums), word)
	}
}

func (p *page) kernels(f *Findings) {
	if len(f.Kernels) == 0 {
		return
	}
	p.line("\n## Times of kernels\n")
	p.line("The times of one prompt, launch by launch, between two events.")
	p.line("Kernels that take less than a hundredth are only in the JSON file.\n")
	type pass struct {
		shape     string
		tokens    int
		recording bool
	}
	total := map[pass]float64{}
	for _, k := range f.Kernels {
		total[pass{k.Shape, k.Tokens, k.Recording}] += k.Milliseconds
	}
	p.table("shape", "tokens", "recording", "kernel", "launches", "ms", "part")
	for _, k := range f.Kernels {
		part := k.Milliseconds / total[pass{k.Shape, k.Tokens, k.Recording}]
		if part >= 0.01 {
			recording := map[bool]string{true: "yes", false: "no"}[k.Recording]
			p.row(k.Shape, tokens(k.Tokens), recording, k.Kernel,
				fmt.Sprint(k.Launches), number(k.Milliseconds), fmt.Sprintf("%.2f", part))
		}
	}
}

func (p *page) counters(f *Findings) {
	if len(f.Counters) == 0 {
		return
	}
	p.line("\n## Hardware counters (ncu)\n")
	p.table("kernel", "counter", "value", "unit")
	for _, c := range f.Counters {
		p.row(c.Kernel, c.Name, c.Value, c.Unit)
	}
}

func (p *page) steps(f *Findings) {
	p.line("\n## Steps\n")
	p.table("step", "outcome", "s", "why")
	for _, s := range f.Steps {
		p.row(s.Name, string(s.Outcome), fmt.Sprintf("%.0f", s.Seconds), s.Why)
	}
}

func (p *page) failures(f *Findings) {
	first := true
	for _, t := range f.Tests {
		if t.Result != "fail" {
			continue
		}
		if first {
			p.line("\n## Failed tests")
			first = false
		}
		p.line("\n%s, %s:\n\n```\n%s\n```", t.Package, t.Name, strings.TrimSpace(t.Output))
	}
}

// tokens returns a number of tokens as text; 0 is empty.
func tokens(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// number returns a number with three digits, or all of a larger one's whole part.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
