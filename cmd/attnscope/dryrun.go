package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/words"
)

// dryRun prints what a capture needs, without loading the weights. It refuses what the
// run would refuse later: checkpoints that lack a tensor, and dumps that cannot be
// continued.
func dryRun(c *cli.Context, src *capture.Source, cfg capture.Config, list []prompts.Prompt, fit *forecast.Fit) error {
	plan := &cfg.Header.Plan
	if err := model.CheckTensors(src.Checkpoint, src.Config); err != nil {
		return err
	}
	if cfg.Out != "" && cfg.Resume {
		var err error
		if cfg.Header, err = headerOf(c, src, plan, list); err != nil {
			return err
		}
		err = cfg.CheckOutput()
		if errors.Is(err, dumps.ErrComplete) {
			noteComplete(c, cfg.Out)
			return nil
		}
		if err != nil {
			return err
		}
	}
	w := c.App.Writer
	if src.Checkpoint.HeadersOnly() {
		fmt.Fprintf(w, "fetch      %s: the weights are not in the hub cache yet\n", sizes.Text(inspectModel(src).stored))
	}
	need := fit.Need
	fmt.Fprintf(w, "prompts    %d, %s and up to %s in all; the longest takes %s\n",
		need.Prompts, count(need.PromptTokens, "prompt token"), count(need.ReplyTokens, "reply token"),
		count(need.Positions, "position"))
	fmt.Fprintf(w, "memory     %s: %s\n", sizes.Text(fit.Memory()), memoryParts(fit))
	fmt.Fprintf(w, "batch      %s\n", batchText(&need))
	fmt.Fprintf(w, "vram       %s\n", cardText(src, &need, plan))
	fmt.Fprintf(w, "disk       about %s%s\n", sizes.Text(need.Disk), freeText(cfg.Out))
	printTime(c, &need, fit.Weights, plan.Compute)
	if err := printStreaming(c, src, fit, count(need.Batch, "prompt")); err != nil {
		return err
	}
	if cfg.Out != "" {
		fmt.Fprintf(w, "output     %s\n", cfg.Out)
	}
	return nil
}

// statesText names the memory of the states of layers without attention, if there are
// any.
func statesText(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return ", states " + sizes.Text(bytes)
}

// printTime predicts how long a run takes on the processor, at the speed that it has just
// now.
func printTime(c *cli.Context, need *forecast.Need, weights int64, compute string) {
	threads := threadCount(c)
	pace := need.Pace(cpu.Measure(threads), weights, compute)
	fmt.Fprintf(c.App.Writer, "time       about %s: %.3g TFLOP at %.0f GFLOP/s, %.3g GB read at %.1f GB/s,"+
		" as %s %s just now\n",
		secondsText(pace.Seconds), need.FLOPs/1e12, pace.FLOPs/1e9, need.Read(weights)/1e9, pace.Bytes/1e9,
		count(threads, "thread"), words.Plural(threads, "does", "do"))
}

// secondsText is a time as other verbs print it from a minute on: 8h1m40s.
func secondsText(s float64) string {
	if s < 60 {
		return fmt.Sprintf("%.3g s", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// batchText says how many replies are decoded together.
func batchText(need *forecast.Need) string {
	if need.Batch == 1 {
		return "1 reply at a time"
	}
	return fmt.Sprintf("%d replies together", need.Batch)
}

// cardText describes the memory that the run takes on a card.
func cardText(src *capture.Source, need *forecast.Need, plan *dumps.Plan) string {
	if what := src.Config.NoCard(); what != "" {
		return "0 B (device cpu); cards do not support " + what
	}
	m := cardMemory(src, need, plan)
	parts := fmt.Sprintf("%s: weights %s, cache %s, work %s, recording %s", sizes.Text(m.Total()),
		sizes.Text(m.Weights), sizes.Text(m.Cache), sizes.Text(m.Work), sizes.Text(m.Recording))
	d := src.Device.Card
	if d == nil {
		return "0 B (device cpu); with --device cuda " + parts
	}
	return fmt.Sprintf("%s; %s of %s is free on %s", parts, sizes.Text(d.Free), sizes.Text(d.Memory), src.Device.Name)
}

// freeText describes the free space of the disk that a file goes to, if it is known.
func freeText(path string) string {
	free, ok := freeBytes(path)
	if !ok {
		return ""
	}
	return fmt.Sprintf("; %s free where it goes", sizes.Text(free))
}
