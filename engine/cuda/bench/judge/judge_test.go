package judge

import (
	"os"
	"strings"
	"testing"
)

// h200 describes a card whose peak and bandwidth are known from its data sheet: 989 TFLOP/s
// at 1.83 GHz, 4.8 TB/s.
func h200() Card {
	return Card{
		Name: "NVIDIA H200", Capability: [2]int{9, 0}, Driver: [2]int{12, 8},
		Multiprocessors: 132, ClockKHz: 1830000, MemoryClockKHz: 3125000, MemoryBits: 6144,
	}
}

func TestPeaksAreThoseOfDataSheets(t *testing.T) {
	a100 := Card{
		Name: "NVIDIA A100-SXM4-40GB", Capability: [2]int{8, 0},
		Multiprocessors: 108, ClockKHz: 1410000, MemoryClockKHz: 1215000, MemoryBits: 5120,
	}
	rtx4090 := Card{
		Name: "NVIDIA GeForce RTX 4090", Capability: [2]int{8, 9},
		Multiprocessors: 128, ClockKHz: 2520000, MemoryClockKHz: 10501000, MemoryBits: 384,
	}
	for _, c := range []struct {
		card            Card
		peak, bandwidth float64
	}{
		{h200(), 989, 4800},
		{a100, 312, 1555},
		{rtx4090, 165, 1008},
	} {
		if got := c.card.Peak(); got < 0.99*c.peak || got > 1.01*c.peak {
			t.Errorf("%s: %.0f TFLOP/s, want %.0f", c.card.Name, got, c.peak)
		}
		if got := c.card.Bandwidth(); got < 0.99*c.bandwidth || got > 1.01*c.bandwidth {
			t.Errorf("%s: %.0f GB/s, want %.0f", c.card.Name, got, c.bandwidth)
		}
	}
}

// TestPredictionsDoNotOverlap: for each card, a measure is predicted once.
func TestPredictionsDoNotOverlap(t *testing.T) {
	list, err := Predictions()
	if err != nil {
		t.Fatal(err)
	}
	for capability := range operationsPerClock {
		type key struct {
			m      Measure
			shape  string
			tokens int
		}
		seen := map[key]bool{}
		for _, p := range list {
			if !p.covers(&Card{Capability: capability}) {
				continue
			}
			k := key{p.Measure, p.Shape, p.Tokens}
			if seen[k] {
				t.Errorf("%v: %v is predicted twice", capability, k)
			}
			seen[k] = true
			if p.Of == OfPeak && (p.Low <= 0 || p.High > 1) {
				t.Errorf("%v: %v is predicted as %g to %g of the peak", capability, k, p.Low, p.High)
			}
		}
		if len(seen) < 10 {
			t.Errorf("%v: %d predictions", capability, len(seen))
		}
	}
}

func TestParsePredictionsRejects(t *testing.T) {
	for cells, want := range map[string]string{
		"attention\t7b\t4096\t9.0\t0.2\t0.3\tpeak":             "line 2: 7 cells, want 8",
		"atention\t7b\t4096\t9.0\t0.2\t0.3\tpeak\tb":           `there is no measure "atention"`,
		"attention\t7b\t4k\t9.0\t0.2\t0.3\tpeak\tb":            "tokens",
		"attention\t7b\t4096\t9.0\t0.3\t0.2\tpeak\tb":          "the interval from 0.3 to 0.2 is empty",
		"attention\t7b\t4096\t9.0\t0.2\t0.3\tsum\tb":           `of "sum"`,
		"attention\t7b\t4096\t9.0\t0.2\t0.3\tpeak\t":           "the basis is missing",
		"attention\t7b\t4096\t9.0\tmuch\t0.3\tpeak\ta product": `"much"`,
	} {
		_, err := parsePredictions(predictionColumns + "\n" + cells + "\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", cells, err, want)
		}
	}
	if _, err := parsePredictions("a\tb\n"); err == nil {
		t.Error("other columns are accepted")
	}
}

func TestCompare(t *testing.T) {
	list := []Prediction{
		{Measure: Attention, Shape: "7b", Tokens: 4096, Cards: []string{"9.0"}, Low: 0.2, High: 0.4, Of: OfPeak, Basis: "b"},
		{Measure: Attention, Shape: "7b", Tokens: 16384, Low: 0.2, High: 0.4, Of: OfPeak, Basis: "b"},
		{Measure: Decode, Shape: "7b", Tokens: 4096, Low: 0.5, High: 0.75, Of: OfBandwidth, Basis: "b"},
		{Measure: Start, Low: 0.2, High: 2, Basis: "b"},
		{Measure: Recording, Shape: "7b", Tokens: 4096, Low: 1.1, High: 1.3, Basis: "b"},
		{Measure: StartPTX, Low: 5, High: 15, Basis: "b"},
		{Measure: ProductOwn, Cards: []string{"8.0"}, Low: 0.2, High: 0.4, Of: OfPeak, Basis: "b"},
	}
	f := &Findings{Card: h200()}
	f.Add(Attention, "7b", 4096, 300)
	f.Add(Attention, "7b", 16384, 500)
	f.Add(Decode, "7b", 4096, 2000)
	f.Add(Start, "", 0, 0.1)
	f.Add(Recording, "7b", 4096, 1.4)
	var got []string
	for _, c := range f.Compare(list) {
		got = append(got, c.Word)
	}
	want := "as predicted, better, worse, better, worse, not measured"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	if c := f.Compare(list)[0]; c.Low < 197 || c.Low > 199 || c.Unit != "TFLOP/s" {
		t.Errorf("0.2 of the peak is %g %s, want 198 TFLOP/s", c.Low, c.Unit)
	}
	f.Card.Name = "attnscope CPU emulator"
	for _, c := range f.Compare(list) {
		if c.Word != "not measured" {
			t.Errorf("%s of an emulated card: %s", c.Measure, c.Word)
		}
	}
}

// TestSentencesAreInTheDocument: a sentence that docs/CUDA.md no longer has must be changed
// in sentences.go, too.
func TestSentencesAreInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/CUDA.md")
	if err != nil {
		t.Fatal(err)
	}
	document := strings.Join(strings.Fields(string(text)), " ")
	for _, s := range sentences {
		if !strings.Contains(document, s.text) {
			t.Errorf("docs/CUDA.md does not have the sentence %q, which sentences.go judges", s.text)
		}
	}
}

// complete returns findings of a run in which all went well.
func complete() *Findings {
	f := &Findings{
		Card: h200(), Image: "sm_90a", Cublas: "libcublas.so.12",
		Steps: []Step{{Name: "start", Outcome: Done}}, Models: []Model{{Name: "gemma2"}},
	}
	for _, name := range []string{
		"TestAttention", "TestAttentionDoesNotDependOnPasses",
		"TestTotalsCrossOnceOnCard", "TestTotalsOfInterruptedPromptsOnCard",
		"TestSlowReaderHoldsTheCardBackOnCard", "TestReplyTokensAreOneLaunchOnCard",
		"TestRecordedTokensAreFewLaunchesOnCard", "TestStepsOnCard",
		"TestSnapKV", "TestTopKOfAnyScores", "TestTopKOfNoNumbers", "TestGatherSlots",
		"TestMixedProductsAreAsAccurateAsFloat32",
		"TestTritonAttention", "TestTritonGemm", "TestTritonPromptOnCard",
	} {
		f.Tests = append(f.Tests, Test{Name: name, Result: "pass"})
	}
	f.Add(ProductCublas, "", 0, 700)
	f.Add(ProductOwn, "", 0, 300)
	f.Add(ProductTerms, "", 0, 130)
	f.Add(ProductFloat32, "", 0, 50)
	f.Add(StartPTX, "", 0, 8)
	f.Add(DecodeRate, "smollm2-135m", 4096, 900)
	f.Add(DecodeSingle, "smollm2-135m", 4096, 500)
	f.Add(Prefill, "7b", 16384, 300)
	f.Add(PrefillTriton, "7b", 16384, 400)
	f.Add(Memory, "7b", 16384, 0.95)
	f.Kernels = []Kernel{
		{"7b", 65536, false, "attention_bf16_128", 512, 3000},
		{"7b", 65536, false, "cublasGemmEx", 4096, 1500},
		{"7b", 65536, true, "attention_sums_bf16_128", 512, 1500},
	}
	return f
}

func TestJudge(t *testing.T) {
	for _, v := range complete().Judge() {
		if v.Word != True {
			t.Errorf("%s: %s (%s)", v.Sentence, v.Word, v.Why)
		}
	}
	for _, v := range (&Findings{Card: h200()}).Judge() {
		if v.Word != Open {
			t.Errorf("nothing was measured, but %q is %s (%s)", v.Sentence, v.Word, v.Why)
		}
	}
	worse := complete()
	worse.Steps[0].Outcome = Failed
	worse.Image = "ptx"
	worse.Models[0].Logits = 1e-3
	for i := range worse.Tests {
		worse.Tests[i].Result = "fail"
	}
	worse.Values = nil
	worse.Add(ProductCublas, "", 0, 200)
	worse.Add(ProductOwn, "", 0, 300)
	worse.Add(ProductTerms, "", 0, 40)
	worse.Add(ProductFloat32, "", 0, 50)
	worse.Add(StartPTX, "", 0, 30)
	worse.Add(DecodeRate, "smollm2-135m", 4096, 400)
	worse.Add(DecodeSingle, "smollm2-135m", 4096, 500)
	worse.Add(Prefill, "7b", 16384, 300)
	worse.Add(PrefillTriton, "7b", 16384, 200)
	worse.Add(Memory, "7b", 16384, 1.5)
	worse.Kernels[2].Milliseconds = 3000
	worse.Cublas = ""
	for _, v := range worse.Judge() {
		want := False
		if v.Sentence == "It uses cuBLAS 11, 12 or 13" {
			want = Open
		}
		if v.Word != want {
			t.Errorf("%s: %s, want %s (%s)", v.Sentence, v.Word, want, v.Why)
		}
	}
	other := complete()
	other.Card.Capability = [2]int{8, 9}
	if word, why := tritonIsRight(other); word != Open {
		t.Errorf("the kernels for sm_80 settle those of other cards: %s (%s)", word, why)
	}
	emulated := complete()
	emulated.Card.Name = "attnscope CPU emulator"
	for _, v := range emulated.Judge() {
		if v.Word != Open {
			t.Errorf("the emulated card settles %q: %s", v.Sentence, v.Word)
		}
	}
}

func TestPage(t *testing.T) {
	f := complete()
	f.Add(Attention, "7b", 4096, 300)
	f.Add(TorchPrefill, "7b", 4096, 500)
	f.Counters = []Counter{{"gemv_bf16", "dram__throughput.avg.pct_of_peak_sustained_elapsed", "%", "71.5"}}
	failed := Test{Package: "engine/cuda", Name: "TestNorms", Result: "fail", Output: "  row 3: 1, want 2\n"}
	f.Tests = append(f.Tests, failed)
	list, err := Predictions()
	if err != nil {
		t.Fatal(err)
	}
	f.Predictions = f.Compare(list)
	f.Sentences = f.Judge()
	var out strings.Builder
	if err := f.WritePage(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# attnscope on NVIDIA H200\n",
		"Peak at the highest clock: 989 TFLOP/s of bfloat16 products, 4800 GB/s of memory. cuBLAS: libcublas.so.12.\n",
		"Tests: 16 passed, 1 failed, 0 skipped.\n",
		"| true | It uses cuBLAS 11, 12 or 13 | libcublas.so.12 |\n",
		"| attention | 7b | 4096 | 257 to 554 TFLOP/s | 300 | as predicted |",
		"| attention | 7b | 65536 | 257 to 554 TFLOP/s |  | not measured |",
		"| torch prefill | 7b | 4096 | 500 TFLOP/s |\n",
		"| 7b | 65536 | no | attention_bf16_128 | 512 | 3000 | 0.67 |\n",
		"| gemv_bf16 | dram__throughput.avg.pct_of_peak_sustained_elapsed | 71.5 | % |\n",
		"engine/cuda, TestNorms:\n\n```\nrow 3: 1, want 2\n```\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, out.String())
		}
	}
}
