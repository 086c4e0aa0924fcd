//go:build cuda

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
	"github.com/attnscope/attnscope/engine/model"
)

type shape struct {
	name  string
	sizes cuda.Sizes
	theta float64
}

// shapes has a model for each head size that the kernels are compiled for.
var shapes = []shape{
	{
		"smollm2-135m", cuda.Sizes{
			Layers: 30, Hidden: 576, Intermediate: 1536, Heads: 9, KVHeads: 3,
			HeadDim: 64, ValueDim: 64, Vocab: 49152, TiedHead: true,
		}, 1e5,
	},
	{
		"7b", cuda.Sizes{
			Layers: 32, Hidden: 4096, Intermediate: 14336, Heads: 32, KVHeads: 8,
			HeadDim: 128, ValueDim: 128, Vocab: 32000, TiedHead: true,
		}, 1e6,
	},
	{
		"gemma-2b", cuda.Sizes{
			Layers: 26, Hidden: 2304, Intermediate: 9216, Heads: 8, KVHeads: 4,
			HeadDim: 256, ValueDim: 256, Vocab: 256000, TiedHead: true,
		}, 1e4,
	},
}

var tiny = shape{
	"tiny", cuda.Sizes{
		Layers: 2, Hidden: 64, Intermediate: 96, Heads: 4, KVHeads: 2, HeadDim: 16, ValueDim: 16,
		Vocab: 128, TiedHead: true,
	}, 1e4,
}

// products returns the operations of the products of a prompt of n tokens, attention those
// of its causal attention, and scores those of its scores alone.
func (s *shape) products(n int) float64 {
	z := &s.sizes
	width := z.HeadDim + z.ValueDim
	layer := z.Hidden*(z.Heads*width+z.KVHeads*width) + 3*z.Hidden*z.Intermediate
	return 2 * float64(z.Layers) * float64(layer) * float64(n)
}

func (s *shape) attention(n int) float64 {
	z := &s.sizes
	return float64(z.Layers*z.Heads*(z.HeadDim+z.ValueDim)) * float64(n) * float64(n)
}

func (s *shape) scores(n int) float64 {
	z := &s.sizes
	return float64(z.Layers*z.Heads*z.HeadDim) * float64(n) * float64(n)
}

// bytesPerToken returns the bytes that must be read to decode one token after n: the weights
// and the cache, in 16 bits.
func (s *shape) bytesPerToken(n int) float64 {
	z := &s.sizes
	cache := float64(z.Layers*z.KVHeads*(z.HeadDim+z.ValueDim)) * float64(n)
	return s.products(n)/float64(n) + 2*float64(z.Hidden*z.Vocab) + 2*cache
}

// compute is the type of weights, cache and products.
const compute = "bf16"

// speedResult is one measurement.
type speedResult struct {
	Shape   string             `json:"shape"`
	Compute string             `json:"compute"`
	What    string             `json:"what"` // a variant, capture; decode after each
	Tokens  int                `json:"tokens"`
	Seconds float64            `json:"seconds,omitempty"`     // the median of All
	All     []float64          `json:"all_seconds,omitempty"` // of each round, in the order in which they ran
	Rate    float64            `json:"tokens_per_s,omitempty"`
	TFLOPS  float64            `json:"tflop_per_s,omitempty"`
	Share   float64            `json:"share_of_product,omitempty"` // of the rate of one large product on this card
	Ratio   float64            `json:"time_against_not_recording,omitempty"`
	Kinds   map[string]float64 `json:"milliseconds,omitempty"` // of the card, by kind of work
	Bytes   int64              `json:"dump_bytes,omitempty"`
	Peak    int64              `json:"card_bytes,omitempty"`
	Failed  string             `json:"failed,omitempty"`
}

// product is the rate of one large product, the practical peak.
type product struct {
	Size   int     `json:"size"`
	TFLOPS float64 `json:"tflop_per_s"`
	Blas   bool    `json:"cublas"`
}

// chosen returns the shapes to measure.
func (o *options) chosen() ([]shape, error) {
	if o.quick {
		return []shape{tiny}, nil
	}
	if o.shapes == "" {
		return shapes, nil
	}
	var list []shape
	for _, name := range strings.Split(o.shapes, ",") {
		at := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
		if at < 0 {
			return nil, fmt.Errorf("-shape %s: there is no shape %q", o.shapes, name)
		}
		list = append(list, shapes[at])
	}
	return list, nil
}

// speed measures shapes at several lengths in bfloat16, as long as there is time.
func (r *report) speed(ctx context.Context, o *options) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	lengths, err := o.lengths()
	if err != nil {
		return err
	}
	for _, s := range list {
		err := r.shape(ctx, s, lengths, o)
		var small *cuda.MemoryError
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			r.note("%s: out of time: the rest is left out", s.name)
			return nil
		case errors.As(err, &small):
			r.note("%s: left out: %v", s.name, err)
		case err != nil:
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// bench measures a model of a shape.
type bench struct {
	*report
	*options
	shape shape
	model *model.Model
	kinds func() (map[string]cuda.Spent, error)
}

func (r *report) shape(ctx context.Context, s shape, lengths []int, o *options) error {
	log := func(line string) { r.note("%s: %s", s.name, line) }
	m, err := model.RandomOnCard(0, s.sizes, s.theta, model.Options{Compute: compute, Log: log})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := r.measureProduct(m, o); err != nil {
		return err
	}
	b := &bench{r, o, s, m, cuda.Watch(m.Card())}
	for _, n := range lengths {
		tokens := make([]int32, n+mostDecoded)
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		for i := range tokens {
			tokens[i] = rng.Int32N(int32(s.sizes.Vocab))
		}
		if err := b.length(ctx, tokens, n); err != nil {
			return err
		}
	}
	return nil
}

// variant is a way in which a prompt is read.
type variant string

const (
	plain     variant = "prefill"
	recording variant = "prefill+record"
	noSums    variant = "prefill+record without sums" // over all queries
)

var variants = []variant{plain, recording, noSums}

// timing is one measurement of a variant.
type timing struct {
	prefill, decode float64 // seconds
	spent           map[string]cuda.Spent
}

// warmTokens is the length of the prompt that warms up: a longer one would take too much of
// the time that there is.
const warmTokens = 4096

// length measures a length, or says in a result that the card's memory is too small.
func (b *bench) length(ctx context.Context, tokens []int32, n int) error {
	err := b.prompt(ctx, tokens, n)
	var small *cuda.MemoryError
	if errors.As(err, &small) {
		b.note("%s, %d tokens: left out: %v", b.shape.name, n, err)
		out := b.result(string(plain), n)
		out.Failed = err.Error()
		b.Speed = append(b.Speed, out)
		return nil
	}
	return err
}

// result returns a measurement without numbers.
func (b *bench) result(what string, n int) speedResult {
	return speedResult{Shape: b.shape.name, Compute: compute, What: what, Tokens: n}
}

// prompt measures each variant several times, after one that warms up. The order of the
// variants is reversed from round to round, so that none always runs on a warmer card.
func (b *bench) prompt(ctx context.Context, tokens []int32, n int) error {
	for _, v := range variants {
		if _, err := b.read(ctx, tokens, min(n, warmTokens), v); err != nil {
			return err
		}
	}
	times := map[variant][]timing{}
	for round := range b.rounds {
		order := slices.Clone(variants)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, v := range order {
			t, err := b.read(ctx, tokens, n, v)
			if err != nil {
				return err
			}
			times[v] = append(times[v], t)
		}
	}
	without := median(times[plain]).prefill
	for _, v := range variants {
		b.report.Speed = append(b.report.Speed, b.summary(v, n, times[v], without)...)
	}
	b.values(n, times)
	if os.Getenv(graphSetting) == "off" || os.Getenv(tritonSetting) == "on" {
		return nil
	}
	if err := b.kernels(ctx, tokens, n); err != nil {
		return err
	}
	if n > b.options.capture {
		return nil
	}
	return b.record(ctx, tokens[:n], without)
}

// summary returns the results of a variant, prefill and decoding. without is the time of
// a prefill that is not recorded.
func (b *bench) summary(v variant, n int, list []timing, without float64) []speedResult {
	t := median(list)
	out := b.result(string(v), n)
	out.Seconds = t.prefill
	out.Rate = float64(n) / t.prefill
	out.Peak = b.model.Card().PeakBytes()
	out.Kinds = map[string]float64{}
	for kind, spent := range t.spent {
		out.Kinds[kind] = spent.Milliseconds
	}
	for _, x := range list {
		out.All = append(out.All, x.prefill)
	}
	out.TFLOPS = (b.shape.products(n) + b.shape.attention(n)) / t.prefill / 1e12
	out.Share = out.TFLOPS / b.Product.TFLOPS
	if v != plain {
		out.Ratio = t.prefill / without
	}
	decode := b.result(strings.Replace(string(v), "prefill", "decode", 1), n)
	decode.Seconds = t.decode
	decode.Rate = float64(b.decoded()) / t.decode
	fmt.Fprintf(os.Stderr, "bench: %s %s %s %d tokens: %.3f s, %.0f tokens/s, %.1f TFLOP/s; %s %.1f tokens/s\n",
		b.shape.name, compute, v, n, t.prefill, out.Rate, out.TFLOPS, decode.What, decode.Rate)
	return []speedResult{out, decode}
}

// values keeps the numbers that are predicted.
func (b *bench) values(n int, times map[variant][]timing) {
	s := &b.shape
	without := median(times[plain])
	rate := float64(b.decoded()) / without.decode
	if os.Getenv(graphSetting) == "off" {
		b.add(judge.DecodeSingle, s.name, n, rate)
		return
	}
	prefill := (s.products(n) + s.attention(n)) / without.prefill / 1e12
	ratio := median(times[recording]).prefill / without.prefill
	if os.Getenv(tritonSetting) == "on" {
		b.add(judge.PrefillTriton, s.name, n, prefill)
		b.add(judge.RecordingTriton, s.name, n, ratio)
		return
	}
	b.add(judge.Prefill, s.name, n, prefill)
	b.add(judge.Recording, s.name, n, ratio)
	b.add(judge.NoSums, s.name, n, median(times[noSums]).prefill/without.prefill)
	b.add(judge.DecodeRate, s.name, n, rate)
	b.add(judge.Decode, s.name, n, rate*s.bytesPerToken(n)/1e9)
	recorded := cuda.Recorded{Layers: s.sizes.Layers, Heads: s.sizes.Heads, Sums: true}
	estimate := s.sizes.Memory(compute, 0, n+mostDecoded, recorded).Total()
	b.add(judge.Memory, s.name, n, float64(b.model.Card().PeakBytes())/float64(estimate))
}

// kernels measures the time of each kernel, in a prompt that is not recorded and in one that is.
func (b *bench) kernels(ctx context.Context, tokens []int32, n int) error {
	read, end := cuda.WatchKernels(b.model.Card())
	defer end()
	for _, v := range []variant{plain, recording} {
		t, err := b.readWith(ctx, tokens, n, v, read)
		if err != nil {
			return err
		}
		b.kernelValues(n, v, t.spent)
	}
	return nil
}

func (b *bench) kernelValues(n int, v variant, spent map[string]cuda.Spent) {
	sum := map[judge.Measure]float64{} // seconds
	var list []judge.Kernel
	for name, s := range spent {
		list = append(list, judge.Kernel{
			Shape: b.shape.name, Tokens: n, Recording: v == recording,
			Kernel: name, Launches: s.Times, Milliseconds: s.Milliseconds,
		})
		sum[kernelMeasure(name)] += s.Milliseconds / 1e3
	}
	slices.SortFunc(list, func(a, b judge.Kernel) int { return cmp.Compare(b.Milliseconds, a.Milliseconds) })
	b.report.Kernels = append(b.report.Kernels, list...)
	work := map[judge.Measure]float64{judge.Attention: b.shape.attention(n), judge.Products: b.shape.products(n)}
	if v == recording {
		work = map[judge.Measure]float64{judge.Sums: b.shape.scores(n)}
	}
	for m, operations := range work {
		if sum[m] > 0 {
			b.add(m, b.shape.name, n, operations/sum[m]/1e12)
		}
	}
}

// kernelMeasure returns the measure that a kernel's time counts for, or an empty one.
func kernelMeasure(name string) judge.Measure {
	switch {
	case strings.HasPrefix(name, "attention_sums_"):
		return judge.Sums
	case strings.HasPrefix(name, "attention_rows_"):
		return ""
	case strings.HasPrefix(name, "attention_"):
		return judge.Attention
	case strings.HasPrefix(name, "gemm_"), name == "cublasGemmEx":
		return judge.Products
	}
	return ""
}

// median returns the measurement with the median time of the prefill.
func median(list []timing) timing {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b timing) int { return cmp.Compare(a.prefill, b.prefill) })
	return list[len(list)/2]
}

// graphSetting is off to launch the kernels of a reply token one by one; then only that is
// measured.
const graphSetting = "ATTNSCOPE_CUDA_GRAPH"

// tritonSetting is on to use the kernels that Triton has compiled; then only prefill and
// recording are measured.
const tritonSetting = "ATTNSCOPE_CUDA_TRITON"

// mostDecoded is the number of tokens that are decoded after a prompt.
const mostDecoded = 32

// decoded returns the number of tokens that are decoded after a prompt.
func (o *options) decoded() int {
	if o.quick {
		return 4
	}
	return mostDecoded
}

// read runs n tokens, then decodes some.
func (b *bench) read(ctx context.Context, tokens []int32, n int, v variant) (timing, error) {
	return b.readWith(ctx, tokens, n, v, b.kinds)
}

// readWith is read with the prefill's time measured by a stopwatch of the card.
func (b *bench) readWith(
	ctx context.Context, tokens []int32, n int, v variant, spent func() (map[string]cuda.Spent, error),
) (t timing, err error) {
	if _, err := spent(); err != nil { // forget what came before
		return t, err
	}
	s := b.model.NewSession()
	defer s.Close()
	if err := s.Reserve(n + mostDecoded); err != nil {
		return t, err
	}
	c := b.model.Config()
	pass := model.Pass{Logits: func(int, []float32) {}}
	if v != plain {
		pass.Recorder = newWatcher(&c, n, v == recording).recorder()
	}
	start := time.Now()
	for lo := 0; lo < n; lo += b.model.Piece() {
		hi := min(n, lo+b.model.Piece())
		pass.LogitsFrom = min(hi-lo, n-1-lo)
		if err := s.Forward(ctx, tokens[lo:hi], pass); err != nil {
			return t, err
		}
	}
	t.prefill = time.Since(start).Seconds()
	if t.spent, err = spent(); err != nil {
		return t, err
	}
	start = time.Now()
	pass.LogitsFrom = 0
	for i := range b.decoded() {
		if err := s.Forward(ctx, tokens[n+i:n+i+1], pass); err != nil {
			return t, err
		}
	}
	t.decode = time.Since(start).Seconds()
	return t, nil
}

// record records the tokens into a dump, as users do, unless the disk has no room for it.
// without is the time of a prefill that is not recorded.
func (b *bench) record(ctx context.Context, tokens []int32, without float64) error {
	c := b.model.Config()
	plan := dumps.Plan{
		WindowRows: rows, PromptWindows: windows, PromptWindowSize: windowSize, MaxNewTokens: 16,
		Store: dumps.StoreAuto, Precision: dumps.Fine, IgnoreEOS: true, Compute: compute,
	}
	for l := range c.Layers {
		plan.Layers = append(plan.Layers, l)
	}
	for h := range c.Heads {
		plan.Heads = append(plan.Heads, h)
	}
	out := b.result("capture", len(tokens))
	info := capture.ModelInfo(b.shape.name, &c)
	asRows, factors := plan.StoreBytes(&info, len(tokens), 16)
	need := min(asRows, factors)
	if free := freeSpace(os.TempDir()); need > free-free/8 {
		out.Failed = fmt.Sprintf("left out: the dump takes about %d MB, and %s has %d MB free; "+
			"TMPDIR names another folder", need>>20, os.TempDir(), free>>20)
		b.Speed = append(b.Speed, out)
		return nil
	}
	dir, err := os.MkdirTemp("", "attnscope-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := capture.Config{
		Model: b.model, Prompts: []prompts.Prompt{{ID: "x", Tokens: tokens}}, Out: filepath.Join(dir, "x.attn"),
		Header: dumps.Header{Plan: plan, Model: info},
	}
	start := time.Now()
	sum, err := capture.Run(ctx, cfg)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	out.Seconds = time.Since(start).Seconds()
	out.Rate = float64(len(tokens)) / sum.PrefillTime.Seconds()
	if info, err := os.Stat(cfg.Out); err == nil {
		out.Bytes = info.Size()
	}
	b.add(judge.Capture, b.shape.name, len(tokens), sum.PrefillTime.Seconds()/without)
	fmt.Fprintf(os.Stderr, "bench: %s %s capture %d tokens: %.2f s in all, prefill %.0f tokens/s, %d MB\n",
		b.shape.name, compute, len(tokens), out.Seconds, out.Rate, out.Bytes>>20)
	b.Speed = append(b.Speed, out)
	return nil
}

// freeSpace returns the free bytes where folder lies; 0 if the system does not say.
func freeSpace(folder string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(folder, &s) != nil {
		return 0
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
