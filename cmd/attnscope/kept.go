package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/snapkv"
)

// keepFile adds to the selections, as their first method, the positions in the file of
// --kept. Without --method, there is no other. Window and capacity of all selections become
// those of the file, unless flags give them. It returns the id of the prompt.
func (s *selections) keepFile(c *cli.Context) (prompt string, err error) {
	path := c.String("kept")
	if c.Args().Len() != 1 || len(s.configs) != 1 {
		return "", usagef("snapkv: --kept takes one dump, window, kernel, pooling and capacity")
	}
	r, err := openDump(c, c.Args().First())
	if err != nil {
		return "", err
	}
	defer r.Close()
	f, err := checkpoint.ReadSafetensors(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	id := c.String("prompt")
	if id == "" {
		id = f.Metadata["prompt"]
	}
	if id == "" && len(r.Prompts()) > 1 {
		return "", hintf(usagef("%s does not name its prompt, and %s has %d", path, r.Path(), len(r.Prompts())),
			"choose one with --prompt ID")
	}
	at, err := promptIndex(r, id)
	if err != nil {
		return "", err
	}
	cfg := &s.configs[0]
	if window, err := strconv.Atoi(f.Metadata["window"]); err == nil && !c.IsSet("window") && window > 0 {
		cfg.Window = window
	}
	keep := map[int][][]int32{}
	kept, heads := 0, 0
	for _, layer := range r.Header().Plan.Layers {
		lists, err := positionsOf(f, layer)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		keep[layer] = lists
		heads += len(lists)
		shape := r.Header().Model.Layer(layer)
		if len(lists) == shape.KVHeads && shape.KVHeads < shape.Heads && !cfg.Group.Merges() {
			cfg.Group = snapkv.GroupMean
		}
		for _, list := range lists {
			for _, j := range list {
				if int(j) < r.Prompts()[at].PromptTokens-cfg.Window {
					kept++
				}
			}
		}
	}
	if !c.IsSet("capacity") {
		mean := int(math.Round(float64(kept) / float64(max(1, heads))))
		cfg.Capacity = min(cfg.Window+max(1, mean), r.Prompts()[at].PromptTokens)
	}
	name := f.Metadata["method"]
	if _, err := snapkv.FindMethod(name); err == nil || name == "" {
		name = "given" // not the name of a method, which may have rows of its own
	}
	others := s.methods
	s.methods = []snapkv.Method{snapkv.Given(name, keep)}
	if c.IsSet("method") {
		s.methods = append(s.methods, others...)
	}
	return r.Prompts()[at].ID, nil
}

// positionsOf reads indices.LAYER [heads, longest], as --indices writes it: lists of
// positions, padded with -1.
func positionsOf(f *checkpoint.File, layer int) ([][]int32, error) {
	name := fmt.Sprintf("indices.%d", layer)
	t, ok := f.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("no %s: it has %s", name, strings.Join(f.Names(), ", "))
	}
	if len(t.Shape) != 2 {
		return nil, fmt.Errorf("%s has the shape %v, want heads and positions", name, t.Shape)
	}
	flat, err := t.Int32()
	if err != nil {
		return nil, err
	}
	lists := make([][]int32, t.Shape[0])
	for h := range lists {
		for _, j := range flat[h*t.Shape[1]:][:t.Shape[1]] {
			if j != -1 {
				lists[h] = append(lists[h], j)
			}
		}
	}
	return lists, nil
}
