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

// generateFit holds the memory that generate takes on the processor.
type generateFit struct {
	forecast.Fit
	compressed int64 // bytes of the compressed caches
	forms      int   // compressed caches of a prompt
}

// total returns the memory of the run. The dump of a capture does not count.
func (f *generateFit) total() int64 {
	return f.WeightMemory() + f.Need.Cache + f.compressed + f.Need.States + f.Need.Work
}

// need sets what the caches take, besides the work of reading a prompt.
func (f *generateFit) need(cfg *decode.Config, src *capture.Source, n forecast.Need) {
	full := int64(cfg.FullCaches())
	caches := int64(max(1, min(cfg.Batch, f.forms*n.Prompts)))
	f.compressed = caches * largestCache(cfg, &src.Config)
	if cfg.DecodeEvery > 0 { // a cache after the prompt, the one that decodes, and what is left of it
		f.compressed *= 3
	}
	n.Cache *= full
	n.States = 2 * (full + caches) * src.Config.StateBytes() // after the prompt, and now
	n.Recording = 0
	f.Need = n
}

// fitGenerate says which weights stay in memory. It must be called before they are
// loaded.
func fitGenerate(c *cli.Context, src *capture.Source, cfg *decode.Config) (generateFit, error) {
	var f generateFit
	memory, given, err := givenMemory(c)
	if err != nil {
		return f, err
	}
	run := capture.Config{
		Prompts: cfg.Prompts, FollowWhole: cfg.FollowWhole,
		Header: dumps.Header{Plan: dumps.Plan{MaxNewTokens: cfg.MaxNewTokens, Compute: c.String("compute")}},
	}
	f.forms = len(cfg.Forms(&src.Config, &cfg.Prompts[0]))
	f.Weights = src.Config.WeightBytes(src.Checkpoint, c.String("compute"))
	f.need(cfg, src, forecast.Capture(&run, src.Config, threadCount(c)))
	if src.Device.Card != nil || f.total() <= memory {
		return f, nil
	}
	f.need(cfg, src, forecast.Streamed(&run, src.Config, threadCount(c)))
	if err := f.Stream(memory, f.compressed, src.Config, src.Checkpoint, c.String("compute")); err != nil {
		return f, err
	}
	if err := tooLittle(c, memory, f.total(), given); err != nil {
		return f, err
	}
	src.LimitWeights(f.Limit)
	return f, nil
}

// dryGenerate prints what generate would decode and the memory and time that it needs
// on the processor, without loading the weights.
func dryGenerate(c *cli.Context, src *capture.Source, cfg *decode.Config, fit *generateFit) error {
	if err := model.CheckTensors(src.Checkpoint, src.Config); err != nil {
		return err
	}
	need := fit.Need
	w := c.App.Writer
	if src.Checkpoint.HeadersOnly() {
		fmt.Fprintf(w, "fetch      %s: the weights are not in the hub cache yet\n", sizes.Text(inspectModel(src).stored))
	}
	fmt.Fprintf(w, "prompts    %d, %s and up to %s in all; the longest takes %s\n",
		need.Prompts, count(need.PromptTokens, "prompt token"), count(need.ReplyTokens, "reply token"),
		count(need.Positions, "position"))
	fmt.Fprintf(w, "caches     the full cache and up to %s for each prompt\n",
		count(fit.forms, "compressed cache"))
	fmt.Fprintf(w, "memory     %s: %s, full caches %s, compressed caches up to %s%s, work %s\n",
		sizes.Text(fit.total()), weightsPart(&fit.Fit), sizes.Text(need.Cache), sizes.Text(fit.compressed),
		statesText(need.States), sizes.Text(need.Work))
	addCaches(&need, cfg, &src.Config)
	printTime(c, &need, fit.Weights, c.String("compute"))
	need.Passes = need.Prompts * (2 + fit.forms) // the prompt, and a reply that is scored from each cache
	need.Passes += (need.Generated + need.Batch - 1) / need.Batch
	fit.Need = need
	return printStreaming(c, src, &fit.Fit, count(need.Batch, "cache"))
}

// largestCache returns the bytes of the largest compressed cache of any prompt.
func largestCache(cfg *decode.Config, m *model.Config) int64 {
	most := int64(0)
	for i := range cfg.Prompts {
		p := &cfg.Prompts[i]
		reply := cfg.MaxNewTokens
		if p.Reply != nil && cfg.FollowWhole {
			reply = max(reply, len(p.Reply))
		}
		for _, e := range cfg.Forms(m, p) {
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
		bytes += int64(4 * about.EntryDim(l) * decode.Copies(&about, l, s.Group))
	}
	return int64(min(prompt, s.Capacity)+reply) * bytes
}

// addCaches sets the work of need to that of generate: the prompt once, and from each cache
// a reply that is decoded and one that is scored. A cache that drops nothing is the full
// one. The caches of all prompts decode together, as many as the batch holds.
func addCaches(need *forecast.Need, cfg *decode.Config, m *model.Config) {
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
		for _, e := range cfg.Forms(m, p) {
			if e.Format.Bits == 0 && e.Config.Passthrough(len(p.Tokens)) {
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
