package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
)

// checkCard refuses a run that does not fit the card, before the weights are read.
// If the card was chosen automatically, the run goes to the processor instead.
func checkCard(c *cli.Context, src *capture.Source, cfg capture.Config, plan *dumps.Plan) error {
	d := src.Device.Card
	if d == nil {
		return nil
	}
	cfg.Header.Plan = *plan
	cfg.Batch = givenBatch(c)
	need := forecast.Capture(&cfg, src.Config, 1)
	m := cardMemory(src, &need, plan)
	// Work shrinks with the chunk; weights, cache and sums do not.
	if m.Total()-m.Work <= d.Free {
		return nil
	}
	err := tooLargeForCard(src, m, need.Positions)
	if src.Device.Auto {
		src.UseProcessor(err)
		return nil
	}
	hint := "shorten prompts with --max-prompt-tokens N --truncate middle, record fewer --layers, or use --device cpu"
	if c.String("compute") == "f32" || c.String("compute") == "" {
		hint = "use --compute bf16, which halves the cache and weights of float32; or " + hint
	}
	return hintf(err, "%s", hint)
}

// cardMemory estimates the memory that a run takes on a card.
func cardMemory(src *capture.Source, need *forecast.Need, plan *dumps.Plan) cuda.Memory {
	m := need.CardMemory(&src.Config, plan)
	m.Weights = cardWeights(src, plan.Compute)
	return m
}

// cardWeights estimates the memory that the weights take on a card.
func cardWeights(src *capture.Source, compute string) int64 {
	m := src.Config.CardMemory(compute, 1, cuda.Recorded{})
	return min(m.Weights, model.MostCardBytes(src.Checkpoint, compute))
}

// cardBatch returns the number of replies of a capture that are decoded together on a card.
func cardBatch(src *capture.Source, cfg capture.Config) int {
	free := src.Device.Card.Free - cardWeights(src, cfg.Header.Plan.Compute)
	return forecast.CardBatch(cfg, src.Config, free, availableMemory())
}

func tooLargeForCard(src *capture.Source, m cuda.Memory, positions int) error {
	parts := fmt.Sprintf("weights %s, cache %s for %d positions, work %s, recording %s",
		sizes.Text(m.Weights), sizes.Text(m.Cache), positions, sizes.Text(m.Work), sizes.Text(m.Recording))
	d := src.Device.Card
	return fmt.Errorf("--device %s: the run needs %s of the card's memory (%s), but only %s of %s is free",
		src.Device.Name, sizes.Text(m.Total()), parts, sizes.Text(d.Free), sizes.Text(d.Memory))
}
