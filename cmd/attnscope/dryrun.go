package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/tensor"
	"github.com/attnscope/attnscope/dumps"
)

// dryRun prints what a capture will take, without loading the weights.
func dryRun(c *cli.Context, e *engine, cfg capture.Config, plan *dumps.Plan) error {
	threads := threadCount(c)
	cfg.Header.Plan = *plan
	need := capture.Estimate(&cfg, e.config, threads)
	weights := weightBytes(e)
	w := c.App.Writer
	fmt.Fprintf(w, "prompts    %d, %d prompt tokens and up to %d reply tokens; the longest takes %d positions\n", need.Prompts, need.PromptTokens, need.ReplyTokens, need.Positions)
	fmt.Fprintf(w, "memory     %s: weights %s, cache %s, work %s, recording %s\n", humanBytes(weights+need.Cache+need.Work+need.Recording),
		humanBytes(weights), humanBytes(need.Cache), humanBytes(need.Work), humanBytes(need.Recording))
	card := cardNeed(c, e, &need, plan)
	parts := fmt.Sprintf("weights %s, cache %s, work %s, recording %s", humanBytes(card.Weights), humanBytes(card.Cache), humanBytes(card.Work), humanBytes(card.Recording))
	if d := e.device.card; d != nil {
		fmt.Fprintf(w, "vram       %s: %s; %s of %s is free on %s\n", humanBytes(card.Total()), parts, humanBytes(d.Free), humanBytes(d.Memory), e.device.name)
	} else {
		fmt.Fprintf(w, "vram       0 B (device cpu); with --device cuda %s: %s\n", humanBytes(card.Total()), parts)
	}
	disk := "about " + humanBytes(need.Disk)
	if free, ok := freeBytes(cfg.Out); ok {
		disk += fmt.Sprintf("; %s free where it goes", humanBytes(free))
	}
	fmt.Fprintf(w, "disk       %s\n", disk)
	fmt.Fprintf(w, "time       about %.3g s at 80 GFLOP/s a thread on %d threads, for %.3g TFLOP\n", need.FLOPs/80e9/float64(threads), threads, need.FLOPs/1e12)
	if cfg.Out != "" {
		fmt.Fprintf(w, "output     %s\n", cfg.Out)
	}
	return nil
}

// weightBytes is the memory of the weights once packed: bfloat16 matrices stay
// so, all else becomes float32.
func weightBytes(e *engine) int64 {
	var n int64
	for _, name := range e.ck.Names() {
		t, _ := e.ck.Tensor(name)
		size := int64(4)
		if t.DType == tensor.BF16 && len(t.Shape) == 2 {
			size = 2
		}
		n += size * int64(t.Elements())
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
