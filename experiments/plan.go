package experiments

import (
	"errors"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/forecast"
)

// Plan lists the work of experiments without running them, and predicts how long it takes
// on a machine with the given rates.
type Plan struct {
	Rates   cpu.Rates
	Weights int64 // bytes of the packed weights
	Steps   []PlanStep
}

// PlanStep is one capture, or the decoding of one set of prompts from full and
// compressed caches.
type PlanStep struct {
	Experiment   string
	Step         string
	Prompts      int
	PromptTokens int
	ReplyTokens  int
	Bytes        int     // of the dump, estimated
	Seconds      float64 // estimated, at the rates of the plan
	Done         bool    // the results exist already
}

// errPlanned ends a recipe whose work was only planned.
var errPlanned = errors.New("planned, not run")

// Seconds returns the estimated time of all steps that are not done. A capture that
// several experiments share counts once.
func (p *Plan) Seconds() float64 {
	sum := 0.0
	captured := map[string]bool{}
	for _, s := range p.Steps {
		if s.Done || captured[s.Step] {
			continue
		}
		captured[s.Step] = s.captures()
		sum += s.Seconds
	}
	return sum
}

// captures reports whether the step records a dump.
func (s PlanStep) captures() bool { return s.Bytes > 0 }

// Table makes a table of the steps.
func (p *Plan) Table() *table.Table {
	return tableOf(
		[]string{"experiment", "step", "prompts", "prompt_tokens", "reply_tokens", "bytes", "seconds", "state"},
		p.Steps,
	)
}

func (s PlanStep) cells() []any {
	state := "to do"
	if s.Done {
		state = "done"
	}
	return []any{s.Experiment, s.Step, s.Prompts, s.PromptTokens, s.ReplyTokens, s.Bytes, s.Seconds, state}
}

// planCapture notes how much work a capture would be, and whether it is done. It
// returns errPlanned, or the error that the capture would return for a prompt.
func (l *Lab) planCapture(name string, cfg *capture.Config) error {
	if err := cfg.Check(&l.Config); err != nil {
		return err
	}
	step := l.planned("capture "+name, cfg)
	step.Bytes = int(forecast.Capture(cfg, l.Config, l.Threads).Disk)
	if r, err := dumps.Open(cfg.Out); err == nil {
		step.Done = r.Complete() && r.Header().Manifest.PromptsSHA256 == cfg.Header.Manifest.PromptsSHA256
		r.Close()
	}
	l.Plan.Steps = append(l.Plan.Steps, step)
	return errPlanned
}

// planDecode notes how much work it would be to decode a reply to each prompt from
// the given number of caches after one prefill. store holds earlier results; nil
// means none. It returns errPlanned.
func (l *Lab) planDecode(list []prompts.Prompt, caches, reply int, store *resultStore) error {
	cfg := capture.Config{
		Prompts: list,
		Header:  dumps.Header{Plan: dumps.Plan{MaxNewTokens: reply * caches}},
	}
	step := l.planned("decode", &cfg)
	step.Done = store != nil && store.complete(list)
	l.Plan.Steps = append(l.Plan.Steps, step)
	return errPlanned
}

// planned estimates the tokens and the time of a capture.
func (l *Lab) planned(name string, cfg *capture.Config) PlanStep {
	need := forecast.Capture(cfg, l.Config, l.Threads)
	return PlanStep{
		Experiment:   l.name,
		Step:         name,
		Prompts:      need.Prompts,
		PromptTokens: need.PromptTokens,
		ReplyTokens:  need.ReplyTokens,
		Seconds:      need.Pace(l.Plan.Rates, l.Plan.Weights, string(cpu.F32)).Seconds,
	}
}
