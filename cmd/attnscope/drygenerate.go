package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
)

// dryGenerate prints what generate would decode and the memory that it needs on the
// processor, without loading the weights.
func dryGenerate(c *cli.Context, src *capture.Source, cfg *decode.Config) error {
	if err := model.CheckTensors(src.Checkpoint, src.Config); err != nil {
		return err
	}
	run := capture.Config{
		Prompts: cfg.Prompts, FollowWhole: cfg.FollowWhole,
		Header: dumps.Header{Plan: dumps.Plan{MaxNewTokens: cfg.MaxNewTokens, Compute: c.String("compute")}},
	}
	need := forecast.Capture(&run, src.Config, threadCount(c))
	weights := src.Config.WeightBytes(src.Checkpoint, c.String("compute"))
	selections := len(cfg.Methods) * len(cfg.Configs)
	compressed := int64(max(1, min(cfg.Batch, selections))) * largestCache(cfg, &src.Config)
	w := c.App.Writer
	if src.Checkpoint.HeadersOnly() {
		fmt.Fprintf(w, "fetch      %s: the weights are not in the hub cache yet\n", sizes.Text(inspectModel(src).stored))
	}
	fmt.Fprintf(w, "prompts    %d, %d prompt tokens and up to %d reply tokens; the longest takes %d positions\n",
		need.Prompts, need.PromptTokens, need.ReplyTokens, need.Positions)
	fmt.Fprintf(w, "caches     the full cache and up to %s for each prompt\n", count(selections, "compressed cache"))
	fmt.Fprintf(w, "memory     %s: weights %s, full cache %s, compressed caches up to %s, work %s\n",
		sizes.Text(weights+need.Cache+compressed+need.Work), sizes.Text(weights), sizes.Text(need.Cache),
		sizes.Text(compressed), sizes.Text(need.Work))
	return nil
}

// largestCache returns the bytes of the largest compressed cache of any prompt and setting.
// If the query heads of a kv head select for themselves, each has its own copy.
func largestCache(cfg *decode.Config, m *model.Config) int64 {
	most := int64(0)
	for i := range cfg.Prompts {
		p := &cfg.Prompts[i]
		reply := cfg.MaxNewTokens
		if p.Reply != nil && cfg.FollowWhole {
			reply = len(p.Reply)
		}
		for _, s := range cfg.Configs {
			bytes := int64(min(len(p.Tokens), s.Capacity)+reply) * m.CacheBytes()
			if !s.Group.Merges() {
				bytes = bytes / int64(m.KVHeads) * int64(m.Heads)
			}
			most = max(most, bytes)
		}
	}
	return most
}
