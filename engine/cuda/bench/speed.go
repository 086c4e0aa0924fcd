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
	"github.com/attnscope/attnscope/engine/model"
)

type shape struct {
	name  string
	sizes cuda.Sizes
	theta float64
}

var shapes = []shape{
	{"smollm2-135m", cuda.Sizes{Layers: 30, Hidden: 576, Intermediate: 1536, Heads: 9, KVHeads: 3, HeadDim: 64, ValueDim: 64, Vocab: 49152, TiedHead: true}, 1e5},
	{"7b", cuda.Sizes{Layers: 32, Hidden: 4096, Intermediate: 14336, Heads: 32, KVHeads: 8, HeadDim: 128, ValueDim: 128, Vocab: 32000, TiedHead: true}, 1e6},
}

var tiny = shape{"tiny", cuda.Sizes{Layers: 2, Hidden: 64, Intermediate: 96, Heads: 4, KVHeads: 2, HeadDim: 16, ValueDim: 16, Vocab: 128, TiedHead: true}, 1e4}

// speedResult is one measurement.
type speedResult struct {
	Shape   string             `json:"shape"`
	Compute string             `json:"compute"`
	What    string             `json:"what"` // prefill, prefill+record, prefill+record without sums, capture; decode after each
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

func flops(s *cuda.Sizes, n int) float64 {
	per := float64(s.Layers) * float64(s.Hidden*(s.Heads*(s.HeadDim+s.ValueDim)+s.KVHeads*(s.HeadDim+s.ValueDim))+3*s.Hidden*s.Intermediate)
	return 2*per*float64(n) + float64(s.Layers*s.Heads*(s.HeadDim+s.ValueDim))*float64(n)*float64(n)
}

// speed measures both shapes at three lengths, as long as there is time.
func (r *report) speed(ctx context.Context, quick bool) error {
	list, lengths, computes := shapes, []int{4096, 16384, 65536}, []string{"bf16"}
	if quick {
		list, lengths, computes = []shape{tiny}, []int{64, 160}, []string{"bf16", "f32"}
	}
	for _, compute := range computes {
		for _, s := range list {
			if err := r.shape(ctx, s, compute, lengths, quick); err != nil {
				if errors.Is(err, context.DeadlineExceeded) {
					r.note("%s: out of time: the rest is left out", s.name)
					break
				}
				r.note("%s, %s: %v", s.name, compute, err)
			}
		}
	}
	r.torch(ctx, lengths, quick)
	return nil
}

func (r *report) shape(ctx context.Context, s shape, compute string, lengths []int, quick bool) error {
	m, err := model.RandomOnCard(0, s.sizes, s.theta, model.Options{Compute: compute, Log: func(line string) { r.note("%s: %s", s.name, line) }})
	if err != nil {
		return err
	}
	defer m.Close()
	if r.Product == nil {
		n := 8192
		if quick {
			n = 128
		}
		rate, blas, err := cuda.ProductRate(m.Card(), n)
		if err != nil {
			return err
		}
		r.Product = &product{n, rate / 1e12, blas}
	}
	kinds := cuda.Watch(m.Card())
	for _, n := range lengths {
		tokens := make([]int32, n+64)
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		for i := range tokens {
			tokens[i] = rng.Int32N(int32(s.sizes.Vocab))
		}
		if err := r.length(ctx, s, m, compute, tokens, n, kinds); err != nil {
			return err
		}
	}
	return nil
}

// variants are the ways in which a prompt is read, the plain one first.
var variants = []string{"", "+record", "+record without sums"}

// rounds is the number of times that each variant is measured, after one that warms up. The
// order of the variants is reversed from round to round, so that none always runs on a
// warmer card.
const rounds = 3

// timing is one measurement of a variant.
type timing struct {
	prefill, decode float64 // seconds
	spent           map[string]float64
}

func (r *report) length(ctx context.Context, s shape, m *model.Model, compute string, tokens []int32, n int, kinds func() (map[string]float64, error)) error {
	times := map[string][]timing{}
	for round := range 1 + rounds {
		order := slices.Clone(variants)
		if round%2 == 0 {
			slices.Reverse(order)
		}
		for _, record := range order {
			if _, err := kinds(); err != nil {
				return err
			}
			sec, decode, spent, err := prefill(ctx, m, tokens, n, record, kinds)
			if errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			if err != nil {
				r.Speed = append(r.Speed, speedResult{Shape: s.name, Compute: compute, What: "prefill" + record, Tokens: n, Failed: err.Error()})
				return nil
			}
			if round > 0 {
				times[record] = append(times[record], timing{sec, decode, spent})
			}
		}
	}
	plain := median(times[""])
	for _, record := range variants {
		t := median(times[record])
		out := speedResult{
			Shape: s.name, Compute: compute, What: "prefill" + record, Tokens: n, Seconds: t.prefill,
			Rate: float64(n) / t.prefill, Kinds: t.spent, Peak: m.Card().PeakBytes(),
		}
		for _, x := range times[record] {
			out.All = append(out.All, x.prefill)
		}
		out.TFLOPS = flops(&s.sizes, n) / t.prefill / 1e12
		out.Share = out.TFLOPS / r.Product.TFLOPS
		if record != "" {
			out.Ratio = t.prefill / plain.prefill
		}
		r.Speed = append(r.Speed, out)
		what := strings.Replace(out.What, "prefill", "decode", 1)
		r.Speed = append(r.Speed, speedResult{Shape: s.name, Compute: compute, What: what, Tokens: n, Seconds: t.decode, Rate: decodeSteps / t.decode})
		fmt.Fprintf(os.Stderr, "bench: %s %s %s %d tokens: %.3f s, %.0f tokens/s, %.1f TFLOP/s; %s %.1f tokens/s\n",
			s.name, compute, out.What, n, t.prefill, out.Rate, out.TFLOPS, what, decodeSteps/t.decode)
	}
	return r.capture(ctx, s, m, compute, tokens[:n])
}

// median returns the measurement with the median time of the prefill.
func median(list []timing) timing {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b timing) int { return cmp.Compare(a.prefill, b.prefill) })
	return list[len(list)/2]
}

const decodeSteps = 32

// prefill runs n tokens, then decodes some. It returns the seconds of both and the
// prefill's time by kind of work.
func prefill(ctx context.Context, m *model.Model, tokens []int32, n int, record string, kinds func() (map[string]float64, error)) (sec, decode float64, spent map[string]float64, err error) {
	s := m.NewSession()
	defer s.Close()
	if err := s.Reserve(n + decodeSteps); err != nil {
		return 0, 0, nil, err
	}
	c := m.Config()
	pass := model.Pass{Logits: func(int, []float32) {}}
	w := newWatcher(&c, n, record == "+record").recorder()
	start := time.Now()
	for lo := 0; lo < n; lo += m.Piece() {
		hi := min(n, lo+m.Piece())
		pass.LogitsFrom = min(hi-lo, n-1-lo)
		if record != "" {
			pass.Recorder = w
		}
		if err := s.Forward(ctx, tokens[lo:hi], pass); err != nil {
			return 0, 0, nil, err
		}
	}
	sec = time.Since(start).Seconds()
	if spent, err = kinds(); err != nil {
		return 0, 0, nil, err
	}
	start = time.Now()
	pass.LogitsFrom = 0
	for i := range decodeSteps {
		if err := s.Forward(ctx, tokens[n+i:n+i+1], pass); err != nil {
			return 0, 0, nil, err
		}
	}
	return sec, time.Since(start).Seconds(), spent, nil
}

// capture records the tokens into a dump, as users do, unless the disk has no room for it.
func (r *report) capture(ctx context.Context, s shape, m *model.Model, compute string, tokens []int32) error {
	c := m.Config()
	plan := dumps.Plan{WindowRows: 128, PromptWindows: 20, PromptWindowSize: 128, MaxNewTokens: 16, Store: dumps.StoreAuto, Precision: dumps.Fine, IgnoreEOS: true, Compute: compute}
	for l := range c.Layers {
		plan.Layers = append(plan.Layers, l)
	}
	for h := range c.Heads {
		plan.Heads = append(plan.Heads, h)
	}
	out := speedResult{Shape: s.name, Compute: compute, What: "capture", Tokens: len(tokens)}
	info := capture.ModelInfo(s.name, &c)
	rows, factors := plan.StoreBytes(&info, len(tokens), 16)
	need := min(rows, factors)
	if free := freeSpace(os.TempDir()); need > free-free/8 {
		out.Failed = fmt.Sprintf("left out: the dump would take about %d MB, and %s has %d MB free; TMPDIR names another folder",
			need>>20, os.TempDir(), free>>20)
		r.Speed = append(r.Speed, out)
		return nil
	}
	dir, err := os.MkdirTemp("", "attnscope-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := capture.Config{Model: m, Prompts: []prompts.Prompt{{ID: "x", Tokens: tokens}}, Out: filepath.Join(dir, "x.attn"), Header: dumps.Header{Plan: plan, Model: info}}
	start := time.Now()
	sum, err := capture.Run(ctx, cfg)
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if err != nil {
		out.Failed = err.Error()
	} else {
		out.Seconds = time.Since(start).Seconds()
		out.Rate = float64(len(tokens)) / sum.PrefillTime.Seconds()
		if info, err := os.Stat(cfg.Out); err == nil {
			out.Bytes = info.Size()
		}
		fmt.Fprintf(os.Stderr, "bench: %s %s capture %d tokens: %.2f s in all, prefill %.0f tokens/s, reply %.1f tokens/s, %d MB\n",
			s.name, compute, len(tokens), out.Seconds, out.Rate, float64(sum.Replies)/sum.ReplyTime.Seconds(), out.Bytes>>20)
	}
	r.Speed = append(r.Speed, out)
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
