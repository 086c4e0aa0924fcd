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
	"github.com/attnscope/attnscope/internal/simd"
)

// all runs every comparison.
func (b *bench) all() {
	for _, part := range []func(){
		b.peak, b.products, b.prefill, b.bfloat16, b.set, b.llama, b.decode, b.recording, b.analysis, b.batches,
		b.compressed, b.scaling,
	} {
		part()
		b.r.save(b.o.out)
	}
}

// few returns a bench for comparisons whose runs are long and whose ratio is far from
// its target: a quick run measures one pair after the warm-up.
func (b *bench) few() *bench {
	other := *b
	if b.o.quick {
		other.o.rounds = 1
	}
	return &other
}

// lengths returns the lengths of prompts that are measured: all of them, or two in a
// quick run.
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

// withTiles returns the target on this processor: one of AMX, and one without.
func withTiles(amx, without float64) float64 {
	if simd.HasTiles() {
		return amx
	}
	return without
}

// peak measures the limits of the machine.
func (b *bench) peak() {
	s := b.our("ours", "none", "f32", task{Op: "peak"})
	if _, a, err := b.single(s, func(a answer) float64 { return a.GFLOPS }); err == nil {
		b.r.tell("peak of the machine: %.0f GFLOP/s in float32, %.1f GB/s read from memory, on %d threads",
			a.GFLOPS, a.GBytesPS, b.o.threads)
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
				theirs.argv = []string{
					b.o.python, "bench/theirs.py", "products", "--mode", lib[0], "--threads", fmt.Sprint(b.o.threads),
				}
				theirs.task = t
			}
			name := fmt.Sprintf("product 512x%dx%d, GFLOP/s", s[0], s[1])
			b.pair(name, 0, 0.95, b.our("ours", "none", "f32", t), theirs)
		}
	}
}

// prefill compares a recorded prefill with transformers, which records nothing or
// keeps the same rows in memory.
func (b *bench) prefill() {
	for _, n := range b.lengths(512, 2048, 4096, 8192) {
		recorded := task{Op: "prefill", Tokens: n, Record: true}
		plain := task{Op: "prefill", Tokens: n}
		sdpa, eager := 0.0, 0.0 // targets
		if n == 2048 || n == 4096 {
			sdpa = withTiles(2.3, 1.3)
			eager = withTiles(7, 3.5)
		}
		compare := func(name, model string) {
			ours := b.our("recording", model, "f32", recorded)
			b.pair(name, n, sdpa, ours, b.torch("sdpa", "float32", model, plain))
			b.few().pair(name, n, eager, ours, b.torch("eager-win", "float32", model, plain))
		}
		compare("prefill, SmolLM2-135M float32", b.m.small)
		if n < 8192 && (!b.o.quick || n <= 2048) {
			compare("prefill, random 0.5B float32", b.m.big)
		}
	}
}

// bfloat16 compares a recorded prefill of bfloat16 weights with transformers in
// bfloat16, which records nothing: with the numbers of float32, and with --compute.
func (b *bench) bfloat16() {
	for _, n := range b.lengths(2048, 4096) {
		recorded := task{Op: "prefill", Tokens: n, Record: true}
		plain := task{Op: "prefill", Tokens: n}
		for _, m := range []struct{ name, path string }{{"SmolLM2-135M", b.m.half}, {"random 0.5B", b.m.bigHalf}} {
			if b.o.quick && n > 2048 {
				continue
			}
			theirs := b.torch("sdpa", "bfloat16", m.path, plain)
			b.pair("prefill, "+m.name+" bfloat16 weights", n, withTiles(1.2, 0),
				b.our("recording, float32's numbers", m.path, "f32", recorded), theirs)
			b.pair("prefill, "+m.name+", --compute bf16", n, withTiles(1.8, 0),
				b.our("recording, bf16", m.path, "bf16", recorded), theirs)
		}
	}
	recorded := task{Op: "prefill", Tokens: 2048, Record: true}
	b.pair("prefill, SmolLM2-135M, --compute bf16", 2048, 0,
		b.our("recording, bf16", b.m.half, "bf16", recorded), b.our("recording, f32", b.m.half, "f32", recorded))
}

// set compares the capture of a set of prompts, with generated replies, with scripts for
// transformers: one that keeps the same rows, of one prompt after the other, and one that
// generates as many replies at once as ours and records nothing.
func (b *bench) set() {
	t := task{Op: "set", Tokens: 2048, Reply: 64, Prompts: 16, Batch: 8}
	long := *b
	long.o.rounds = min(3, b.o.rounds)
	if b.o.quick {
		t.Prompts = 4
		t.Batch = 4
		long.o.rounds = 1
	}
	name := fmt.Sprintf("set of %d prompts with %d generated tokens each, SmolLM2-135M ", t.Prompts, t.Reply)
	long.pair(name+"float32", t.Tokens, withTiles(8, 0),
		b.our("recording", b.m.small, "f32", t.recorded()), b.torch("eager-win", "float32", b.m.small, t))
	long.pair(name+"bfloat16 weights", t.Tokens, withTiles(2, 0),
		b.our("recording, float32's numbers", b.m.half, "f32", t.recorded()), b.torch("sdpa", "bfloat16", b.m.half, t))
}

// llama compares recorded prefill and decoding with llama.cpp on the same file.
func (b *bench) llama() {
	for _, n := range []int{2048, 4096} {
		prefill := task{Op: "prefill", Tokens: n}
		decode := task{Op: "decode", Tokens: n, Reply: 64}
		b.pair("prefill, SmolLM2-135M Q4_1", n, withTiles(2, 2.5),
			b.our("recording", b.m.gguf, "f32", prefill.recorded()), b.cpp(prefill))
		b.pair("decode, SmolLM2-135M Q4_1", n, 1.5,
			b.our("recording", b.m.gguf, "f32", decode.recorded()), b.cpp(decode))
	}
}

// decode compares recorded decoding with transformers that returns all attentions.
func (b *bench) decode() {
	const n = 2048
	t := task{Op: "decode", Tokens: n, Reply: 32}
	compare := func(name, dtype, model string, target float64) {
		b.pair("decode, "+name, n, target,
			b.our("recording", model, "f32", t.recorded()), b.torch("eager-attn", dtype, model, t))
	}
	compare("SmolLM2-135M float32", "float32", b.m.small, 4)
	compare("SmolLM2-135M bfloat16", "bfloat16", b.m.half, 4)
	if !b.o.quick {
		compare("random 0.5B bfloat16", "bfloat16", b.m.bigHalf, 0)
	}
}

// batches shows how decode speed grows with the number of sequences.
func (b *bench) batches() {
	long := task{Op: "decode", Tokens: 2048, Reply: 32}
	eight := long
	eight.Batch = 8
	b.few().pair("decode, 8 sequences of 2,048 tokens at once, float32", 2048, 3,
		b.our("together", b.m.small, "f32", eight), b.our("one", b.m.small, "f32", long))
	one := task{Op: "decode", Tokens: 512, Reply: 32}
	for _, n := range []int{2, 4, 8} {
		together := one
		together.Batch = n
		for _, d := range []struct{ name, path string }{{"float32", b.m.small}, {"Q4_1", b.m.gguf}} {
			if b.o.quick && (n == 2 || d.name == "Q4_1") {
				continue
			}
			b.few().pair(fmt.Sprintf("decode, %d sequences at once, %s", n, d.name), 512, 0,
				b.our("together", d.path, "f32", together), b.our("one", d.path, "f32", one))
		}
	}
}

// recording shows what recording costs, in time and in memory.
func (b *bench) recording() {
	if !strings.Contains("recording", b.o.only) {
		return
	}
	const n = 4096
	t := task{Op: "prefill", Tokens: n}
	full := t.recorded()
	full.Windows = 20
	plain := b.our("not recording", b.m.small, "f32", t)
	b.pair("recording 128 rows", n, 1/1.15, b.our("recording", b.m.small, "f32", t.recorded()), plain)
	b.pair("recording, default plan", n, 0, b.our("recording", b.m.small, "f32", full), plain)
	one := *b
	one.o.rounds = 1
	full.Tokens = 8192
	for _, p := range []struct{ name, path string }{{"float32", b.m.small}, {"Q4_1", b.m.gguf}} {
		seconds := func(a answer) float64 { return a.Seconds }
		_, a, err := one.single(b.our("recording", p.path, "f32", full), seconds)
		if err != nil {
			b.r.tell("SKIPPED: memory at 8,192 tokens: %v", err)
			continue
		}
		b.r.tell("peak memory of a recorded prefill of 8,192 tokens, SmolLM2-135M %s: %.2f GB; the estimate was %.2f GB (x %.2f)",
			p.name, float64(a.Peak)/1e9, float64(a.Need)/1e9, float64(a.Need)/float64(a.Peak))
	}
}

// compressed compares decoding after about 8,000 tokens from the full cache and from
// one of 1,024 slots.
func (b *bench) compressed() {
	const n = 8192 - 64
	t := task{Op: "decode", Tokens: n, Reply: 48}
	full := b.our("full cache", b.m.small, "f32", t)
	t.Keep = 1024
	b.few().pair("decode, cache of 1,024 slots by kv head", n, 0, b.our("compressed", b.m.small, "f32", t), full)
	if !b.o.quick {
		t.ByHead = true
		b.few().pair("decode, cache of 1,024 slots by query head", n, 0, b.our("compressed", b.m.small, "f32", t), full)
	}
}

// analysis compares the time of the hit rates of five windows with that of reading the
// dump, and measures the size of dumps of a real text.
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
		b.r.tell("dump of 256 rows at 3,072 tokens, %s, %s: %.3f of the same rows as float16 (at most %.2f)",
			d.store, d.precision, share, d.bound)
		if d.precision == dumps.Fine {
			b.pair(fmt.Sprintf("hit rates of 5 windows, %s, seconds", d.store), 3072, -2, b.our("sweep", "none", "f32", task{Op: "sweep", Path: path}), b.our("reading", "none", "f32", task{Op: "read", Path: path}))
		}
	}
}

// dump captures a text of 3,072 tokens, with its last 128 rows and the 128 rows of a
// followed reply. It returns the size of the dump over that of the same rows as float16.
func (b *bench) dump(path string, store dumps.Store, precision dumps.Precision) (float64, error) {
	src, err := capture.Open(context.Background(), b.m.gguf, capture.Options{Threads: b.o.threads})
	if err != nil {
		return 0, err
	}
	defer src.Close()
	if src.Tokenizer == nil {
		return 0, src.NoTokenizer
	}
	if err := src.Load(context.Background()); err != nil {
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
