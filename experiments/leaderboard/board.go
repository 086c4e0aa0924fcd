package leaderboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/tasks"
	"github.com/attnscope/attnscope/internal/jsonerr"
	"github.com/attnscope/attnscope/snapkv"
)

// formatVersion is the version of the files of results.
const formatVersion = 1

// maxSamples is the largest number of prompts of a task and length that a file may plan.
const maxSamples = 1_000_000

// Run describes answers that were made in one way.
type Run struct {
	Format      int             `json:"attnscope_leaderboard"` // formatVersion
	Model       string          `json:"model"`
	ModelSHA256 string          `json:"model_sha256"`
	Compute     string          `json:"compute"` // arithmetic
	Device      string          `json:"device"`
	Settings    Settings        `json:"settings"`
	Methods     []string        `json:"methods"`
	Budgets     []decode.Budget `json:"budgets"`
	Plan        []Planned       `json:"plan"` // all prompts, of all shards
	Program     string          `json:"program"`
	Command     []string        `json:"command"`
}

// Settings are the settings of all methods.
type Settings struct {
	Window  int            `json:"window"`
	Kernel  int            `json:"kernel"`
	Pooling snapkv.Pooling `json:"pooling"`
	Group   snapkv.Group   `json:"group"`
	Sinks   int            `json:"sinks"`
	Chunk   int            `json:"chunk"`
	Seed    uint64         `json:"seed"` // of the methods random and nacl, and of the prompts
	// CompressAt is where caches are compressed: with the question in view, or before it.
	CompressAt  decode.Place `json:"compress_at"`
	DecodeEvery int          `json:"decode_every,omitempty"` // reply tokens between two selections; 0: there is one
	KVBits      int          `json:"kv_bits,omitempty"`      // of the compressed caches; 0: they are not quantized
	// KVGroup and KVResidual are those of all quantized caches, also of the full ones whose
	// bytes budgets have.
	KVGroup    int  `json:"kv_group"`
	KVResidual int  `json:"kv_residual"`
	EqualBytes bool `json:"equal_bytes,omitempty"` // with KVBits, a budget stands for its bytes at 16 bits
}

// Planned is a number of prompts of a task and length.
type Planned struct {
	Task    string `json:"task"`
	Suite   string `json:"suite"`
	Length  int    `json:"length"`
	Samples int    `json:"samples"`
}

// Answer holds the replies to a prompt, the one from the full cache first.
type Answer struct {
	Task         string          `json:"task"`
	Length       int             `json:"length"` // tokens that were asked for, with the reply
	Sample       int             `json:"sample"`
	PromptTokens int             `json:"prompt_tokens"`
	Truncated    int             `json:"truncated,omitempty"` // tokens cut from the middle
	PromptSHA256 string          `json:"prompt_sha256"`       // of the text and the answers, the first 16 bytes
	References   []string        `json:"references"`
	Methods      []string        `json:"methods"` // that were asked for; some may be left out
	Budgets      []decode.Budget `json:"budgets"`
	Results      []Result        `json:"results"`
}

// Result is a reply from one cache.
type Result struct {
	Method        string        `json:"method"` // snapkv.Full for the full cache
	Budget        decode.Budget `json:"budget"`
	Capacity      int           `json:"capacity"` // positions per head
	Score         float64       `json:"score"`    // of the task, in [0, 1]
	KL            decode.Float  `json:"kl"`       // as in decode.Result, and so are the next ones
	Agreement     decode.Float  `json:"agreement"`
	AnswerLogProb decode.Float  `json:"answer_logprob"`
	CacheBytes    int64         `json:"cache_bytes"`
	CacheRatio    decode.Float  `json:"cache_ratio"`
	DecodeTokens  decode.Float  `json:"decode_tok_s"`
	ReplyTokens   int           `json:"reply_tokens"`
	Text          string        `json:"text"`
}

// Board holds the runs of some files. Runs of the same model and settings are one.
type Board struct {
	Runs []*BoardRun
}

// BoardRun is a run with its answers, in the order of the files.
type BoardRun struct {
	Run
	Answers []*Answer
	byKey   map[answerKey]*Answer
}

// answerKey identifies a prompt of a run.
type answerKey struct {
	task           string
	length, sample int
}

func (a *Answer) key() answerKey { return answerKey{a.Task, a.Length, a.Sample} }

// same reports whether two runs answer alike: by the same model, device, arithmetic and
// settings.
func (r *Run) same(o *Run) bool {
	return r.ModelSHA256 == o.ModelSHA256 && r.Compute == o.Compute && r.Device == o.Device && r.Settings == o.Settings
}

// find returns the run of the board that answers like r, or nil.
func (b *Board) find(r *Run) *BoardRun {
	for _, own := range b.Runs {
		if own.same(r) {
			return own
		}
	}
	return nil
}

// has reports whether there is an answer to a sample, by all methods and budgets of a run.
func (r *BoardRun) has(s *tasks.Sample, about *Run) bool {
	a := r.byKey[answerKey{s.Task.Name, s.Length, s.Index}]
	return a != nil && a.PromptSHA256 == hashOf(s) &&
		containsAll(a.Methods, about.Methods) && containsAll(a.Budgets, about.Budgets)
}

// containsAll reports whether list contains all of wanted.
func containsAll[T comparable](list, wanted []T) bool {
	return !slices.ContainsFunc(wanted, func(v T) bool { return !slices.Contains(list, v) })
}

// union returns the values of both lists, each once.
func union[T comparable](list, more []T) []T {
	out := slices.Clone(list)
	for _, v := range more {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// Read reads files of results and joins their runs. A part of a line at the end of a file,
// which a killed run leaves, does not count.
func Read(paths ...string) (*Board, error) {
	b := &Board{}
	for _, path := range paths {
		one, err := readExisting(path)
		if err != nil {
			return nil, err
		}
		for _, r := range one.Runs {
			own := b.addRun(r.Run)
			for _, a := range r.Answers {
				if err := own.add(a); err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
			}
		}
	}
	return b, nil
}

// readExisting reads a file that must hold a run.
func readExisting(path string) (*Board, error) {
	b, _, err := readOpen(path)
	if err == nil && len(b.Runs) == 0 {
		err = fmt.Errorf("%s: no results of attnscope leaderboard", path)
	}
	return b, err
}

var errNoResults = errors.New("no results of attnscope leaderboard: the first line of its files describes a run")

// lineReader reads the lines of a file.
type lineReader struct {
	board *Board
	path  string
	line  int
	run   *BoardRun // to which answers belong
}

// add reads a line.
func (l *lineReader) add(text []byte) error {
	l.line++
	fail := func(err error) error { return fmt.Errorf("%s: line %d: %w", l.path, l.line, err) }
	var head struct {
		Format *int `json:"attnscope_leaderboard"`
	}
	if err := json.Unmarshal(text, &head); err != nil && l.run == nil {
		return fail(errNoResults)
	} else if err != nil {
		return fail(jsonerr.Plain(text, err))
	}
	if head.Format != nil {
		r := Run{Settings: Settings{KVGroup: decode.DefaultFormat.Group, KVResidual: decode.DefaultFormat.Residual}}
		if err := json.Unmarshal(text, &r); err != nil {
			return fail(jsonerr.Plain(text, err))
		}
		if r.Format != formatVersion {
			return fail(fmt.Errorf("results of version %d: want %d", r.Format, formatVersion))
		}
		if slices.ContainsFunc(r.Plan, func(p Planned) bool { return p.Samples < 0 || p.Samples > maxSamples }) {
			return fail(fmt.Errorf("the plan has a number of samples outside 0 to %d", maxSamples))
		}
		l.run = l.board.addRun(r)
		return nil
	}
	if l.run == nil {
		return fail(errNoResults)
	}
	var a Answer
	if err := json.Unmarshal(text, &a); err != nil {
		return fail(jsonerr.Plain(text, err))
	}
	if len(a.Results) == 0 || a.Results[0].key() != fullCache {
		return fail(errors.New("the first result of an answer is not that of the full cache"))
	}
	if err := l.run.add(&a); err != nil {
		return fail(err)
	}
	return nil
}

// addRun adds a run to the board, or joins it with one that answers alike.
func (b *Board) addRun(r Run) *BoardRun {
	own := b.find(&r)
	if own == nil {
		own = &BoardRun{Run: r, byKey: map[answerKey]*Answer{}}
		own.Plan = nil
		b.Runs = append(b.Runs, own)
	}
	own.Methods = union(own.Methods, r.Methods)
	own.Budgets = union(own.Budgets, r.Budgets)
	for _, p := range r.Plan {
		at := slices.IndexFunc(own.Plan, func(o Planned) bool { return o.Task == p.Task && o.Length == p.Length })
		if at < 0 {
			own.Plan = append(own.Plan, p)
		} else {
			own.Plan[at].Samples = max(own.Plan[at].Samples, p.Samples)
		}
	}
	return own
}

// add adds an answer, or joins it with one to the same prompt: it has further methods and
// budgets. Two different replies from one cache are an error, because one of the files must
// be of another program or machine.
func (r *BoardRun) add(a *Answer) error {
	own := r.byKey[a.key()]
	if own == nil {
		r.byKey[a.key()] = a
		r.Answers = append(r.Answers, a)
		return nil
	}
	if own.PromptSHA256 != a.PromptSHA256 {
		return fmt.Errorf("%s, length %d, sample %d: two different prompts of one run: "+
			"they were made from other files or by another program", a.Task, a.Length, a.Sample)
	}
	for _, result := range a.Results {
		at := slices.IndexFunc(own.Results, func(o Result) bool { return o.key() == result.key() })
		switch {
		case at < 0:
			own.Results = append(own.Results, result)
		case own.Results[at].Text != result.Text:
			return fmt.Errorf("%s, length %d, sample %d, %s at budget %s: two different replies of one run: "+
				"they are of another program or processor", a.Task, a.Length, a.Sample, result.Method, result.Budget)
		}
	}
	own.Methods = union(own.Methods, a.Methods)
	own.Budgets = union(own.Budgets, a.Budgets)
	return nil
}

// Missing returns how many prompts of its plan a run has not answered, and how many the plan
// has.
func (r *BoardRun) Missing() (missing, planned int) {
	for _, p := range r.Plan {
		missing += p.Samples
		planned += p.Samples
		for _, a := range r.Answers {
			if a.Task == p.Task && a.Length == p.Length && a.Sample >= 0 && a.Sample < p.Samples {
				missing--
			}
		}
	}
	return missing, planned
}

// Write writes the runs and their answers as a file of results.
func (b *Board) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, r := range b.Runs {
		if err := enc.Encode(&r.Run); err != nil {
			return err
		}
		for _, a := range r.Answers {
			if err := enc.Encode(a); err != nil {
				return err
			}
		}
	}
	return nil
}
