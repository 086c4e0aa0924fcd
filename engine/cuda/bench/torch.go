//go:build cuda

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
)

//go:embed torch.py
var torchScript string

// torchResults is what torch.py prints.
type torchResults struct {
	Version string        `json:"version"`
	Device  string        `json:"device"`
	Results []torchResult `json:"results"`
}

type torchResult struct {
	Shape   string  `json:"shape"`
	Tokens  int     `json:"tokens"`
	What    string  `json:"what"` // flash, cudnn: attention of one layer; sdpa, eager: a prefill
	Seconds float64 `json:"seconds,omitempty"`
	Failed  string  `json:"failed,omitempty"`
}

// torchMeasures maps what torch.py measures to measures.
var torchMeasures = map[string]judge.Measure{
	"flash": judge.TorchFlash,
	"cudnn": judge.TorchCudnn,
	"sdpa":  judge.TorchPrefill,
	"eager": judge.TorchEagerRows,
}

// torch measures PyTorch's attention and prefill of the same shapes, if PyTorch is installed
// and can use the card.
func (r *report) torch(ctx context.Context, o *options) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	lengths, err := o.lengths()
	if err != nil {
		return err
	}
	type asked struct {
		Name  string  `json:"name"`
		Theta float64 `json:"theta"`
		Sizes any     `json:"sizes"`
	}
	var all []asked
	for _, s := range list {
		all = append(all, asked{s.name, s.theta, s.sizes})
	}
	left := o.limit
	if at, ok := ctx.Deadline(); ok {
		left = time.Until(at)
	}
	text, err := json.Marshal(map[string]any{"shapes": all, "lengths": lengths, "seconds": left.Seconds() - 10})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "python3", "-c", torchScript, string(text))
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("the python3 of the search path has no PyTorch that can use the card (%w)", err)
	}
	r.Torch = &torchResults{}
	if err := json.Unmarshal(out, r.Torch); err != nil {
		return fmt.Errorf("PyTorch's output is not JSON: %w", err)
	}
	r.torchValues(list)
	return nil
}

// torchValues turns seconds into rates.
func (r *report) torchValues(list []shape) {
	for _, t := range r.Torch.Results {
		for i := range list {
			s := &list[i]
			if s.name != t.Shape || t.Seconds <= 0 {
				continue
			}
			operations := s.attention(t.Tokens)
			if m := torchMeasures[t.What]; m == judge.TorchFlash || m == judge.TorchCudnn {
				operations /= float64(s.sizes.Layers)
			} else {
				operations += s.products(t.Tokens)
			}
			r.add(torchMeasures[t.What], t.Shape, t.Tokens, operations/t.Seconds/1e12)
		}
	}
}
