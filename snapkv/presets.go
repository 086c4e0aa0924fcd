package snapkv

import (
	"slices"

	"github.com/attnscope/attnscope/internal/words"
)

// Default has the settings of every selection in tables, figures and pages, unless others
// are asked for. Window, kernel, pooling and group are those of init_snapkv in the
// authors' repository; the paper measures its hit rates with the same window (version
// 1, section 3). docs/METHODS.md says why.
var Default = Config{Window: 32, Capacity: 320, Kernel: 5, Pooling: AvgPool, Group: GroupHead}

// Preset is a named Config.
type Preset struct {
	Name   string
	Source string // where the settings come from
	Config Config
}

// Presets lists [Default] and the settings of papers and programs: both versions of
// arXiv:2404.14469, the authors' repository, KVCache-Factory and NVIDIA's kvpress.
var Presets = []Preset{
	{"default", "reference, with a smaller capacity", Default},
	{
		"reference", "authors' code, init_snapkv",
		Config{Window: 32, Capacity: 2048, Kernel: 5, Pooling: AvgPool, Group: GroupHead},
	},
	{
		"class", "authors' code, SnapKVCluster",
		Config{Window: 64, Capacity: 320, Kernel: 5, Pooling: AvgPool, Group: GroupHead},
	},
	{"paper", "paper version 1, section 5: LongBench", longBench},
	{"longbench", "another name of paper", longBench},
	{
		"needle", "paper version 1: needle in a haystack",
		Config{Window: 16, Capacity: 1024, Kernel: 5, Pooling: MaxPool, Group: GroupHead},
	},
	{ // The paper does not state the pooling.
		"commandr", "paper version 2: Command-R",
		Config{Window: 64, Capacity: 4096, Kernel: 13, Pooling: MaxPool, Group: GroupHead},
	},
	{
		"kvcache-factory", "KVCache-Factory",
		Config{Window: 32, Capacity: 2048, Kernel: 5, Pooling: AvgPool, Group: GroupMean},
	},
	{
		"kvpress", "NVIDIA's kvpress",
		Config{Window: 64, Capacity: 1024, Kernel: 5, Pooling: AvgPool, Group: GroupMean},
	},
}

// longBench holds the settings of the JSON files of the authors' repository, which are
// the paper's.
var longBench = Config{Window: 32, Capacity: 4096, Kernel: 7, Pooling: MaxPool, Group: GroupHead}

// PresetNames returns the names of [Presets] in their order.
func PresetNames() []string {
	names := make([]string, len(Presets))
	for i, p := range Presets {
		names[i] = p.Name
	}
	return names
}

// FindPreset returns the settings of a preset, or an error if there is none with that
// name.
func FindPreset(name string) (Config, error) {
	i := slices.IndexFunc(Presets, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Config{}, words.Check("preset", name, PresetNames())
	}
	return Presets[i].Config, nil
}
