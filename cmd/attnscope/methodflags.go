package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/snapkv"
)

// methodFlags say which selections are made; snapkv, generate and advise share
// them.
var methodFlags = []cli.Flag{
	&cli.StringFlag{Name: "method", Value: "snapkv", Usage: "comma `LIST` of methods, or all: " + strings.Join(snapkv.MethodNames(), ", ")},
	&cli.IntSliceFlag{Name: "capacity", Usage: "positions kept a head, window included, `N` (repeatable; default: the preset's)"},
	&cli.IntSliceFlag{Name: "window", Usage: "observation window, `ROWS` (repeatable; default: the preset's)"},
	&cli.IntSliceFlag{Name: "kernel", Usage: "positions that votes are pooled over, odd `N`; 1: off (repeatable; default: the preset's)"},
	&cli.StringFlag{Name: "pooling", Usage: "comma `LIST` of avgpool, maxpool (default: the preset's)"},
	&cli.StringFlag{Name: "group", Usage: "votes of a kv head's query heads: head (not merged), mean, max or sum (default: the preset's)"},
	&cli.StringFlag{Name: "preset", Value: "class", Usage: "settings the flags above override: " + strings.Join(snapkv.PresetNames(), ", ")},
	&cli.StringFlag{Name: "head-scores", Usage: "`FILE.json` for headkv: [[score of each head] of each layer]"},
	&cli.IntFlag{Name: "sinks", Value: 4, Usage: "first positions that streamingllm keeps, `N`"},
	&cli.IntFlag{Name: "chunk", Value: 20, Usage: "positions of a chunk of chunkkv, `N`"},
}

// selections are the methods and settings that the flags ask for.
type selections struct {
	methods []snapkv.Method
	configs []snapkv.Config
	all     bool // --method all: what cannot be judged is left out
}

// selectionsOf reads methodFlags.
func selectionsOf(c *cli.Context) (selections, error) {
	var s selections
	base, ok := snapkv.Presets[c.String("preset")]
	if !ok {
		return s, usagef("--preset %q: want one of %s", c.String("preset"), strings.Join(snapkv.PresetNames(), ", "))
	}
	names := strings.Split(c.String("method"), ",")
	for i, name := range names {
		name = strings.TrimSpace(name)
		if name == "all" {
			s.methods, s.all = snapkv.Methods, true
			break
		}
		m, err := snapkv.FindMethod(name)
		if err != nil {
			return s, usagef("--%v", err)
		}
		if !slices.Contains(names[:i], name) {
			s.methods = append(s.methods, m)
		}
	}
	ints := func(name string, preset int) []int {
		if c.IsSet(name) {
			return c.IntSlice(name)
		}
		return []int{preset}
	}
	if c.IsSet("group") {
		base.Group = snapkv.Group(c.String("group"))
	}
	poolings := []string{base.Pooling.String()}
	if c.IsSet("pooling") {
		poolings = strings.Split(c.String("pooling"), ",")
	}
	base.Seed, base.Sinks, base.Chunk = c.Uint64("seed"), c.Int("sinks"), c.Int("chunk")
	if base.Sinks < 1 || base.Chunk < 1 {
		return s, usagef("--sinks %d, --chunk %d: want 1 or more", base.Sinks, base.Chunk)
	}
	if path := c.String("head-scores"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return s, err
		}
		if err := json.Unmarshal(text, &base.HeadScores); err != nil {
			return s, fmt.Errorf("%s: want [[score of each head] of each layer]: %w", path, err)
		}
	}
	for _, window := range ints("window", base.Window) {
		for _, kernel := range ints("kernel", base.Kernel) {
			for _, pooling := range poolings {
				for _, capacity := range ints("capacity", base.Capacity) {
					cfg := base
					cfg.Window = window
					cfg.Kernel = kernel
					cfg.Pooling = snapkv.Pooling(strings.TrimSpace(pooling))
					cfg.Capacity = capacity
					if err := cfg.Check(); err != nil {
						return s, usagef("%v", err)
					}
					s.configs = append(s.configs, cfg)
				}
			}
		}
	}
	return s, nil
}
