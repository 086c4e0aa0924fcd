package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
)

func captureCommand() *cli.Command {
	return &cli.Command{
		Name:      "capture",
		Usage:     "run a model over prompts and record its attention into a dump",
		ArgsUsage: "-m MODEL -p PROMPTS -o RUN.attn",
		Description: "Capture runs each prompt through the model, generates a reply (or follows the reply that the prompt\n" +
			"file gives) and records the attention of the last prompt tokens and of every reply token. Every\n" +
			"other verb answers from the dump, without the model. A run that was interrupted leaves\n" +
			"RUN.attn.partial; the same command with --resume continues it.",
		Flags: slices.Concat([]cli.Flag{
			modelFlag, revisionFlag, offlineFlag, ignoreConfigFlag, promptsFlag,
			outputFlag("write the dump to `RUN.attn`"),
		}, planFlags, promptFlags, []cli.Flag{
			computeFlag, deviceFlag, threadsFlag, batchFlag, memoryFlag, samplingSeedFlag,
			&cli.StringFlag{Name: "shard", Usage: "record only shard `I/N` of the prompts; attnscope merge joins the shards"},
			boolFlag("resume", "continue RUN.attn.partial"),
			&cli.StringFlag{Name: "status", Usage: "keep the progress in a JSON `FILE`, for other programs"},
			boolFlag("dry-run", "print the memory, disk space and time that the run needs, and stop"),
			forceFlag,
		}),
		Action: runCapture,
	}
}

func runCapture(c *cli.Context) error {
	out := c.String("o")
	switch {
	case c.Args().Present():
		return misplaced("capture", c.Args().First())
	case !c.IsSet("prompts"):
		return noPrompts("capture")
	case out == "" && !c.Bool("dry-run"):
		return hintf(usagef("capture: no output given"), "name the dump with -o RUN.attn")
	}
	if err := checkOutput(out, c.Bool("force"), c.Bool("resume")); err != nil {
		return err
	}
	if err := checkBatch(c); err != nil {
		return err
	}
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	plan, err := planOf(c, src.Config, src.Device.Name)
	if err != nil {
		return err
	}
	list, ignored, err := readPrompts(c, src.Tokenizer)
	if err != nil {
		return err
	}
	cfg, err := captureConfig(c, plan, list)
	if err != nil {
		return err
	}
	if err := checkCapture(c, src, &cfg); err != nil {
		return err
	}
	fit, err := fitCapture(c, src, &cfg)
	if err != nil {
		return err
	}
	if err := c.Set("batch", strconv.Itoa(cfg.Batch)); err != nil { // for keptCapture
		return err
	}
	if c.Bool("dry-run") {
		return dryRun(c, src, cfg, list, &fit)
	}
	noteStreaming(c, &fit)
	if err := loadSource(c, src); err != nil {
		return err
	}
	if cfg.Header, err = headerOf(c, src, plan, list); err != nil {
		return err
	}
	cfg.Header.Manifest.Ignored.Fields = ignored
	cfg.Model = src.Model
	cfg.Kernel = src.Kernel()
	if err := noteComputeError(c, src, list); err != nil {
		return err
	}
	disk := watchDisk(c, &cfg, src.Config)
	return record(c, cfg, disk)
}

// checkCapture refuses what a capture cannot record or write, before the weights are
// read.
func checkCapture(c *cli.Context, src *capture.Source, cfg *capture.Config) error {
	if err := cfg.Check(&src.Config); err != nil {
		return err
	}
	if err := checkCard(c, src, *cfg, &cfg.Header.Plan); err != nil {
		return err
	}
	if err := newStatusFile(c.String("status"), cfg.Out).check(); err != nil {
		return err
	}
	if cfg.Out == "" || cfg.Resume { // whether a dump can be continued, its header says
		return nil
	}
	return cfg.CheckOutput()
}

// captureConfig reads which prompts are recorded, and how far their replies go.
// It shortens replies that the prompt file gives to --max-new-tokens, so that a
// resumed run with whole replies is recognized as another run.
func captureConfig(c *cli.Context, plan *dumps.Plan, list []prompts.Prompt) (capture.Config, error) {
	if c.IsSet("max-new-tokens") {
		for i := range list {
			list[i].Reply = list[i].Reply[:min(len(list[i].Reply), plan.MaxNewTokens)]
		}
	}
	shard, shards, err := parseShard(c.String("shard"))
	if err != nil {
		return capture.Config{}, err
	}
	return capture.Config{
		Prompts: list, Header: dumps.Header{Plan: *plan},
		Out: c.String("o"), Force: c.Bool("force"), Resume: c.Bool("resume"),
		FollowWhole: !c.IsSet("max-new-tokens"),
		Mine:        func(i int) bool { return i%shards == shard },
	}, nil
}

// record runs the capture, shows its progress and says how it ended.
func record(c *cli.Context, cfg capture.Config, disk *diskWatch) error {
	bar := newBar(c.App.ErrWriter, "capture")
	bar.out = cfg.Out
	state := newStatusFile(c.String("status"), cfg.Out)
	cfg.Warn = func(text string) { warnf(c, "%s", text) }
	cfg.Progress = func(p capture.Progress) {
		bar.capture(p)
		state.update(p)
		disk.update(p)
	}
	if err := state.write(); err != nil {
		return err
	}
	summary, err := capture.Run(c.Context, cfg)
	bar.close()
	if ended := state.end(err); ended != nil {
		warnf(c, "%v", ended)
	}
	switch {
	case errors.Is(err, dumps.ErrComplete):
		noteComplete(c, cfg.Out)
		return nil
	case isDiskFull(err):
		return hintf(err, "%s", keptCapture(c))
	case err != nil:
		return err
	}
	noteSummary(c, cfg.Out, summary)
	return nil
}

func noteComplete(c *cli.Context, out string) { notef(c, "%s is already complete", out) }

// noteSummary prints what a capture recorded, and how fast.
func noteSummary(c *cli.Context, out string, s capture.Summary) {
	prompts := count(s.Prompts+s.Resumed, "prompt")
	if s.Resumed > 0 {
		prompts += fmt.Sprintf(", %d of them in this run", s.Prompts)
	}
	notef(c, "%s: %s, %d prompt and %d reply tokens; prefill %.0f tokens/s, reply %.1f tokens/s",
		out, prompts, s.PromptTokens, s.Replies,
		rate(s.PromptTokens-s.SharedTokens, s.PrefillTime), rate(s.Replies, s.ReplyTime))
}

func rate(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }
