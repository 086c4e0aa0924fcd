package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/sizes"
)

// dryRun prints what a capture will take, without loading the weights.
func dryRun(c *cli.Context, src *capture.Source, cfg capture.Config, plan *dumps.Plan) error {
	threads := threadCount(c)
	cfg.Header.Plan = *plan
	need := capture.Estimate(&cfg, src.Config, threads)
	weights := src.WeightBytes(plan.Compute)
	w := c.App.Writer
	fmt.Fprintf(w, "prompts    %d, %d prompt tokens and up to %d reply tokens; the longest takes %d positions\n", need.Prompts, need.PromptTokens, need.ReplyTokens, need.Positions)
	fmt.Fprintf(w, "memory     %s: weights %s, cache %s, work %s, recording %s\n", sizes.Text(weights+need.Cache+need.Work+need.Recording),
		sizes.Text(weights), sizes.Text(need.Cache), sizes.Text(need.Work), sizes.Text(need.Recording))
	card := src.CardMemory(&need, plan)
	parts := fmt.Sprintf("weights %s, cache %s, work %s, recording %s", sizes.Text(card.Weights), sizes.Text(card.Cache), sizes.Text(card.Work), sizes.Text(card.Recording))
	if d := src.Device.Card; d != nil {
		fmt.Fprintf(w, "vram       %s: %s; %s of %s is free on %s\n", sizes.Text(card.Total()), parts, sizes.Text(d.Free), sizes.Text(d.Memory), src.Device.Name)
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

// threadCount is --threads, or as many as the machine has.
func threadCount(c *cli.Context) int {
	if n := c.Int("threads"); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
