package snapkv

// knorm keeps the keys with the smallest norms.
//
//	score[h, j] = -|K[j]|
//
// Source: Devoto et al., "A Simple and Effective L2 Norm-Based Strategy for KV Cache
// Compression", arXiv:2406.11430.
var knorm = Method{
	Name:   "knorm",
	Source: "arXiv:2406.11430",
	Common: true,
	Needs:  Needs{Keys: true},
	Nested: true,
	Alike:  true,
	Score:  scoreKnorm,
}

func scoreKnorm(l *Layer, c Config) ([][]float64, error) {
	return byKVHead(l, c, func(j, kv int) float64 { return -norm(l.key(j, kv)) }), nil
}
