package experiments

import (
	"errors"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
)

// PlanColumns are those of [Lab].Plan: bytes are of the dump, seconds and bytes
// are estimates.
var PlanColumns = []string{"experiment", "step", "prompts", "prompt_tokens", "reply_tokens", "bytes", "seconds", "state"}

// errPlanned ends a recipe whose work was only planned.
var errPlanned = errors.New("planned, not run")

// flops a thread makes a second, for estimates.
const flopsPerThread = 80e9

// planCapture notes what a capture would take, and what of it is there.
func (l *Lab) planCapture(name string, cfg *capture.Config) error {
	need := capture.Estimate(cfg, l.Config, l.Threads)
	state := "to do"
	if r, err := dumps.Open(cfg.Out); err == nil {
		if r.Complete() && r.Header().Manifest.PromptsSHA256 == cfg.Header.Manifest.PromptsSHA256 {
			state = "done"
		}
		r.Close()
	}
	l.Plan.Add(l.name, "capture "+name, need.Prompts, need.PromptTokens, need.ReplyTokens, int(need.Disk), need.FLOPs/flopsPerThread/float64(l.Threads), state)
	return errPlanned
}

// planDecode notes decoding from so many caches after one prefill; k is what is
// there of it, or nil.
func (l *Lab) planDecode(list []prompts.Prompt, caches, reply int, k *kept) error {
	state := "to do"
	if k != nil && k.complete(list) {
		state = "done"
	}
	cfg := capture.Config{Prompts: list, Header: dumps.Header{Plan: dumps.Plan{MaxNewTokens: reply * caches}}}
	need := capture.Estimate(&cfg, l.Config, l.Threads)
	l.Plan.Add(l.name, "decode", need.Prompts, need.PromptTokens, need.ReplyTokens, 0, need.FLOPs/flopsPerThread/float64(l.Threads), state)
	return errPlanned
}
