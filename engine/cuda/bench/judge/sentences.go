package judge

import (
	"fmt"
	"strings"
)

// Word says what a measurement means for a sentence.
type Word string

// The words of a verdict.
const (
	True  Word = "true"
	False Word = "false"
	Open  Word = "open" // this run does not say
)

// Verdict is a sentence of docs/CUDA.md and what the card says about it.
type Verdict struct {
	Sentence string `json:"sentence"`
	Word     Word   `json:"word"`
	Why      string `json:"why"`
}

// sentence is a sentence of docs/CUDA.md, or the part of it that is judged. A test checks
// that the document has it.
type sentence struct {
	text  string
	judge func(f *Findings) (Word, string)
}

// sentences lists what a card can confirm or refute, in the order of the document.
var sentences = []sentence{
	{"It needs a driver for CUDA 11.0 or later and a card of compute capability 8.0 (Ampere) or later.", opened},
	{"It uses cuBLAS 11, 12 or 13", cublas},
	{"Without cuBLAS, attnscope's own kernels multiply, which is slower", ownIsSlower},
	{"Three products on tensor cores should be faster than one by float32 instructions", termsAreFaster},
	{"their largest error against float64 is at most", passed("TestMixedProductsAreAsAccurateAsFloat32")},
	{"The program embeds the kernels compiled for sm_80, 86, 89, 90a, 100 and 120, and as PTX", compiled},
	{"that takes 7 to 10 seconds", between(StartPTX, "", 0, 7, 10)},
	{"weights, cache and products in float32; the same numbers as on the processor, except for rounding", models},
	{"the memory that the run will take on the card", between(Memory, "7b", 16384, 0.8, 1.2)},
	{
		"The card then computes sums over queries, in 64-bit fixed point as on the processor.",
		passed("TestAttention", "TestAttentionDoesNotDependOnPasses"),
	},
	{
		"sums over all queries, and the overview's cells, stay on the card until the whole prompt has been read",
		passed("TestTotalsCrossOnceOnCard", "TestTotalsOfInterruptedPromptsOnCard"),
	},
	{"When all eight slots are in use, the card's thread waits", passed("TestSlowReaderHoldsTheCardBackOnCard")},
	{"That is half of attention's work again, and at 64k tokens attention is more than half of a prefill.", halfAgain},
	{
		"The kernels of a reply token are launched together, as a CUDA graph",
		passed("TestReplyTokensAreOneLaunchOnCard", "TestRecordedTokensAreFewLaunchesOnCard"),
	},
	{
		"each row of such a product has the same bits as alone",
		passed("TestStepsOnCard"),
	},
	{"which should be faster for small models", graphsAreFaster},
	{"Triton's kernels give the same numbers as the others, except for rounding.", tritonIsRight},
	{"On these cards they should be faster", tritonIsFaster},
	{"the card also selects", passed("TestSnapKV", "TestTopKOfAnyScores", "TestTopKOfNoNumbers", "TestGatherSlots")},
}

// Judge returns the verdict on each sentence.
func (f *Findings) Judge() []Verdict {
	var out []Verdict
	for _, s := range sentences {
		word, why := s.judge(f)
		if f.Card.Emulated() && word != Open {
			why = "on the emulated card, which settles nothing: " + why
			word = Open
		}
		out = append(out, Verdict{s.text, word, why})
	}
	return out
}

// truth returns True or False.
func truth(yes bool) Word {
	if yes {
		return True
	}
	return False
}

// step returns a step of the run.
func (f *Findings) step(name string) (Step, bool) {
	for _, s := range f.Steps {
		if s.Name == name {
			return s, true
		}
	}
	return Step{}, false
}

func opened(f *Findings) (Word, string) {
	c := &f.Card
	why := fmt.Sprintf("a card of compute capability %d.%d with a driver for CUDA %d.%d",
		c.Capability[0], c.Capability[1], c.Driver[0], c.Driver[1])
	s, ok := f.step("start")
	switch {
	case !ok || s.Outcome == LeftOut:
		return Open, why + " was found, but not opened"
	case s.Outcome == Failed:
		return False, why + ": " + s.Why
	}
	return True, why + " works"
}

func cublas(f *Findings) (Word, string) {
	if f.Cublas == "" {
		return Open, "no cuBLAS was found, or none works"
	}
	return True, f.Cublas
}

// sameWork is what two measures have in common, and their unit.
type sameWork struct {
	shape  string
	tokens int
	unit   string
}

// compare judges whether holds is true of two measures of the same work.
func (w sameWork) compare(f *Findings, a, b Measure, holds func(a, b float64) bool) (Word, string) {
	x, ok := f.value(a, w.shape, w.tokens)
	y, both := f.value(b, w.shape, w.tokens)
	if !ok || !both {
		return Open, "the two were not measured beside each other"
	}
	return truth(holds(x, y)), fmt.Sprintf("%.0f against %.0f %s", x, y, w.unit)
}

func larger(a, b float64) bool  { return a > b }
func smaller(a, b float64) bool { return a < b }

func ownIsSlower(f *Findings) (Word, string) {
	return sameWork{unit: "TFLOP/s"}.compare(f, ProductOwn, ProductCublas, smaller)
}

func termsAreFaster(f *Findings) (Word, string) {
	return sameWork{unit: "TFLOP/s"}.compare(f, ProductTerms, ProductFloat32, larger)
}

func graphsAreFaster(f *Findings) (Word, string) {
	return sameWork{"smollm2-135m", 4096, "tokens/s"}.compare(f, DecodeRate, DecodeSingle, larger)
}

// tritonIsRight judges by the tests of Triton's kernels, which run those for sm_80 on a card that
// has none of its own.
func tritonIsRight(f *Findings) (Word, string) {
	word, why := passed("TestTritonAttention", "TestTritonGemm", "TestTritonPromptOnCard")(f)
	if c := f.Card.Capability; word != Open && c != [2]int{9, 0} && c != [2]int{10, 0} {
		return Open, "a card that has no such kernels of its own: " + why
	}
	return word, why
}

func tritonIsFaster(f *Findings) (Word, string) {
	return sameWork{"7b", 16384, "TFLOP/s"}.compare(f, PrefillTriton, Prefill, larger)
}

func compiled(f *Findings) (Word, string) {
	switch f.Image {
	case "":
		return Open, "no kernels were loaded"
	case "ptx":
		if _, known := operationsPerClock[f.Card.Capability]; known {
			return False, "the driver refused the compiled kernels and compiled the PTX"
		}
		return True, "the driver compiled the PTX for a card that has no compiled kernels"
	}
	return True, "the driver took the kernels of " + f.Image
}

func models(f *Findings) (Word, string) {
	var bad []string
	for _, m := range f.Models {
		if !m.Same() {
			bad = append(bad, m.Name)
		}
	}
	switch {
	case len(f.Models) == 0:
		return Open, "no checkpoint was compared"
	case len(bad) > 0:
		return False, "differ by more: " + strings.Join(bad, ", ")
	}
	return True, fmt.Sprintf("%d checkpoints: logits within 1e-4 of the largest, weights within 1e-5", len(f.Models))
}

// halfAgain judges the cost of sums over all queries by the times of the kernels.
func halfAgain(f *Findings) (Word, string) {
	attention, sums, all := 0.0, 0.0, 0.0
	for _, k := range f.Kernels {
		if k.Shape != "7b" || k.Tokens != 65536 {
			continue
		}
		switch {
		case k.Recording && strings.HasPrefix(k.Kernel, "attention_sums_"):
			sums += k.Milliseconds
		case !k.Recording && strings.HasPrefix(k.Kernel, "attention_"):
			attention += k.Milliseconds
		}
		if !k.Recording {
			all += k.Milliseconds
		}
	}
	if attention == 0 || sums == 0 {
		return Open, "64k tokens of the shape 7b were not measured kernel by kernel"
	}
	again := sums / attention
	part := attention / all
	why := fmt.Sprintf("the sums take %.2f of attention's time, attention %.2f of the prefill's", again, part)
	return truth(again > 0.4 && again < 0.65 && part > 0.5), why
}

// between judges by a value that must lie in an interval.
func between(m Measure, shape string, tokens int, low, high float64) func(*Findings) (Word, string) {
	return func(f *Findings) (Word, string) {
		v, ok := f.value(m, shape, tokens)
		if !ok {
			return Open, "not measured"
		}
		return truth(v >= low && v <= high), fmt.Sprintf("measured %.3g %s", v, m.Unit())
	}
}

// passed judges by tests that must all pass.
func passed(names ...string) func(*Findings) (Word, string) {
	return func(f *Findings) (Word, string) {
		word := True
		var why []string
		for _, name := range names {
			result := f.test(name)
			switch result {
			case "pass":
			case "fail":
				word = False
			default:
				result = "did not run"
				if word == True {
					word = Open
				}
			}
			why = append(why, name+": "+result)
		}
		return word, strings.Join(why, ", ")
	}
}
