package cuda

import (
	"context"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/snapkv"
)

// Sizes are the numbers of a decoder that its memory follows from.
type Sizes struct {
	Layers, Hidden         int
	Intermediate           int // channels of a dense feed-forward
	Heads, KVHeads         int
	HeadDim, ValueDim      int
	Vocab                  int
	Experts, TopExperts    int // of a mixture's feed-forward; 0: dense
	ExpertSize, SharedSize int // channels of an expert, and of the one that every token goes through
	SparseLayers           int // layers with a mixture; the others are dense
	TiedHead               bool
	Plain                  bool // the feed-forward has no gate: down(act(up(x)))
}

// Decoder describes a model: its sizes, its constants, and the weights of its
// layers, read one layer at a time. What a family does differently is said by
// what is there and what is nil; nothing here knows a family's name.
type Decoder struct {
	Sizes
	NormEps       float32
	Scale         float32 // of the scores
	SoftCap       float32 // of the scores; 0 = off
	LogitCap      float32 // of the logits; 0 = off
	EmbedScale    float32
	ResidualScale float32 // of what a block adds
	LogitScale    float32 // the logits are divided by it
	ClipQKV       float32 // bound of queries, keys and values before the rotation; 0 = off
	Activation    string  // silu, gelu_tanh, gelu, relu or relu2
	LayerNorm     bool    // norms take the mean away and may have biases
	NoPreNorms    bool    // blocks read their input as it is
	Parallel      bool    // attention and feed-forward read the same state
	WideQKNorm    bool    // queries and keys are normalised over all heads together
	AdjacentPairs bool    // RoPE turns channels 2i and 2i+1; i and i+half else
	Embed, Head   tensor.Tensor
	Places        *tensor.Tensor // embeddings of positions, added to the tokens'; nil: none
	Norm          []float32      // of the last layer's output
	NormBias      []float32
	HeadBias      []float32
	Layer         func(i int) (*Layer, error)
	// Turns are the cosines and sines of positions pos0 to pos0+n-1 for a layer's
	// kind of rotation, in a sequence of some length: kind 0 turns nothing, 1 and
	// 2 are the model's own.
	Turns func(kind, length, pos0, n int) Turns
	// Route picks a token's experts from the router's logits, [experts].
	Route func(logits []float32, take func(expert int, weight float32))
}

// Turns are cosines and sines, [n, half] each.
type Turns struct {
	Cos, Sin []float32
	Half     int
}

// Layer is one layer's weights; a norm or bias that the family does not have is
// nil.
type Layer struct {
	AttnNorm, FFNNorm         []float32
	AttnNormBias, FFNNormBias []float32
	AttnPostNorm, FFNPostNorm []float32
	QNorm, KNorm              []float32
	QKVBias, OutBias          []float32
	GateUpBias, DownBias      []float32
	QKV, Out, GateUp, Down    Matrix // GateUp is up alone where there is no gate
	Router                    Matrix
	Experts                   []Expert
	Shared                    *Expert // the expert that every token goes through, by SharedGate's sigmoid
	SharedGate                []float32
	Window                    int // a query at p sees keys > p-Window; 0: all
	Rope                      int // kind of rotation, as Decoder.Turns takes it
}

// Expert is one feed-forward of a mixture.
type Expert struct{ GateUp, Down Matrix }

// Matrix is a weight [out, in], of tensors that stand under one another.
type Matrix []tensor.Tensor

// Options say how a model is run.
type Options struct {
	Compute string            // f32, bf16 or f16
	Chunk   int               // tokens that pass a layer together; 0: 2048
	Log     func(line string) // what a user should know; may be nil
}

// Model is a decoder whose weights lie on a card. Its sequences must not run at
// the same time.
type Model interface {
	NewSequence() Sequence
	WeightBytes() int64
	PeakBytes() int64 // most of the card's memory that has been in use at once
	Close()
}

// Sequence is what a card holds of a sequence under way.
type Sequence interface {
	Len() int
	Forward(ctx context.Context, tokens []int32, p Pass) error
	// Keys and Values of n positions, [n, kvHeads*dim], of an uncompressed layer.
	Keys(layer, pos, n int) ([]float32, error)
	Values(layer, pos, n int) ([]float32, error)
	// Select chooses slots of an uncompressed layer as SnapKV does, by the votes of
	// its last n queries, q [n, heads*dim] as States has shown them: for each pick
	// [query head or kv head], ascending, the window's own last. It fails with a
	// *MemoryError where the card has no room for the weights.
	Select(layer int, q []float32, n int, picks []Pick) ([][][]int32, error)
	// Compress keeps some slots: [layer][kv head or query head], ascending.
	Compress(keep [][][]int32) (Sequence, error)
	Truncate(n int)
	Reserve(n int) error
	CacheBytes() int64
	Close()
}

// Pick is a selection that SnapKV makes (Li et al., arXiv:2404.14469, listing 1):
// the budget positions before the window whose pooled votes are the largest, of
// equal ones the lower.
type Pick struct {
	Window  int // last queries, which vote and whose slots are kept
	Budget  int // slots kept of each head beside them
	Kernel  int // of the pooling, odd; 1 = off
	Pooling snapkv.Pooling
	Group   snapkv.Group // GroupHead: each query head chooses; else the kv heads do, by the merged votes of their query heads
}

// Pass says what a Forward hands out. Its functions are called one at a time
// for Logits and Hidden, from several goroutines at once for the rest.
type Pass struct {
	LogitsFrom int // first token whose logits are wanted; >= len(tokens): none
	Length     int // of the sequence that the tokens are a part of, for Turns; 0: up to the last of them
	Step       int // most tokens at a time; 0: as many as fit
	Logits     func(row int, logits []float32)
	Hidden     func(layer int, hidden []float32) // the last token's state after each layer; may be nil
	// Record is what is recorded of a layer's positions pos0 to pos0+n-1; nil:
	// nothing is.
	Record func(layer, pos0, n int) Record
	Rows   func(layer int, r *Rows)
	// Sums are weights added up over the queries of one window that were in this
	// pass, or over all of them (window -1), for keys 0 to len(part)-1, in units
	// of 2^-40; they come in several parts. Done says that those of a layer's
	// queries below end have been shown, but for window -1, which comes at the
	// end of the pass.
	Sums func(layer, head, window int, part []int64)
	// Whole has the sums of a window whose queries a card has added up at once, for
	// keys 0 to len(sums)-1, rounded to Record.SumBits.
	Whole func(layer, head, window int, sums []float32)
	// Cells are the largest weights of the pass, as Record.Side asked for.
	Cells func(layer, head int, cells []float32)
	Done  func(layer, end int)
	// States has the queries of n positions from pos0 on, after the rotation; k
	// and v are nil.
	States func(layer, pos0, n int, q, k, v []float32)
}

// Record says what is recorded of a layer; a first position past the last means
// none.
type Record struct {
	Rows   int   // first position whose weights are wanted
	LSE    int   // first position whose log-sum-exps are wanted, of all heads
	States int   // first position whose query is wanted
	Heads  []int // query heads of Rows, Sums and Cells; nil: all
	// Halves asks for Rows as halves: by float32 exponent, how many low bits are
	// rounded off, to the nearest and of two to the even. Nil: as float32.
	Halves *[256]uint8
	Sums   bool // sums over all queries
	// Query windows whose sums are wanted apart: window w holds the positions
	// from WindowStart + w*WindowSize on.
	WindowStart, WindowSize, Windows int
	SumBits                          int // mantissa bits of Whole's sums; 0: all windows' sums come by Sums
	// A pooled picture: the largest weight of the queries and keys whose
	// position*Side/Prompt is equal to a cell's. Side 0: none.
	Side, Prompt int
}

// Rows are some queries of one head, valid during the call that shows them.
type Rows struct {
	Head    int
	Pos0    int       // position of the first row
	Rows    int       //
	Keys    int       // keys from 0 on that the last row may see
	Stride  int       // between rows of Weights
	Weights []float32 // row i: Weights[i*Stride:][:Keys], zero where not visible; nil: Halves or only LSE
	Halves  []uint16  // the same as halves, where Record asked for them
	LSE     []float32
}
