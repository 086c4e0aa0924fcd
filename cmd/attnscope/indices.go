package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// runIndices is snapkv --indices: it writes the positions that a method keeps of
// one prompt.
func runIndices(c *cli.Context, s selections) error {
	out := c.String("indices")
	if c.Args().Len() != 1 || len(s.configs) != 1 || len(s.methods) != 1 {
		return usagef("snapkv: --indices takes one dump, method, window, kernel, pooling and capacity")
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	s.fitDumps(c)
	r, err := openDump(c, c.Args().First())
	if err != nil {
		return err
	}
	defer r.Close()
	if n := len(r.Prompts()); n > 1 && c.String("prompt") == "" {
		return hintf(usagef("%s has %d prompts", r.Path(), n), "choose one with --prompt ID")
	}
	prompt, err := promptIndex(r, c.String("prompt"))
	if err != nil {
		return err
	}
	cfg := s.configs[0]
	method := s.methods[0]
	layers, err := analysis.Indices(c.Context, r, prompt, method, cfg)
	if err != nil {
		return err
	}
	var list []tensor.Tensor
	for i, keep := range layers {
		ragged := method.ShareHeads != nil
		for _, positions := range keep {
			ragged = ragged || len(positions) != cfg.Budget()
		}
		list = append(list, indexTensors(r.Header().Plan.Layers[i], keep, ragged)...)
	}
	p := &r.Prompts()[prompt]
	return checkpoint.WriteSafetensors(out, list, map[string]string{
		"format": "attnscope indices", "model": r.Header().Model.ID, "prompt": p.ID, "method": method.Name,
		"window": fmt.Sprint(cfg.Window), "capacity": fmt.Sprint(cfg.Capacity), "kernel": fmt.Sprint(cfg.Kernel),
		"pooling": cfg.Pooling.String(), "group": cfg.Group.String(),
		"passthrough": fmt.Sprint(cfg.Passthrough(p.PromptTokens)),
	})
}

// indexTensors makes indices.LAYER [heads, longest], padded with -1. If heads may
// keep different numbers of positions, counts.LAYER [heads] has the numbers.
func indexTensors(layer int, keep [][]int32, ragged bool) []tensor.Tensor {
	longest := 0
	for _, positions := range keep {
		longest = max(longest, len(positions))
	}
	counts := make([]int32, len(keep))
	flat := make([]int32, 0, longest*len(keep))
	for head, positions := range keep {
		counts[head] = int32(len(positions))
		flat = append(flat, positions...)
		for range longest - len(positions) {
			flat = append(flat, -1)
		}
	}
	list := []tensor.Tensor{tensor.FromInt32(fmt.Sprintf("indices.%d", layer), flat, len(keep), longest)}
	if ragged {
		list = append(list, tensor.FromInt32(fmt.Sprintf("counts.%d", layer), counts, len(keep)))
	}
	return list
}
