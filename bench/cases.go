package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/examples"
)

// all runs every comparison.
func (b *bench) all() {
	for _, part := range []func(){b.peak, b.products, b.prefill, b.llama, b.decode, b.recording, b.analysis, b.batches, b.compressed, b.scaling} {
		part()
		b.r.save(b.o.out)
	}
}

// few is for comparisons whose runs are long and whose ratio is far from its
// target: in a quick run one pair after the warm-up.
func (b *bench) few() *bench {
	other := *b
	if b.o.quick {
		other.o.rounds = 1
	}
	return &other
}

func (b *bench) lengths(full ...int) []int {
	if !b.o.quick {
		return full
	}
	var some []int
	for _, n := range full {
		if n == 2048 || n == 4096 {
			some = append(some, n)
		}
	}
	return some
}

func (b *bench) peak() {
	s := b.our("ours", "none", "f32", task{Op: "peak"})
	if _, a, err := b.single(s, func(a answer) float64 { return a.GFLOPS }); err == nil {
		b.r.tell("peak of the machine: %.0f GFLOP/s in float32, %.1f GB/s read from memory, on %d threads", a.GFLOPS, a.GBytesPS, b.o.threads)
	}
}

// products compares prompt products with MKL (torch) and OpenBLAS (numpy).
func (b *bench) products() {
	shapes := [][2]int{{960, 576}, {3072, 576}, {576, 1536}, {9728, 896}, {896, 4864}}
	if b.o.quick {
		shapes = shapes[1:4]
	}
	for _, s := range shapes {
		for _, lib := range [][2]string{{"torch", "MKL (torch)"}, {"numpy", "OpenBLAS (numpy)"}} {
			t := task{Op: "gemm", N: 512, Out: s[0], In: s[1]}
			theirs := side{name: lib[1]}
			if b.o.python != "" {
				theirs = side{lib[1], []string{b.o.python, "bench/theirs.py", "products", "--mode", lib[0], "--threads", fmt.Sprint(b.o.threads)}, t}
			}
			b.pair(fmt.Sprintf("product 512x%dx%d, GFLOP/s", s[0], s[1]), 0, 0.95, b.our("ours", "none", "f32", t), theirs)
		}
	}
}

func (b *bench) prefill() {
	for _, n := range b.lengths(512, 2048, 4096, 8192) {
		rec, plain := task{Op: "prefill", Tokens: n, Record: true}, task{Op: "prefill", Tokens: n}
		target := [2]float64{}
		if n == 2048 || n == 4096 {
			target = [2]float64{3.5, 1.3}
		}
		b.pair("prefill, SmolLM2-135M float32", n, target[1], b.our("recording", b.m.small, "f32", rec), b.torch("sdpa", "float32", b.m.small, plain))
		b.few().pair("prefill, SmolLM2-135M float32", n, target[0], b.our("recording", b.m.small, "f32", rec), b.torch("eager-win", "float32", b.m.small, plain))
		if n == 8192 || b.o.quick && n > 2048 {
			continue
		}
		b.pair("prefill, random 0.5B float32", n, target[1], b.our("recording", b.m.big, "f32", rec), b.torch("sdpa", "float32", b.m.big, plain))
		b.few().pair("prefill, random 0.5B float32", n, target[0], b.our("recording", b.m.big, "f32", rec), b.torch("eager-win", "float32", b.m.big, plain))
	}
	n := 2048
	rec, plain := task{Op: "prefill", Tokens: n, Record: true}, task{Op: "prefill", Tokens: n}
	b.pair("prefill, SmolLM2-135M bfloat16 weights", n, 0, b.our("recording, float32 activations", b.m.half, "f32", rec), b.torch("sdpa", "bfloat16", b.m.half, plain))
	for _, compute := range []string{"bf16", "int8"} {
		b.pair("prefill, SmolLM2-135M, --compute "+compute, n, 0, b.our("recording, "+compute, b.m.half, compute, rec), b.our("recording, f32", b.m.half, "f32", rec))
	}
}

func (b *bench) llama() {
	for _, n := range []int{2048, 4096} {
		b.pair("prefill, SmolLM2-135M Q4_1", n, 2.5, b.our("recording", b.m.gguf, "f32", task{Op: "prefill", Tokens: n, Record: true}), b.cpp(task{Op: "prefill", Tokens: n}))
		b.pair("decode, SmolLM2-135M Q4_1", n, 1.5, b.our("recording", b.m.gguf, "f32", task{Op: "decode", Tokens: n, Reply: 64, Record: true}), b.cpp(task{Op: "decode", Tokens: n, Reply: 64}))
	}
}

func (b *bench) decode() {
	const n = 2048
	for _, d := range []struct{ name, dtype, path string }{{"float32", "float32", b.m.small}, {"bfloat16", "bfloat16", b.m.half}} {
		b.pair("decode, SmolLM2-135M "+d.name, n, 4, b.our("recording", d.path, "f32", task{Op: "decode", Tokens: n, Reply: 32, Record: true}),
			b.torch("eager-attn", d.dtype, d.path, task{Op: "decode", Tokens: n, Reply: 32}))
	}
	if !b.o.quick {
		b.pair("decode, random 0.5B bfloat16", n, 0, b.our("recording", b.m.bigHalf, "f32", task{Op: "decode", Tokens: n, Reply: 32, Record: true}),
			b.torch("eager-attn", "bfloat16", b.m.bigHalf, task{Op: "decode", Tokens: n, Reply: 32}))
	}
}

// batches shows how decoding grows with the sequences that go together.
func (b *bench) batches() {
	for _, n := range []int{2, 4, 8} {
		b := b.few()
		for _, d := range []struct{ name, path string }{{"float32", b.m.small}, {"Q4_1", b.m.gguf}} {
			if b.o.quick && (n == 2 || d.name == "Q4_1") {
				continue
			}
			b.pair(fmt.Sprintf("decode, %d sequences at once, %s", n, d.name), 512, 0, b.our("together", d.path, "f32", task{Op: "decode", Tokens: 512, Reply: 32, Batch: n}),
				b.our("one", d.path, "f32", task{Op: "decode", Tokens: 512, Reply: 32}))
		}
	}
}

// recording shows what it costs, in time and in memory.
func (b *bench) recording() {
	if !strings.Contains("recording", b.o.only) {
		return
	}
	const n = 4096
	plain := b.our("not recording", b.m.small, "f32", task{Op: "prefill", Tokens: n})
	b.pair("recording 128 rows", n, 1/1.15, b.our("recording", b.m.small, "f32", task{Op: "prefill", Tokens: n, Record: true}), plain)
	b.pair("recording, default plan", n, 0, b.our("recording", b.m.small, "f32", task{Op: "prefill", Tokens: n, Record: true, Windows: 20}), plain)
	one := *b
	one.o.rounds = 1
	for _, p := range []struct{ name, path string }{{"float32", b.m.small}, {"Q4_1", b.m.gguf}} {
		_, a, err := one.single(b.our("recording", p.path, "f32", task{Op: "prefill", Tokens: 8192, Record: true, Windows: 20}), func(a answer) float64 { return a.Seconds })
		if err != nil {
			b.r.tell("SKIPPED: memory at 8,192 tokens: %v", err)
			continue
		}
		b.r.tell("peak memory of a recorded prefill of 8,192 tokens, SmolLM2-135M %s: %.2f GB; the estimate was %.2f GB (x %.2f)", p.name, float64(a.Peak)/1e9, float64(a.Need)/1e9, float64(a.Need)/float64(a.Peak))
	}
}

// compressed decodes at 8k from the full cache and from one of 1,024 slots.
func (b *bench) compressed() {
	const n = 8192 - 64
	full := b.our("full cache", b.m.small, "f32", task{Op: "decode", Tokens: n, Reply: 48})
	b.few().pair("decode, cache of 1,024 slots by kv head", n, 0, b.our("compressed", b.m.small, "f32", task{Op: "decode", Tokens: n, Reply: 48, Keep: 1024}), full)
	if !b.o.quick {
		b.few().pair("decode, cache of 1,024 slots by query head", n, 0, b.our("compressed", b.m.small, "f32", task{Op: "decode", Tokens: n, Reply: 48, Keep: 1024, ByHead: true}), full)
	}
}

// analysis compares the hit rates of five windows with reading, and weighs the
// dumps of a real text.
func (b *bench) analysis() {
	if !strings.Contains("hit rates", b.o.only) {
		return
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		b.r.tell("SKIPPED: analysis: %v", err)
		return
	}
	defer os.RemoveAll(dir)
	for _, d := range []struct {
		store     dumps.Store
		precision dumps.Precision
		bound     float64
	}{
		{dumps.StoreRows, dumps.Fine, 0.2},
		{dumps.StoreRows, dumps.Coarse, 0.12},
		{dumps.StoreFactors, dumps.Fine, 0.2},
		{dumps.StoreFactors, dumps.Coarse, 0.12},
	} {
		path := filepath.Join(dir, fmt.Sprintf("%s-%s.attn", d.store, d.precision))
		share, err := b.dump(path, d.store, d.precision)
		if err != nil {
			b.r.tell("SKIPPED: dump of %s, %s: %v", d.store, d.precision, err)
			continue
		}
		b.r.tell("dump of 256 rows at 3,072 tokens, %s, %s: %.3f of the same rows as float16 (at most %.2f)", d.store, d.precision, share, d.bound)
		if d.precision == dumps.Fine {
			b.pair(fmt.Sprintf("hit rates of 5 windows, %s, seconds", d.store), 3072, -2, b.our("sweep", "none", "f32", task{Op: "sweep", Path: path}), b.our("reading", "none", "f32", task{Op: "read", Path: path}))
		}
	}
}

// dump captures a text of 3,072 tokens, 128 rows of its end and 128 of a followed
// reply, and returns its size against the same rows as float16.
func (b *bench) dump(path string, store dumps.Store, precision dumps.Precision) (float64, error) {
	src, err := capture.Open(context.Background(), b.m.gguf, capture.Options{Threads: b.o.threads})
	if err != nil {
		return 0, err
	}
	defer src.Close()
	if src.Tokenizer == nil {
		return 0, src.NoTokenizer
	}
	if err := src.Load(); err != nil {
		return 0, err
	}
	const prompt, reply = 3072, 128
	ids := src.Tokenizer.Encode(string(examples.Prompts), true)
	if len(ids) < prompt+reply {
		return 0, fmt.Errorf("the shipped prompts have %d tokens, want %d", len(ids), prompt+reply)
	}
	cfg := src.Config
	t := task{Reply: reply, Store: store}
	plan := t.plan(&cfg)
	plan.Precision = precision
	c := capture.Config{
		Model: src.Model, Out: path, Force: true, Header: header(&cfg, plan),
		Prompts: []prompts.Prompt{{ID: "text", Tokens: ids[:prompt], Reply: ids[prompt : prompt+reply]}},
	}
	if _, err := capture.Run(context.Background(), c); err != nil {
		return 0, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	raw := 2 * float64(cfg.Layers*cfg.Heads) * (128*prompt + reply*(prompt+reply))
	return float64(fi.Size()) / raw, nil
}
