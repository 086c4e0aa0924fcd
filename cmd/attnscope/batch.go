package main

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/snapkv"
)

var batchFlag = &cli.StringFlag{
	Name: "batch", Value: "auto",
	Usage: "decode up to `N` replies together, which is faster and gives the same numbers; auto: as many as fit in half of the" +
		" available memory, on a card in half of what the weights leave, at most 8",
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
// The weights should not be loaded yet, unless they are read from the file in each pass.
func autoBatch(c *cli.Context, src *capture.Source, cfg *capture.Config) int {
	if src.Device.Card != nil {
		return cardBatch(src, *cfg)
	}
	if src.Model != nil && src.Model.Streams() { // what it keeps of the weights is in memory already
		return forecast.StreamedBatch(*cfg, src.Config, threadCount(c), availableMemory()/2)
	}
	weights := src.Config.WeightBytes(src.Checkpoint, cfg.Header.Plan.Compute)
	return forecast.Batch(*cfg, src.Config, weights, threadCount(c), availableMemory())
}

// autoCaches returns the number of caches of generate that fit in the available memory
// together, next to the full caches that are held for them. None is larger than the full
// cache with the positions of each query head kept apart.
func autoCaches(c *cli.Context, src *capture.Source, cfg *decode.Config) (int, error) {
	longest := 0
	for i := range cfg.Prompts {
		longest = max(longest, len(cfg.Prompts[i].Tokens)+max(cfg.MaxNewTokens, len(cfg.Prompts[i].Reply)))
	}
	full := int64(longest) * src.Config.CacheBytes()
	each := cacheBytes(snapkv.Config{Capacity: longest, Group: snapkv.GroupHead}, longest, 0, &src.Config)
	if card := src.Device.Card; card != nil {
		m := src.Config.CardMemory(c.String("compute"), longest, cuda.Recorded{})
		room := (card.Free - cardWeights(src, c.String("compute")) - m.Work) / 2
		return mostCaches(cfg, m.Cache, each*m.Cache/max(1, full), room), nil
	}
	weights := src.Config.WeightBytes(src.Checkpoint, c.String("compute"))
	memory, _, err := givenMemory(c)
	if err != nil {
		return 1, err
	}
	room := memory/2 - weights
	if weights > memory {
		least, err := src.Config.Place(src.Checkpoint, c.String("compute"), 1)
		if err != nil {
			return 1, err
		}
		room = memory*9/10 - least.Memory
	}
	return mostCaches(cfg, full, each, room), nil
}

// mostCaches returns the number of caches of the given bytes each that fit in a room together,
// next to the full caches that are held for them.
func mostCaches(cfg *decode.Config, full, each, room int64) int {
	run := *cfg
	return forecast.Most(forecast.MostBatch, func(n int) bool {
		run.Batch = n
		return int64(run.FullCaches())*full+int64(n)*each <= room
	})
}
