package snapkv

// streamingLLM keeps the first Config.Sinks positions, then the last ones. Positions
// keep their rotations here; the original assigns them anew.
//
//	score[h, j] = 2·length - j  if j < sinks, otherwise j
//
// Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks",
// arXiv:2309.17453.
var streamingLLM = Method{
	Name:    "streamingllm",
	Source:  "arXiv:2309.17453",
	Common:  true,
	Nested:  true,
	Alike:   true,
	BySinks: true,
	Score:   scoreStreamingLLM,
}

func scoreStreamingLLM(l *Layer, c Config) ([][]float64, error) {
	score := positions(l, c)
	for j := range min(c.sinks(), len(score)) {
		score[j] = float64(2*l.Len - j)
	}
	return forAllHeads(score, l.Heads), nil
}
