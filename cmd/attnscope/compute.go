package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture/prompts"
)

// comparedTokens is how much of a prompt a narrow arithmetic is compared on.
const comparedTokens = 256

// tellComputeError prints what --compute bf16 or int8 changes, seen on the
// beginning of the first prompt.
func tellComputeError(c *cli.Context, e *engine, list []prompts.Prompt) error {
	if compute := c.String("compute"); strings.HasPrefix(e.device.name, "cuda") || compute == "f32" || compute == "" || len(list) == 0 || len(list[0].Tokens) == 0 {
		return nil
	}
	tokens := list[0].Tokens[:min(comparedTokens, len(list[0].Tokens))]
	diff, err := e.model.CompareExact(c.Context, tokens)
	if err != nil {
		return err
	}
	notef(c, "compute %s against f32, last of the first %d tokens of prompt %q: attention weights differ by up to %.2g, rows by %.2g on average (of 2), logits by up to %.2g of the largest",
		c.String("compute"), diff.Tokens, list[0].ID, diff.Weights, diff.Rows, diff.Logits)
	return nil
}
