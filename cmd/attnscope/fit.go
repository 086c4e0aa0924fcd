package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/visible"
)

var memoryFlag = &cli.StringFlag{
	Name: "memory", Value: "auto",
	Usage: "take at most `SIZE` of memory, such as 6G: weights that do not fit are read from the file in each pass, which is slower and gives" +
		" the same numbers; auto: what is available",
}

// hasFlag reports whether a verb has a flag.
func hasFlag(c *cli.Context, name string) bool {
	return slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// givenMemory returns the memory that a run may take, and whether --memory gives it.
func givenMemory(c *cli.Context) (bytes int64, given bool, err error) {
	text := c.String("memory")
	if text == "auto" || text == "" {
		return availableMemory(), false, nil
	}
	if bytes, err = sizes.Parse(text); err != nil {
		return 0, true, usagef("--memory %s: want auto, or a size such as 6G or 800M", visible.Line(text))
	}
	return bytes, true, nil
}

// fitCapture sets the batch of a capture that runs on the processor, and chooses the
// weights that the model keeps in memory. Call it before weights are loaded.
func fitCapture(c *cli.Context, src *capture.Source, cfg *capture.Config) (forecast.Fit, error) {
	memory, given, err := givenMemory(c)
	if err != nil {
		return forecast.Fit{}, err
	}
	cfg.Batch = 0
	if c.String("batch") != "auto" {
		cfg.Batch = givenBatch(c)
	}
	if src.Device.Card != nil {
		if cfg.Batch == 0 {
			cfg.Batch = cardBatch(src, *cfg)
		}
		return forecast.Fit{
			Need: forecast.Capture(cfg, src.Config, threadCount(c)), Batch: cfg.Batch,
			Weights: src.Config.WeightBytes(src.Checkpoint, cfg.Header.Plan.Compute),
		}, nil
	}
	fit, err := forecast.FitIn(memory, *cfg, src.Config, src.Checkpoint, threadCount(c))
	if err != nil {
		return fit, err
	}
	cfg.Batch = fit.Batch
	if err := tooLittle(c, memory, fit.Memory(), given); err != nil {
		return fit, err
	}
	src.LimitWeights(fit.Limit)
	return fit, nil
}

// tooLittle refuses a run that takes more memory than --memory gives, even if all weights
// are read from the file. It warns if the run takes more than is available.
func tooLittle(c *cli.Context, memory, needed int64, given bool) error {
	switch {
	case needed <= memory:
		return nil
	case given:
		return hintf(fmt.Errorf("--memory %s: the run takes at least %s, with one layer of the model in memory at a time",
			c.String("memory"), sizes.Text(needed)),
			"give it more memory, shorten prompts with --max-prompt-tokens N --truncate middle, or run fewer together with --batch 1")
	}
	warnf(c, "the run takes %s of memory, and only %s is available", sizes.Text(needed), sizes.Text(memory))
	return nil
}

// weightsPart says how much memory the weights take.
func weightsPart(f *forecast.Fit) string {
	text := "weights " + sizes.Text(f.WeightMemory())
	if f.Streams() {
		text += " of " + sizes.Text(f.Weights)
	}
	return text
}

// memoryParts says what a capture takes its memory for.
func memoryParts(f *forecast.Fit) string {
	return fmt.Sprintf("%s, cache %s%s, work %s, recording %s",
		weightsPart(f), sizes.Text(f.Need.Cache), statesText(f.Need.States), sizes.Text(f.Need.Work), sizes.Text(f.Need.Recording))
}

// streamText says which weights are read from the file in each pass.
func streamText(f *forecast.Fit) string {
	p := &f.Placement
	what := fmt.Sprintf("%d of %d layers", p.Layers-p.Kept, p.Layers)
	if p.Kept == 0 {
		what = fmt.Sprintf("all %d layers", p.Layers)
	}
	if !p.HeadKept {
		what += " and the output projection"
	}
	return fmt.Sprintf("%s, %s, are read from the file in each pass", what, sizes.Text(p.Read))
}

// noteStreaming says that the weights do not fit in memory.
func noteStreaming(c *cli.Context, f *forecast.Fit) {
	if f.Streams() {
		notef(c, "the weights take %s of memory, and there is room for %s: %s",
			sizes.Text(f.Weights), sizes.Text(f.Placement.Memory), streamText(f))
	}
}

// limitWeights keeps weights that take more than half of the available memory within that
// half, for verbs without --memory.
func limitWeights(c *cli.Context, src *capture.Source) error {
	half := availableMemory() / 2
	weights := src.Config.WeightBytes(src.Checkpoint, c.String("compute"))
	if src.Device.Card != nil || weights <= half {
		return nil
	}
	placement, err := src.Config.Place(src.Checkpoint, c.String("compute"), half)
	if err != nil {
		return err
	}
	src.LimitWeights(half)
	noteStreaming(c, &forecast.Fit{Weights: weights, Placement: placement, Limit: half})
	return nil
}

// printStreaming prints the cost of reading weights from the file. together names the
// prompts or caches that share a pass.
func printStreaming(c *cli.Context, src *capture.Source, f *forecast.Fit, together string) error {
	if !f.Streams() {
		return nil
	}
	passes := f.Passes(&src.Config)
	read := passes * float64(f.Placement.Read)
	packed := passes * float64(f.Placement.Packed)
	rate, err := cpu.MeasurePacking(threadCount(c), f.Placement.DType)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "streamed   %s: about %.0f passes over %s together\n", streamText(f), passes, together)
	fmt.Fprintf(c.App.Writer, "           about %.3g s more: %.3g GB to read at 1 GB/s, if the disk has that speed, and to pack at %.1f GB/s\n",
		read/1e9+packed/rate, read/1e9, rate/1e9)
	return nil
}
