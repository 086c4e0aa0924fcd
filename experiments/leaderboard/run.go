// Package leaderboard compares selection methods by the answers that a model gives from
// compressed caches to prompts of several tasks:
//
//	err := leaderboard.Record(ctx, leaderboard.Config{Model: m, Samples: samples, ...}, "run.jsonl")
//	board, err := leaderboard.Read("run.jsonl", "other.jsonl")
//	rows := board.Rows(leaderboard.RowOptions{Seed: 1})
//
// A file of results holds runs and, after each run, its answers, one JSON object per line.
// Files are read together, so that shards, further tasks and further methods of a run are
// joined, and different runs are compared.
package leaderboard

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/tasks"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/filelock"
	"github.com/attnscope/attnscope/snapkv"
)

// Config says what is run. Functions may be nil.
type Config struct {
	Model     *model.Model
	Tokenizer *tokenizer.Tokenizer
	Samples   []tasks.Sample
	Methods   []snapkv.Method
	Budgets   []decode.Budget
	Base      snapkv.Config // settings of all methods; its capacity is not used
	Place     decode.Place  // where caches are compressed
	// Format is that of the compressed caches, if it has bits. Its group and residual are also
	// those of the quantized full caches whose bytes budgets have.
	Format      model.CacheFormat
	EqualBytes  bool // as in decode.Config, and so is DecodeEvery
	DecodeEvery int
	Lenient     bool              // methods that cannot select are left out with a warning
	Batch       int               // caches of a prompt that decode together; above 1, speeds are not known
	Mine        func(i int) bool  // whether sample i is run; nil: all are
	About       Run               // what the file says of the run; Record adds settings and plan
	Warn        func(text string) // receives each warning once
	Progress    func(capture.Progress)
}

// Check returns an error for samples that a model of this configuration cannot run, or a
// budget that is no larger than the window. The model need not be loaded.
func (c *Config) Check(cfg *model.Config) error {
	for i := range c.Samples {
		run := c.Decoding(&c.Samples[i])
		if err := run.Check(cfg); err != nil {
			return err
		}
	}
	return nil
}

// Decoding returns the configuration that decodes the replies to a sample.
func (c *Config) Decoding(s *tasks.Sample) decode.Config {
	out := decode.Config{
		Model: c.Model, Prompts: []prompts.Prompt{s.Prompt}, Methods: c.Methods, Configs: []snapkv.Config{c.Base},
		Budgets: c.Budgets, BudgetFormat: c.Format, EqualBytes: c.EqualBytes, DecodeEvery: c.DecodeEvery,
		MaxNewTokens: s.Task.Reply, Lenient: c.Lenient, Batch: c.Batch, Place: c.Place,
		Encode: func(text string) []int32 { return c.Tokenizer.Encode(text, false) },
		Decode: func(ids []int32) string { return c.Tokenizer.Decode(ids, true) },
	}
	if c.Format.Bits > 0 {
		out.Formats = []model.CacheFormat{c.Format}
	}
	return out
}

// Record runs the samples and appends their answers to a file. Samples whose answers the
// file has already, for the same model, settings, methods and budgets, are not run again. A
// line that was cut when a run was killed is removed.
func Record(ctx context.Context, c Config, path string) error {
	about := c.about()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := filelock.Lock(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	board, size, err := readOpen(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return err
	}
	r := recorder{Config: c, about: about, file: f, started: time.Now(), warned: map[string]bool{}}
	old := board.find(&about)
	for i := range c.Samples {
		if c.Mine != nil && !c.Mine(i) || old != nil && old.has(&c.Samples[i], &about) {
			continue
		}
		r.missing = append(r.missing, i)
		r.total += r.tokens(&c.Samples[i])
	}
	if len(r.missing) > 0 || old == nil {
		if err := r.write(&about); err != nil {
			return err
		}
	}
	for n, i := range r.missing {
		if err := r.sample(ctx, n, &c.Samples[i]); err != nil {
			return err
		}
	}
	return f.Close()
}

// recorder holds the state of Record.
type recorder struct {
	Config
	about       Run
	file        *os.File
	missing     []int // samples to run
	started     time.Time
	done, total int64 // tokens
	warned      map[string]bool
}

// tokens returns the tokens that a sample takes: the prompt, and from each cache a reply
// that is decoded and one that is scored.
func (r *recorder) tokens(s *tasks.Sample) int64 {
	run := r.Decoding(s)
	cfg := r.Model.Config()
	caches := 1 + len(run.Forms(&cfg, &s.Prompt))
	return int64(len(s.Prompt.Tokens) + 2*caches*s.Task.Reply)
}

// write appends a line to the file.
func (r *recorder) write(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = r.file.Write(append(text, '\n'))
	return err
}

// sample runs a sample, the n-th of the missing ones.
func (r *recorder) sample(ctx context.Context, n int, s *tasks.Sample) error {
	run := r.Decoding(s)
	run.Warn = func(text string) {
		if !r.warned[text] && r.Warn != nil {
			r.Warn(text)
		}
		r.warned[text] = true
	}
	if r.Progress != nil {
		run.Progress = func(p capture.Progress) {
			p.Prompt, p.Prompts, p.Tokens, p.Total = n, len(r.missing), r.done+p.Tokens, r.total
			p.Elapsed = time.Since(r.started)
			r.Progress(p)
		}
	}
	answer := r.about.answer(s)
	err := decode.Run(ctx, run, func(d decode.Result) error {
		answer.Results = append(answer.Results, newResult(s, &d))
		return nil
	})
	if err != nil {
		return err
	}
	r.done += r.tokens(s)
	return r.write(&answer)
}

// newResult returns a decoded reply as it is stored.
func newResult(s *tasks.Sample, d *decode.Result) Result {
	budget := d.Budget
	if d.Method == snapkv.Full {
		budget = decode.Budget{Bits: d.KVBits}
	}
	return Result{
		Method: d.Method, Budget: budget, Capacity: d.Capacity, Score: s.Score(d.Text), KL: d.KL, Agreement: d.Agreement,
		AnswerLogProb: d.AnswerLogProb, CacheBytes: d.CacheBytes, CacheRatio: d.CacheRatio,
		DecodeTokens: d.DecodeTokens, ReplyTokens: len(d.OutputIDs), Text: d.Text,
	}
}

// about returns the description of the run.
func (c *Config) about() Run {
	out := c.About
	out.Format = formatVersion
	out.Settings = Settings{
		Window: c.Base.Window, Kernel: c.Base.Kernel, Pooling: c.Base.Pooling, Group: c.Base.Group,
		Sinks: c.Base.Sinks, Chunk: c.Base.Chunk, Seed: c.Base.Seed,
		CompressAt: cmp.Or(c.Place, decode.AtPrompt), DecodeEvery: c.DecodeEvery,
		KVBits: c.Format.Bits, KVGroup: c.Format.Group, KVResidual: c.Format.Residual, EqualBytes: c.EqualBytes && c.Format.Bits > 0,
	}
	for _, m := range c.Methods {
		out.Methods = append(out.Methods, m.Name)
	}
	out.Budgets = c.Budgets
	out.Plan = c.Plan()
	return out
}

// Plan returns the number of samples of each task and length.
func (c *Config) Plan() []Planned {
	var plan []Planned
	for i := range c.Samples {
		s := &c.Samples[i]
		last := len(plan) - 1
		if last < 0 || plan[last].Task != s.Task.Name || plan[last].Length != s.Length {
			plan = append(plan, Planned{Task: s.Task.Name, Suite: s.Task.Suite, Length: s.Length})
			last++
		}
		plan[last].Samples++
	}
	return plan
}

// answer returns the answer to a sample, without results.
func (r *Run) answer(s *tasks.Sample) Answer {
	return Answer{
		Task: s.Task.Name, Length: s.Length, Sample: s.Index, PromptTokens: len(s.Prompt.Tokens),
		Truncated:    s.Prompt.Truncated,
		PromptSHA256: hashOf(s), References: s.Prompt.References, Methods: r.Methods, Budgets: r.Budgets,
	}
}

// hashOf returns the hash of a prompt's text and answers.
func hashOf(s *tasks.Sample) string {
	text, err := json.Marshal([]any{s.Prompt.Text, s.Prompt.References, s.Classes, s.Task.Reply})
	if err != nil {
		panic(err) // strings and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// firstLine is the beginning of the first line of every file.
var firstLine = []byte(`{"attnscope_leaderboard":`)

// readOpen reads a file that may be missing or end with a part of a line, and returns the
// size of its whole lines.
func readOpen(path string) (*Board, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Board{}, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	b := &Board{}
	size := int64(0)
	r := bufio.NewReaderSize(f, 1<<16)
	reader := lineReader{board: b, path: path}
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			if size == 0 && !bytes.HasPrefix(line, firstLine[:min(len(line), len(firstLine))]) {
				return nil, 0, fmt.Errorf("%s: %w", path, errNoResults)
			}
			return b, size, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if err := reader.add(line); err != nil {
			return nil, 0, err
		}
		size += int64(len(line))
	}
}
