package snapkv

import (
	"fmt"
	"slices"
)

// Config says what is kept of a prompt's cache.
type Config struct {
	Window   int    // last prompt rows, which vote and are always kept
	Capacity int    // positions kept a head, window included
	Kernel   int    // of the pooling, odd; 1 = off
	Pooling  string // avgpool or maxpool
	// Group merges the votes of the query heads of a kv head: head (no merging,
	// every query head selects for itself), mean, max or sum.
	Group string

	Seed       uint64      // of random
	HeadScores [][]float64 // of headkv: [layer][head], not negative
	Sinks      int         // of streamingllm: first positions kept; 0 means 4
	Chunk      int         // of chunkkv: positions of a chunk; 0 means 20
}

// Presets are the settings that papers and programs use, PAPER: arXiv
// 2404.14469, the authors' repository, NVIDIA's kvpress, KVCache-Factory.
var Presets = map[string]Config{
	"class":           {Window: 64, Capacity: 320, Kernel: 5, Pooling: "avgpool", Group: "head"},  // SnapKVCluster's defaults
	"reference":       {Window: 32, Capacity: 2048, Kernel: 5, Pooling: "avgpool", Group: "head"}, // init_snapkv
	"longbench":       {Window: 32, Capacity: 4096, Kernel: 7, Pooling: "maxpool", Group: "head"}, // v1, section 5; repository's JSON files
	"paper":           {Window: 32, Capacity: 4096, Kernel: 7, Pooling: "maxpool", Group: "head"},
	"needle":          {Window: 16, Capacity: 1024, Kernel: 5, Pooling: "maxpool", Group: "head"},  // v1, needle in a haystack
	"commandr":        {Window: 64, Capacity: 4096, Kernel: 13, Pooling: "maxpool", Group: "head"}, // v2; its pooling is not stated
	"kvpress":         {Window: 64, Capacity: 1024, Kernel: 5, Pooling: "avgpool", Group: "mean"},
	"kvcache-factory": {Window: 32, Capacity: 2048, Kernel: 5, Pooling: "avgpool", Group: "mean"},
}

// PresetNames lists the presets in alphabetical order.
func PresetNames() []string {
	var list []string
	for name := range Presets {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Budget is the number of prefix positions kept a head.
func (c Config) Budget() int { return c.Capacity - c.Window }

// Check finds settings that make no sense. A prompt that is no longer than the
// window is shorter than the capacity too: it passes through.
func (c Config) Check() error {
	switch {
	case c.Window < 1:
		return fmt.Errorf("window %d: want 1 or more", c.Window)
	case c.Capacity <= c.Window:
		return fmt.Errorf("capacity %d with window %d: the capacity includes the window, so it must be larger", c.Capacity, c.Window)
	case c.Kernel < 1 || c.Kernel%2 == 0:
		return fmt.Errorf("kernel %d: want an odd number", c.Kernel)
	case c.Pooling != "avgpool" && c.Pooling != "maxpool":
		return fmt.Errorf("pooling %q: want avgpool or maxpool", c.Pooling)
	case !slices.Contains([]string{"head", "mean", "max", "sum"}, c.Group):
		return fmt.Errorf("group %q: want head, mean, max or sum", c.Group)
	}
	return nil
}

// Passthrough says that a prompt is shorter than the capacity: nothing is
// selected. A prompt of exactly the capacity goes through selection.
func (c Config) Passthrough(length int) bool { return length < c.Capacity }

// RanksLike says that two configs differ in the capacity at most: a method whose
// scores do not depend on it ranks alike.
func (c Config) RanksLike(o Config) bool {
	return c.Window == o.Window && c.Kernel == o.Kernel && c.Pooling == o.Pooling && c.Group == o.Group && c.Seed == o.Seed && c.Sinks == o.Sinks && c.Chunk == o.Chunk
}

// merge reduces the scores [heads][prefix] of each group of query heads.
func merge(scores [][]float64, kvHeads int, how string) ([][]float64, error) {
	if how == "head" {
		return scores, nil
	}
	group := len(scores) / kvHeads
	out := make([][]float64, kvHeads)
	for g := range out {
		out[g] = slices.Clone(scores[g*group])
		for _, s := range scores[g*group+1 : (g+1)*group] {
			for j, v := range s {
				if how == "max" {
					out[g][j] = max(out[g][j], v)
				} else {
					out[g][j] += v
				}
			}
		}
		if how == "mean" {
			for j := range out[g] {
				out[g][j] /= float64(group)
			}
		}
	}
	return out, nil
}
