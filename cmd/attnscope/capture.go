package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// planFlags say what of a prompt's attention is recorded.
var planFlags = []cli.Flag{
	&cli.IntFlag{Name: "window-rows", Value: 128, Usage: "last prompt rows recorded one by one, `R`"},
	&cli.StringFlag{Name: "prompt-windows", Value: "20x128", Usage: "sums over older query windows, `COUNTxSIZE` (0: none)"},
	&cli.IntFlag{Name: "max-new-tokens", Value: 128, Usage: "reply tokens generated and recorded, `G`"},
	&cli.StringFlag{Name: "layers", Value: "all", Usage: "layers recorded: all or `LIST` such as 0,3,7-9"},
	&cli.StringFlag{Name: "heads", Value: "all", Usage: "query heads recorded: all or `LIST`"},
	&cli.StringFlag{Name: "store", Value: "auto", Usage: "auto (the smaller), rows (the weights) or factors (queries and keys)"},
	&cli.StringFlag{Name: "precision", Value: "fine", Usage: "exact (float32), fine (1e-4 + 5e-4 of the weight) or coarse (3e-3)"},
	&cli.BoolFlag{Name: "values", Usage: "record the values too (for output errors)"},
	&cli.BoolFlag{Name: "logits", Usage: "record the reply's logits"},
	&cli.IntFlag{Name: "overview", Usage: "record a pooled picture of the whole map, `SIDE` x SIDE a head (0: none)"},
	&cli.BoolFlag{Name: "no-prompt-sums", Usage: "leave out the weights summed over all prompt queries, which h2o goes by: most of what recording costs on a card"},
	&cli.BoolFlag{Name: "ignore-eos", Usage: "go on generating after an end-of-sequence token"},
	&cli.Float64Flag{Name: "temperature", Usage: "sampling temperature (0: greedy)"},
}

func captureCommand() *cli.Command {
	return &cli.Command{
		Name:      "capture",
		Usage:     "run the model over prompts and record attention into a dump",
		ArgsUsage: "-m MODEL -p PROMPTS -o RUN.attn",
		Flags: slices.Concat([]cli.Flag{
			modelFlag, revisionFlag, offlineFlag, promptsFlag,
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the dump to write, `RUN.attn`"},
		}, planFlags, promptFlags, []cli.Flag{
			computeFlag, deviceFlag, threadsFlag, seedFlag,
			&cli.StringFlag{Name: "shard", Usage: "record only shard `I/N` of the prompts"},
			&cli.BoolFlag{Name: "resume", Usage: "go on with RUN.attn.partial"},
			&cli.StringFlag{Name: "status", Usage: "keep a JSON `FILE` of how far it is, for other programs"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print memory, disk and time it will take, and stop"},
			forceFlag,
		}),
		Action: runCapture,
	}
}

func runCapture(c *cli.Context) error {
	out := c.String("o")
	switch {
	case c.Args().Present():
		return usagef("capture: unexpected argument %q: the model goes to -m, the prompts to -p", c.Args().First())
	case !c.IsSet("prompts"):
		return usagef("capture: no prompts: name a file with -p (JSONL, one object a line)")
	case out == "" && !c.Bool("dry-run"):
		return usagef("capture: no output: name the dump with -o RUN.attn")
	}
	if err := checkOutput(out, c.Bool("force"), c.Bool("resume")); err != nil {
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
	list, err := readPrompts(c, src.Tokenizer)
	if err != nil {
		return err
	}
	if c.IsSet("max-new-tokens") { // here, so that a resumed run with whole replies is seen to be another one
		for i := range list {
			list[i].Reply = list[i].Reply[:min(len(list[i].Reply), plan.MaxNewTokens)]
		}
	}
	shard, shards, err := parseShard(c.String("shard"))
	if err != nil {
		return err
	}
	cfg := capture.Config{
		Prompts: list, Out: out, Force: c.Bool("force"), Resume: c.Bool("resume"),
		FollowWhole: !c.IsSet("max-new-tokens"),
		Mine:        func(i int) bool { return i%shards == shard },
	}
	if c.Bool("dry-run") {
		return dryRun(c, src, cfg, plan)
	}
	if err := checkCard(c, src, cfg, plan); err != nil {
		return err
	}
	if err := loadSource(src); err != nil {
		return err
	}
	if cfg.Header, err = headerOf(c, src, plan, list); err != nil {
		return err
	}
	cfg.Model = src.Model
	if err := tellComputeError(c, src, list); err != nil {
		return err
	}
	cfg.Warn = func(text string) { warnf(c, "%s", text) }
	disk := watchDisk(c, &cfg, src.Config)
	bar, state := newBar(c.App.ErrWriter, "capture"), newStatusFile(c.String("status"), out)
	bar.out = out
	cfg.Progress = func(p capture.Progress) { bar.capture(p); state.update(p); disk.look(p) }
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
		notef(c, "%s is complete already", out)
		return nil
	case err != nil:
		if _, missing := os.Stat(out + ".partial"); missing == nil && (errors.Is(err, context.Canceled) || isDiskFull(err)) {
			return hintf(err, "%s.partial holds the finished prompts; the same command with --resume goes on", out)
		}
		return err
	}
	notef(c, "%s: %d prompts, %d prompt and %d reply tokens; prefill %.0f tokens/s, reply %.1f tokens/s",
		out, summary.Prompts+summary.Resumed, summary.PromptTokens, summary.Replies,
		rate(summary.PromptTokens-summary.SharedTokens, summary.PrefillTime), rate(summary.Replies, summary.ReplyTime))
	return nil
}

func rate(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }

// checkOutput refuses an output file that exists, before any work is done.
func checkOutput(path string, force, resume bool) error {
	if path == "" {
		return nil
	}
	at, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case at.IsDir():
		return fmt.Errorf("%s is a folder, want the name of a file", path)
	case !force && !resume:
		return hintf(fmt.Errorf("%s exists", path), "--force replaces it, -o names another file")
	}
	return nil
}

// planOf reads the recording plan from the flags.
func planOf(c *cli.Context, cfg model.Config, device string) (*dumps.Plan, error) {
	p := &dumps.Plan{
		WindowRows: c.Int("window-rows"), MaxNewTokens: c.Int("max-new-tokens"),
		Values: c.Bool("values"), Logits: c.Bool("logits"), Overview: c.Int("overview"),
		NoPromptSums: c.Bool("no-prompt-sums"), IgnoreEOS: c.Bool("ignore-eos"), Compute: c.String("compute"),
		Temperature: c.Float64("temperature"), Seed: c.Int64("seed"), Shard: c.String("shard"),
	}
	var err error
	if p.Store, err = dumps.ParseStore(c.String("store")); err != nil {
		return nil, usagef("--%v", err)
	}
	if p.Precision, err = dumps.ParsePrecision(c.String("precision")); err != nil {
		return nil, usagef("--%v", err)
	}
	if p.PromptWindows, p.PromptWindowSize, err = parseWindows(c.String("prompt-windows")); err != nil {
		return nil, err
	}
	if p.Layers, err = parseList("layers", c.String("layers"), cfg.Layers); err != nil {
		return nil, err
	}
	if p.Heads, err = parseList("heads", c.String("heads"), cfg.Heads); err != nil {
		return nil, err
	}
	if err := capture.CheckPlan(p, device); err != nil {
		return nil, usagef("--%v", err)
	}
	return p, nil
}

// openSource opens the model of --model on the device of --device, without its
// weights.
func openSource(c *cli.Context) (*capture.Source, error) {
	if err := capture.CheckDevice(c.String("device")); err != nil {
		return nil, usagef("--%v", err)
	}
	return openOn(c, c.String("device"))
}

// openOn opens the model of --model on a device, without its weights.
func openOn(c *cli.Context, device string) (*capture.Source, error) {
	if n := c.Int("threads"); n < 0 {
		return nil, usagef("--threads %d: want 0 or more", n)
	}
	name := c.String("model")
	bar := &lateBar{c: c, title: "fetching " + name}
	defer bar.close()
	return capture.Open(c.Context, name, capture.Options{
		Revision: c.String("revision"), Offline: c.Bool("offline"),
		Device: device, Compute: c.String("compute"), Threads: c.Int("threads"),
		Log: func(line string) { notef(c, "%s", line) }, Fetched: bar.bytes,
	})
}

// resolveModel finds the folder or file of a model.
func resolveModel(c *cli.Context, name string) (string, error) {
	bar := &lateBar{c: c, title: "fetching " + name}
	defer bar.close()
	return checkpoint.Resolve(c.Context, name, checkpoint.ResolveOptions{
		Revision: c.String("revision"), Offline: c.Bool("offline"),
		Log: func(line string) { notef(c, "%s", line) }, Progress: bar.bytes,
	})
}

// lateBar is a bar that appears with the first byte.
type lateBar struct {
	c     *cli.Context
	title string
	once  sync.Once
	bar   *bar
}

func (l *lateBar) bytes(done, total int64) {
	l.once.Do(func() { l.bar = newBar(l.c.App.ErrWriter, l.title) })
	l.bar.bytes(done, total)
}

func (l *lateBar) close() {
	if l.bar != nil {
		l.bar.close()
	}
}

// loadSource brings the weights into memory.
func loadSource(s *capture.Source) error {
	err := s.Load()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // weights and cache lie outside the heap; sums and waiting blocks do not
	}
	return err
}

// readPrompts reads and tokenizes the prompt file of -p.
func readPrompts(c *cli.Context, tok *tokenizer.Tokenizer) ([]prompts.Prompt, error) {
	switch how := c.String("truncate"); {
	case c.IsSet("max-prompt-tokens") && c.Int("max-prompt-tokens") < 1:
		return nil, usagef("--max-prompt-tokens %d: want 1 or more", c.Int("max-prompt-tokens"))
	case how != "" && how != "middle":
		return nil, usagef("--truncate %q: want middle", how)
	case c.IsSet("max-prompt-tokens") != (how != ""):
		return nil, usagef("--max-prompt-tokens N and --truncate middle go together: nothing is cut silently")
	}
	records, err := prompts.ReadFile(c.String("prompts"), c.App.Reader)
	if err != nil {
		return nil, err
	}
	opt := prompts.Options{
		NoSpecialTokens: c.Bool("no-special-tokens"), NoChatTemplate: c.Bool("no-chat-template"),
		System: c.String("system"), Follow: c.Bool("follow"),
		MaxPromptTokens: c.Int("max-prompt-tokens"), Truncate: c.String("truncate"),
	}
	list := make([]prompts.Prompt, 0, len(records))
	for _, rec := range records {
		p, err := prompts.Prepare(tok, rec, opt)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.String("prompts"), err)
		}
		if p.Truncated > 0 {
			warnf(c, "prompt %q: %d tokens cut from the middle", p.ID, p.Truncated)
		}
		list = append(list, p)
	}
	return list, nil
}

// headerOf describes the run: model, plan and what is needed to check it.
func headerOf(c *cli.Context, s *capture.Source, plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error) {
	return capture.NewHeader(s, *plan, list, dumps.Manifest{
		Program: "attnscope " + version(), Command: append([]string{"attnscope"}, commandLine...),
		PromptsFile: c.String("prompts"), Seed: c.Int64("seed"),
	})
}
