package main

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/internal/forecast"
)

var batchFlag = &cli.StringFlag{
	Name: "batch", Value: "auto",
	Usage: "decode up to `N` replies together, which is faster and gives the same numbers; auto: up to 8, as many as half of the" +
		" available memory holds, and 1 on a card",
}

// checkBatch checks the value of --batch.
func checkBatch(c *cli.Context) error {
	if c.String("batch") == "auto" {
		return nil
	}
	if n, err := strconv.Atoi(c.String("batch")); err != nil || n < 1 {
		return usagef("--batch %q: want auto, or a number of replies, 1 or more", c.String("batch"))
	}
	return nil
}

// givenBatch returns the number that --batch gives, or 1 for auto.
func givenBatch(c *cli.Context) int {
	n, err := strconv.Atoi(c.String("batch"))
	if err != nil {
		return 1
	}
	return n
}

// autoBatch returns the number of replies of a capture that fit in the available memory.
// The weights should not be loaded yet.
func autoBatch(c *cli.Context, src *capture.Source, cfg *capture.Config) int {
	if src.Device.Card != nil { // it decodes one reply at a time
		return 1
	}
	weights := src.Config.WeightBytes(src.Checkpoint, cfg.Header.Plan.Compute)
	return forecast.Batch(*cfg, src.Config, weights, threadCount(c), availableMemory())
}
