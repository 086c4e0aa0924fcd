package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/sizes"
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
	eng, err := openEngine(c)
	if err != nil {
		return err
	}
	defer eng.Close()
	plan, err := planOf(c, eng.config, eng.device)
	if err != nil {
		return err
	}
	list, err := eng.prompts(c)
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
		return dryRun(c, eng, cfg, plan)
	}
	if err := checkCard(c, eng, cfg, plan); err != nil {
		return err
	}
	if err := eng.load(c); err != nil {
		return err
	}
	if cfg.Header, err = eng.header(c, plan, list); err != nil {
		return err
	}
	cfg.Model = eng.model
	if err := tellComputeError(c, eng, list); err != nil {
		return err
	}
	cfg.Warn = func(text string) { warnf(c, "%s", text) }
	disk := watchDisk(c, &cfg, eng.config)
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
func planOf(c *cli.Context, cfg model.Config, where device) (*dumps.Plan, error) {
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
	if computes := flagValues["compute"]; !slices.Contains(computes, p.Compute) {
		return nil, usagef("--compute %q: want %s", p.Compute, strings.Join(computes, ", "))
	}
	if p.Compute == "f16" && !strings.HasPrefix(where.name, "cuda") {
		return nil, usagef("--compute f16 is a card's arithmetic: on the processor f32, bf16 and int8 are")
	}
	for _, name := range []string{"window-rows", "max-new-tokens", "overview"} {
		if n := c.Int(name); n < 0 {
			return nil, usagef("--%s %d: want 0 or more", name, n)
		}
	}
	if p.Overview > 4096 {
		return nil, usagef("--overview %d: at most 4096", p.Overview)
	}
	if bytes := 4 * p.Overview * p.Overview * len(p.Heads); bytes > dumps.MaxBlock {
		return nil, usagef("--overview %d: with %d heads a picture takes %s, a block of a dump at most %s: ask for a smaller side or fewer heads",
			p.Overview, len(p.Heads), sizes.Text(int64(bytes)), sizes.Text(dumps.MaxBlock))
	}
	if !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0) {
		return nil, usagef("--temperature %g: want 0 or more", p.Temperature)
	}
	return p, nil
}

// engine is a checkpoint with its tokenizer, and its model once loaded.
type engine struct {
	name   string
	ck     *checkpoint.Checkpoint
	tok    *tokenizer.Tokenizer // nil where the checkpoint has none
	tokErr error
	config model.Config
	model  *model.Model
	device device
}

// openEngine finds the device of --device, and opens the checkpoint of --model
// without its weights.
func openEngine(c *cli.Context) (*engine, error) {
	where, err := pickDevice(c)
	if err != nil {
		return nil, err
	}
	e, err := openModel(c)
	if err == nil {
		e.device = where
	}
	return e, err
}

// openModel finds and opens the checkpoint of --model, without its weights.
func openModel(c *cli.Context) (*engine, error) {
	if n := c.Int("threads"); n < 0 {
		return nil, usagef("--threads %d: want 0 or more", n)
	}
	path, err := resolveModel(c, c.String("model"))
	if err != nil {
		return nil, err
	}
	ck, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	e := &engine{name: c.String("model"), ck: ck}
	if e.config, err = model.ReadConfig(ck); err != nil {
		ck.Close()
		return nil, err
	}
	if e.tok, e.tokErr = tokenizer.Load(path); e.tokErr != nil && !errors.Is(e.tokErr, tokenizer.ErrNoTokenizer) {
		ck.Close()
		return nil, e.tokErr
	}
	return e, nil
}

func resolveModel(c *cli.Context, name string) (string, error) {
	var b *bar
	defer func() {
		if b != nil {
			b.close()
		}
	}()
	var once sync.Once
	return checkpoint.Resolve(c.Context, name, checkpoint.ResolveOptions{
		Revision: c.String("revision"), Offline: c.Bool("offline"),
		Log: func(line string) { notef(c, "%s", line) },
		Progress: func(done, total int64) {
			once.Do(func() { b = newBar(c.App.ErrWriter, "fetching "+name) })
			b.bytes(done, total)
		},
	})
}

func (e *engine) Close() {
	if e.model != nil {
		e.model.Close()
	}
	e.ck.Close()
}

// host names the processor and, where it is used, the card.
func (e *engine) host() string {
	if d := e.device.card; d != nil {
		return fmt.Sprintf("%s; %s, CUDA %d.%d", hostProcessor(), d.Name, d.Driver[0], d.Driver[1])
	}
	return hostProcessor()
}

// prompts reads and tokenises the prompt file of -p.
func (e *engine) prompts(c *cli.Context) ([]prompts.Prompt, error) {
	return readPrompts(c, e.tok)
}

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

// header describes the run: model, plan and what is needed to check it.
func (e *engine) header(c *cli.Context, plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error) {
	sum, err := e.ck.SHA256()
	if err != nil {
		return dumps.Header{}, err
	}
	cfg := e.config
	h := dumps.Header{Plan: *plan, Model: dumps.ModelInfo{
		ID: e.name, SHA256: sum, Architecture: cfg.Architecture, Layers: cfg.Layers, Heads: cfg.Heads,
		KVHeads: cfg.KVHeads, HeadDim: cfg.HeadDim, ValueDim: cfg.ValueDim, Vocab: cfg.Vocab, MaxPositions: cfg.MaxPositions,
		Scale: float64(cfg.Scale), SoftCap: float64(cfg.SoftCap), LayerWindows: cfg.LayerWindows,
	}}
	h.Manifest = dumps.Manifest{
		Program: "attnscope " + version(), Go: runtime.Version(), Command: append([]string{"attnscope"}, commandLine...),
		Host: e.host(), Threads: c.Int("threads"), Created: time.Now().UTC().Format(time.RFC3339),
		PromptsFile: c.String("prompts"), PromptsSHA256: promptsSHA256(list), Seed: c.Int64("seed"),
	}
	if e.tok != nil {
		h.Manifest.TokenizerSHA256 = e.tok.SHA256()
	}
	return h, nil
}

// promptsSHA256 tells prompt sets apart: by ids, tokens and replies.
func promptsSHA256(list []prompts.Prompt) string {
	set := sha256.New()
	for i := range list {
		f := fnv.New64a()
		fmt.Fprintf(f, "%s %v %v", list[i].ID, list[i].Tokens, list[i].Reply)
		set.Write(f.Sum(nil))
	}
	return hex.EncodeToString(set.Sum(nil))
}
