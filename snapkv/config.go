package snapkv

import (
	"fmt"
	"slices"
)

// Config says what is kept of a prompt's cache.
type Config struct {
	Window   int // last prompt rows, which vote and are always kept
	Capacity int // positions kept a head, window included
	Kernel   int // positions that votes are pooled over, odd; 1 turns pooling off
	Pooling  Pooling
	Group    Group

	Seed       uint64      // of random
	HeadScores [][]float64 // of headkv: [layer][head], not negative
	Sinks      int         // of streamingllm: first positions kept; 0 means 4
	Chunk      int         // of chunkkv: positions of a chunk; 0 means 20
}

// Presets are the settings that papers and programs use, PAPER: arXiv
// 2404.14469, the authors' repository, NVIDIA's kvpress, KVCache-Factory.
var Presets = map[string]Config{
	"class":           {Window: 64, Capacity: 320, Kernel: 5, Pooling: AvgPool, Group: GroupHead},  // SnapKVCluster's defaults
	"reference":       {Window: 32, Capacity: 2048, Kernel: 5, Pooling: AvgPool, Group: GroupHead}, // init_snapkv
	"longbench":       {Window: 32, Capacity: 4096, Kernel: 7, Pooling: MaxPool, Group: GroupHead}, // v1, section 5; repository's JSON files
	"paper":           {Window: 32, Capacity: 4096, Kernel: 7, Pooling: MaxPool, Group: GroupHead},
	"needle":          {Window: 16, Capacity: 1024, Kernel: 5, Pooling: MaxPool, Group: GroupHead},  // v1, needle in a haystack
	"commandr":        {Window: 64, Capacity: 4096, Kernel: 13, Pooling: MaxPool, Group: GroupHead}, // v2; its pooling is not stated
	"kvpress":         {Window: 64, Capacity: 1024, Kernel: 5, Pooling: AvgPool, Group: GroupMean},
	"kvcache-factory": {Window: 32, Capacity: 2048, Kernel: 5, Pooling: AvgPool, Group: GroupMean},
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
	}
	if err := c.Pooling.Check(); err != nil {
		return err
	}
	return c.Group.Check()
}

// Passthrough says that a prompt is shorter than the capacity: nothing is
// selected. A prompt of exactly the capacity goes through selection.
func (c Config) Passthrough(length int) bool { return length < c.Capacity }

// RanksLike says that two configs differ in the capacity at most: a method whose
// scores do not depend on it ranks alike.
func (c Config) RanksLike(o Config) bool {
	return c.Window == o.Window && c.Kernel == o.Kernel && c.Pooling == o.Pooling && c.Group == o.Group && c.Seed == o.Seed && c.Sinks == o.Sinks && c.Chunk == o.Chunk
}
