package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/sizes"
)

// dryRun prints what a capture will take, without loading the weights.
func dryRun(c *cli.Context, e *engine, cfg capture.Config, plan *dumps.Plan) error {
	threads := threadCount(c)
	cfg.Header.Plan = *plan
	need := capture.Estimate(&cfg, e.config, threads)
	weights := weightBytes(e, plan.Compute)
	w := c.App.Writer
	fmt.Fprintf(w, "prompts    %d, %d prompt tokens and up to %d reply tokens; the longest takes %d positions\n", need.Prompts, need.PromptTokens, need.ReplyTokens, need.Positions)
	fmt.Fprintf(w, "memory     %s: weights %s, cache %s, work %s, recording %s\n", sizes.Text(weights+need.Cache+need.Work+need.Recording),
		sizes.Text(weights), sizes.Text(need.Cache), sizes.Text(need.Work), sizes.Text(need.Recording))
	card := cardNeed(c, e, &need, plan)
	parts := fmt.Sprintf("weights %s, cache %s, work %s, recording %s", sizes.Text(card.Weights), sizes.Text(card.Cache), sizes.Text(card.Work), sizes.Text(card.Recording))
	if d := e.device.card; d != nil {
		fmt.Fprintf(w, "vram       %s: %s; %s of %s is free on %s\n", sizes.Text(card.Total()), parts, sizes.Text(d.Free), sizes.Text(d.Memory), e.device.name)
	} else {
		fmt.Fprintf(w, "vram       0 B (device cpu); with --device cuda %s: %s\n", sizes.Text(card.Total()), parts)
	}
	disk := "about " + sizes.Text(need.Disk)
	if free, ok := freeBytes(cfg.Out); ok {
		disk += fmt.Sprintf("; %s free where it goes", sizes.Text(free))
	}
	fmt.Fprintf(w, "disk       %s\n", disk)
	pace := need.Pace(cpu.Measure(threads), weights, plan.Compute)
	fmt.Fprintf(w, "time       about %.3g s: %.3g TFLOP at %.0f GFLOP/s, %.3g GB read at %.1f GB/s, as %d threads do just now\n", pace.Seconds,
		need.FLOPs/1e12, pace.FLOPs/1e9, need.Read(weights)/1e9, pace.Bytes/1e9, threads)
	if cfg.Out != "" {
		fmt.Fprintf(w, "output     %s\n", cfg.Out)
	}
	return nil
}

// weightBytes is the memory of the weights once packed. The embeddings stay in
// the file, unless they are the head too.
func weightBytes(e *engine, compute string) int64 {
	var n int64
	for _, name := range e.ck.Names() {
		t, _ := e.ck.Tensor(name)
		embed, head := strings.Contains(name, "embed_tokens.") || strings.HasPrefix(name, "token_embd."), strings.HasPrefix(name, "lm_head.") || strings.HasPrefix(name, "output.")
		switch {
		case len(t.Shape) < 2:
			n += 4 * int64(t.Elements())
		case embed && !e.config.TiedHead:
		case embed || head:
			n += cpu.PackedBytes(cpu.F32, t.DType, t.Rows(), t.Cols())
		default:
			n += cpu.PackedBytes(cpu.Compute(compute), t.DType, t.Rows(), t.Cols())
		}
	}
	return n
}

// threadCount is --threads, or as many as the machine has.
func threadCount(c *cli.Context) int {
	if n := c.Int("threads"); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
