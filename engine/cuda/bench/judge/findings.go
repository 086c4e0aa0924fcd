// Package judge compares what a card measured with what had been predicted, and says
// which sentences of docs/CUDA.md the measurement confirms or refutes.
package judge

import "strings"

// Findings is what a first run on a card leaves as JSON.
type Findings struct {
	Started     string       `json:"started"`
	Seconds     float64      `json:"seconds"`
	Host        string       `json:"host"`
	CPUs        int          `json:"cpus"`
	Card        Card         `json:"card"`
	Image       string       `json:"kernels,omitempty"` // that the driver took: sm_90a and so on, or ptx
	Cublas      string       `json:"cublas,omitempty"`  // the library; empty: none works
	Steps       []Step       `json:"steps"`
	Tests       []Test       `json:"tests,omitempty"`
	Models      []Model      `json:"models,omitempty"`
	Values      []Value      `json:"values,omitempty"`
	Kernels     []Kernel     `json:"kernel_times,omitempty"`
	Counters    []Counter    `json:"counters,omitempty"`
	Predictions []Comparison `json:"predictions,omitempty"`
	Sentences   []Verdict    `json:"sentences,omitempty"`
}

// Card describes the card and its driver.
type Card struct {
	Name            string `json:"name"`
	Capability      [2]int `json:"compute_capability"`
	Driver          [2]int `json:"driver_cuda"` // CUDA version of the driver
	Memory          int64  `json:"memory_bytes"`
	Multiprocessors int    `json:"multiprocessors"`
	ClockKHz        int    `json:"clock_khz"`
	MemoryClockKHz  int    `json:"memory_clock_khz"`
	MemoryBits      int    `json:"memory_bus_bits"`
}

// Emulated reports whether the card is the emulated one, whose times mean nothing.
func (c *Card) Emulated() bool { return c.Name == "attnscope CPU emulator" }

// operationsPerClock holds the operations of dense bfloat16 products with float32 sums that
// a multiprocessor completes per clock, by compute capability: NVIDIA's architecture
// white papers for A100, GA102, Ada, H100, Blackwell and RTX Blackwell. GeForce cards
// complete half as many.
var operationsPerClock = map[[2]int]float64{
	{8, 0}:  2048,
	{8, 6}:  1024,
	{8, 9}:  1024,
	{9, 0}:  4096,
	{10, 0}: 8192,
	{12, 0}: 1024,
}

// Peak returns the rate of bfloat16 products at the card's highest clock, in TFLOP/s;
// 0 if it is not known.
func (c *Card) Peak() float64 {
	per := operationsPerClock[c.Capability]
	if strings.Contains(c.Name, "GeForce") {
		per /= 2
	}
	return per * float64(c.Multiprocessors) * float64(c.ClockKHz) * 1e3 / 1e12
}

// Bandwidth returns the rate of the card's memory in GB/s, at two transfers per clock.
func (c *Card) Bandwidth() float64 {
	return 2 * float64(c.MemoryClockKHz) * 1e3 * float64(c.MemoryBits) / 8 / 1e9
}

// Step is a part of the run.
type Step struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Seconds float64 `json:"seconds"`
	Why     string  `json:"why,omitempty"` // of a step that failed or was left out
}

// Outcome says how a step ended.
type Outcome string

// The outcomes of a step.
const (
	Done    Outcome = "done"
	Failed  Outcome = "failed"
	LeftOut Outcome = "left out"
)

// Test is the result of a test of the backend.
type Test struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Result  string  `json:"result"` // pass, fail, skip
	Seconds float64 `json:"seconds"`
	Output  string  `json:"output,omitempty"` // of tests that did not pass
}

// Model compares a small checkpoint on the card with the processor, in float32.
type Model struct {
	Name    string  `json:"name"`
	Logits  float64 `json:"logits"`  // largest difference, in units of the largest logit
	Weights float64 `json:"weights"` // largest difference of a recorded weight
	Sums    float64 `json:"sums"`    // largest difference of a sum over queries
	Failed  string  `json:"failed,omitempty"`
}

// Same reports whether the numbers agree as far as rounding allows.
func (m *Model) Same() bool {
	return m.Failed == "" && m.Logits <= 1e-4 && m.Weights <= 1e-5 && m.Sums <= 1e-3
}

// Value is a measured number.
type Value struct {
	Measure Measure `json:"measure"`
	Shape   string  `json:"shape,omitempty"` // of the model; empty: does not depend on one
	Tokens  int     `json:"tokens,omitempty"`
	Number  float64 `json:"number"`
	Unit    string  `json:"unit"`
}

// Kernel is the time of a kernel in a pass over a prompt.
type Kernel struct {
	Shape        string  `json:"shape"`
	Tokens       int     `json:"tokens"`
	Recording    bool    `json:"recording"`
	Kernel       string  `json:"kernel"`
	Launches     int     `json:"launches"`
	Milliseconds float64 `json:"milliseconds"`
}

// Counter is a hardware counter that ncu read.
type Counter struct {
	Kernel string `json:"kernel"`
	Name   string `json:"name"`
	Unit   string `json:"unit,omitempty"`
	Value  string `json:"value"`
}

// Add adds a measured number.
func (f *Findings) Add(m Measure, shape string, tokens int, number float64) {
	f.Values = append(f.Values, Value{m, shape, tokens, number, m.Unit()})
}

// value returns a measured number.
func (f *Findings) value(m Measure, shape string, tokens int) (float64, bool) {
	for _, v := range f.Values {
		if v.Measure == m && v.Shape == shape && v.Tokens == tokens {
			return v.Number, true
		}
	}
	return 0, false
}

// test returns the result of a test, or an empty string if it did not run.
func (f *Findings) test(name string) string {
	for _, t := range f.Tests {
		if t.Name == name {
			return t.Result
		}
	}
	return ""
}
