package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/experiments/leaderboard"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
)

// fitBoard says which weights stay in memory, for the sample that takes the most, and sets the
// batch that --batch auto asks for. It must be called before the weights are loaded.
func fitBoard(c *cli.Context, src *capture.Source, cfg *leaderboard.Config) (generateFit, error) {
	most := 0
	size := func(i int) int { return len(cfg.Samples[i].Prompt.Tokens) + cfg.Samples[i].Task.Reply }
	for i := range cfg.Samples {
		if size(i) > size(most) {
			most = i
		}
	}
	run := cfg.Decoding(&cfg.Samples[most])
	run = run.WithoutUnusable(&src.Config)
	if c.String("batch") == "auto" {
		var err error
		if cfg.Batch, err = autoCaches(c, src, &run); err != nil {
			return generateFit{}, err
		}
		run.Batch = cfg.Batch
	}
	return fitGenerate(c, src, &run)
}

// dryBoard prints what leaderboard would run and the memory and time that it needs on the
// processor, without loading the weights. Samples that the file of results has already, and
// those of other shards, are counted.
func dryBoard(c *cli.Context, src *capture.Source, cfg *leaderboard.Config, fit *generateFit) error {
	if err := model.CheckTensors(src.Checkpoint, src.Config); err != nil {
		return err
	}
	var all forecast.Need
	caches := 0
	for i := range cfg.Samples {
		s := &cfg.Samples[i]
		run := cfg.Decoding(s)
		run = run.WithoutUnusable(&src.Config)
		one := capture.Config{
			Prompts: []prompts.Prompt{s.Prompt}, Header: dumps.Header{Plan: dumps.Plan{MaxNewTokens: s.Task.Reply}},
		}
		need := forecast.Capture(&one, src.Config, threadCount(c))
		addCaches(&need, &run, &src.Config)
		all.PromptTokens += need.PromptTokens
		all.FLOPs += need.FLOPs
		all.Generated += need.Generated
		all.CacheRead += need.CacheRead
		all.Batch = max(all.Batch, need.Batch)
		caches = max(caches, len(run.Forms(&src.Config, &s.Prompt)))
	}
	w := c.App.Writer
	if src.Checkpoint.HeadersOnly() {
		stored := sizes.Text(inspectModel(src).stored)
		fmt.Fprintf(w, "fetch      %s: the weights are not in the hub cache yet\n", stored)
	}
	for _, p := range cfg.Plan() {
		fmt.Fprintf(w, "task       %-20s %6d tokens, %s\n", p.Task, p.Length, count(p.Samples, "prompt"))
	}
	fmt.Fprintf(w, "prompts    %d, %d prompt tokens; up to %d tokens are decoded\n",
		len(cfg.Samples), all.PromptTokens, all.Generated)
	fmt.Fprintf(w, "caches     the full cache and up to %s for each prompt\n", count(caches, "compressed cache"))
	fmt.Fprintf(w, "memory     %s: %s, full caches %s, compressed caches up to %s%s, work %s\n",
		sizes.Text(fit.total()), weightsPart(&fit.Fit), sizes.Text(fit.Need.Cache), sizes.Text(fit.compressed),
		statesText(fit.Need.States), sizes.Text(fit.Need.Work))
	printTime(c, &all, fit.Weights, c.String("compute"))
	return nil
}
