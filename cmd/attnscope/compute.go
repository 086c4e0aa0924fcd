package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
)

// comparedTokens is the number of tokens that noteComputeError runs.
const comparedTokens = 256

// noteComputeError prints how far the weights and logits of another arithmetic
// than f32 are from those of f32. It compares the first tokens of the first prompt.
func noteComputeError(c *cli.Context, src *capture.Source, list []prompts.Prompt) error {
	compute := c.String("compute")
	if compute == "f32" || compute == "" || len(list) == 0 || len(list[0].Tokens) == 0 {
		return nil
	}
	tokens := list[0].Tokens[:min(comparedTokens, len(list[0].Tokens))]
	diff, err := compareCompute(c, src, tokens)
	var small *cuda.MemoryError
	if errors.As(err, &small) {
		notef(c, "compute %s is not compared with f32: the card has no room for the f32 weights as well: %v", compute, err)
		return nil
	}
	if err != nil {
		return err
	}
	notef(c, "compute %s against f32, last of the first %d tokens of prompt %q:"+
		" attention weights differ by up to %.2g, rows by %.2g on average (of 2), logits by up to %.2g of the largest",
		compute, diff.Tokens, list[0].ID, diff.Weights, diff.Rows, diff.Logits)
	return nil
}

// compareCompute runs tokens in the arithmetic of --compute and in f32. On a card
// it loads the weights a second time, in f32, for the duration of the comparison.
func compareCompute(c *cli.Context, src *capture.Source, tokens []int32) (model.ComputeError, error) {
	if src.Device.Card == nil {
		return src.Model.CompareExact(c.Context, tokens)
	}
	inF32 := func() (*model.Model, error) { return src.LoadAs("f32") }
	return src.Model.CompareWith(c.Context, inF32, tokens)
}
