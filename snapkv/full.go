package snapkv

// Full is the name of the method that keeps everything. It also names the full cache
// in results of compressed decoding.
const Full = "full"

// full keeps the whole prefix at every capacity.
var full = Method{
	Name:            Full,
	Source:          "baseline",
	Common:          true,
	Role:            Bound,
	Nested:          true,
	IgnoresCapacity: true,
	Score:           scoreRecent, // any order will do
}
