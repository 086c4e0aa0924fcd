package snapkv

import (
	"maps"
	"slices"
)

// Presets holds the settings of papers and programs: both versions of
// arXiv:2404.14469, the authors' repository, NVIDIA's kvpress and KVCache-Factory.
var Presets = map[string]Config{
	// The defaults of the class SnapKVCluster in the authors' repository.
	"class": {Window: 64, Capacity: 320, Kernel: 5, Pooling: AvgPool, Group: GroupHead},
	// init_snapkv in the authors' repository.
	"reference": {Window: 32, Capacity: 2048, Kernel: 5, Pooling: AvgPool, Group: GroupHead},
	// The paper, version 1, section 5, and the JSON files of the authors' repository.
	"longbench": {Window: 32, Capacity: 4096, Kernel: 7, Pooling: MaxPool, Group: GroupHead},
	"paper":     {Window: 32, Capacity: 4096, Kernel: 7, Pooling: MaxPool, Group: GroupHead},
	// The paper, version 1, needle in a haystack.
	"needle": {Window: 16, Capacity: 1024, Kernel: 5, Pooling: MaxPool, Group: GroupHead},
	// The paper, version 2, which does not state the pooling.
	"commandr":        {Window: 64, Capacity: 4096, Kernel: 13, Pooling: MaxPool, Group: GroupHead},
	"kvpress":         {Window: 64, Capacity: 1024, Kernel: 5, Pooling: AvgPool, Group: GroupMean},
	"kvcache-factory": {Window: 32, Capacity: 2048, Kernel: 5, Pooling: AvgPool, Group: GroupMean},
}

// PresetNames returns the names of the presets in alphabetical order.
func PresetNames() []string { return slices.Sorted(maps.Keys(Presets)) }
