package snapkv

// defaultChunk is the number of positions per chunk if Config.Chunk is 0.
const defaultChunk = 20

// chunkKV keeps whole chunks of Config.Chunk positions, those with the highest mean
// vote over their positions and all heads of the layer. All heads keep the same
// positions. The budget may cut the last chunk that is kept.
//
//	score[h, j] = mean of Σ vote[g, x] over the heads g, for positions x in the chunk of j
//
// Source: Liu et al., "ChunkKV: Semantic-Preserving KV Cache Compression for Efficient
// Long-Context LLM Inference", arXiv:2502.00299.
var chunkKV = Method{
	Name:    "chunkkv",
	Source:  "arXiv:2502.00299",
	Common:  true,
	Needs:   Needs{Rows: true},
	Scope:   ScopeLayer,
	Nested:  true,
	Alike:   true,
	ByChunk: true,
	Score:   scoreChunkKV,
}

func scoreChunkKV(l *Layer, c Config) ([][]float64, error) {
	size := c.Chunk
	if size == 0 {
		size = defaultChunk
	}
	score := make([]float64, l.Len-c.Window)
	for _, vote := range votes(l, c) {
		for j, v := range vote {
			score[j] += v
		}
	}
	for lo := 0; lo < len(score); lo += size {
		hi := min(len(score), lo+size)
		mean := 0.0
		for _, v := range score[lo:hi] {
			mean += v / float64(hi-lo)
		}
		for j := lo; j < hi; j++ {
			score[j] = mean
		}
	}
	return forAllHeads(score, l.Heads), nil
}
