package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/snapkv"
)

// dryGenerate prints what generate would decode and the memory and time that it needs
// on the processor, without loading the weights.
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
	entries, err := compressing(cfg)
	if err != nil {
		return err
	}
	batch := max(1, cfg.Batch)
	caches := int64(max(1, min(batch, len(entries)*need.Prompts)))
	compressed := caches * largestCache(cfg, entries, &src.Config)
	full := int64(cfg.FullCaches()) * need.Cache
	w := c.App.Writer
	if src.Checkpoint.HeadersOnly() {
		fmt.Fprintf(w, "fetch      %s: the weights are not in the hub cache yet\n", sizes.Text(inspectModel(src).stored))
	}
	fmt.Fprintf(w, "prompts    %d, %d prompt tokens and up to %d reply tokens; the longest takes %d positions\n",
		need.Prompts, need.PromptTokens, need.ReplyTokens, need.Positions)
	fmt.Fprintf(w, "caches     the full cache and up to %s for each prompt\n", count(len(entries), "compressed cache"))
	states := 2 * (int64(cfg.FullCaches()) + caches) * src.Config.StateBytes() // after the prompt, and now
	fmt.Fprintf(w, "memory     %s: weights %s, full caches %s, compressed caches up to %s%s, work %s\n",
		sizes.Text(weights+full+compressed+states+need.Work), sizes.Text(weights), sizes.Text(full),
		sizes.Text(compressed), statesText(states), sizes.Text(need.Work))
	addCaches(&need, cfg, entries, &src.Config)
	printTime(c, &need, weights, c.String("compute"))
	return nil
}

// compressing returns the selections whose caches are compressed: all but those that are
// the full cache.
func compressing(cfg *decode.Config) ([]snapkv.Entry, error) {
	entries, err := snapkv.Entries(cfg.Methods, cfg.Configs)
	return slices.DeleteFunc(entries, func(e snapkv.Entry) bool { return e.Method.IgnoresCapacity }), err
}

// largestCache returns the bytes of the largest compressed cache of any prompt.
func largestCache(cfg *decode.Config, entries []snapkv.Entry, m *model.Config) int64 {
	most := int64(0)
	for i := range cfg.Prompts {
		p := &cfg.Prompts[i]
		reply := cfg.MaxNewTokens
		if p.Reply != nil && cfg.FollowWhole {
			reply = max(reply, len(p.Reply))
		}
		for _, e := range entries {
			most = max(most, cacheBytes(e.Config, len(p.Tokens), reply, m))
		}
	}
	return most
}

// cacheBytes returns the bytes of a compressed cache of a prompt and its reply. If the query
// heads of a kv head select for themselves, each has its own copy.
func cacheBytes(s snapkv.Config, prompt, reply int, m *model.Config) int64 {
	about := capture.ModelInfo("", m)
	bytes := int64(0) // of a position
	for _, l := range about.Caches() {
		shape := about.Layer(l)
		copies := 1
		if !s.Group.For(shape.Latent || about.SharedCache(l)).Merges() {
			copies = shape.Heads / shape.KVHeads
		}
		bytes += int64(4 * about.EntryDim(l) * copies)
	}
	return int64(min(prompt, s.Capacity)+reply) * bytes
}

// addCaches sets the work of need to that of generate: the prompt once, and from each cache
// a reply that is decoded and one that is scored. A cache that drops nothing is the full
// one. The caches of all prompts decode together, as many as the batch holds.
func addCaches(need *forecast.Need, cfg *decode.Config, entries []snapkv.Entry, m *model.Config) {
	prefill := capture.Config{Prompts: slices.Clone(cfg.Prompts)}
	for i := range prefill.Prompts {
		prefill.Prompts[i].Reply = nil
	}
	need.FLOPs = forecast.Capture(&prefill, *m, 1).FLOPs
	need.Generated = 0
	need.CacheRead = 0
	replying := 0 // caches of all prompts
	replies := cfg.MaxNewTokens
	for i := range cfg.Prompts {
		p := &cfg.Prompts[i]
		scored := replies
		if p.Reply != nil {
			scored = len(p.Reply)
			if !cfg.FollowWhole {
				scored = min(scored, replies)
			}
		}
		need.CacheRead += float64(replies) * float64(len(p.Tokens)+replies/2) * float64(m.CacheBytes())
		caches := 0
		for _, e := range entries {
			if e.Config.Passthrough(len(p.Tokens)) {
				continue
			}
			caches++
			need.CacheRead += float64(replies) * float64(cacheBytes(e.Config, len(p.Tokens), replies/2, m))
		}
		need.Generated += replies * (1 + caches)
		replying += 1 + caches
		need.FLOPs += 2 * m.TokenWeights() * float64(scored*(1+caches))
	}
	need.Batch = max(1, min(cfg.Batch, replying))
}
