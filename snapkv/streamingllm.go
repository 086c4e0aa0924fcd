package snapkv

// defaultSinks is the number of first positions that streamingllm keeps if
// Config.Sinks is 0, as in the paper.
const defaultSinks = 4

// streamingLLM keeps the first Config.Sinks positions, then the last ones. Positions
// keep their rotations here; the original assigns them anew.
//
//	score[h, j] = 2·length - j  if j < sinks, otherwise j
//
// Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks",
// arXiv:2309.17453.
var streamingLLM = Method{
	Name:   "streamingllm",
	Source: "arXiv:2309.17453",
	Nested: true,
	Alike:  true,
	Score:  scoreStreamingLLM,
}

func scoreStreamingLLM(l *Layer, c Config) ([][]float64, error) {
	sinks := c.Sinks
	if sinks == 0 {
		sinks = defaultSinks
	}
	score := positions(l, c)
	for j := range min(sinks, len(score)) {
		score[j] = float64(2*l.Len - j)
	}
	return forAllHeads(score, l.Heads), nil
}
