//go:build cuda

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
)

//go:embed torch.py
var torchScript string

// torch measures PyTorch's prefill of the same shapes, if PyTorch is installed.
func (r *report) torch(ctx context.Context, lengths []int, quick bool) {
	left := time.Duration(0)
	if at, ok := ctx.Deadline(); ok {
		left = time.Until(at)
	}
	if left < 20*time.Second {
		r.note("PyTorch for comparison: left out, no time")
		return
	}
	list := shapes
	if quick {
		list = []shape{tiny}
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
	text, err := json.Marshal(map[string]any{"shapes": all, "lengths": lengths, "seconds": left.Seconds() - 10})
	if err != nil {
		return
	}
	cmd := exec.CommandContext(ctx, "python3", "-c", torchScript, string(text))
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		r.note("PyTorch for comparison: left out, this machine has no PyTorch that can use the card (%v)", err)
		return
	}
	var result any
	if err := json.Unmarshal(out, &result); err != nil {
		r.note("PyTorch for comparison: %v", fmt.Errorf("its output is not JSON: %w", err))
		return
	}
	r.Torch = result
}
