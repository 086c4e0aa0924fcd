package cuda

import (
	"context"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/snapkv"
)

// Sizes are the sizes of a decoder. They determine its memory.
type Sizes struct {
	Layers, Hidden         int
	Intermediate           int // channels of a dense feed-forward
	Heads, KVHeads         int
	HeadDim, ValueDim      int
	Vocab                  int
	Experts, TopExperts    int // of a mixture's feed-forward; 0: dense
	ExpertSize, SharedSize int // channels of an expert, and of the shared expert, which every token goes through
	SparseLayers           int // layers with a mixture; the others are dense
	TiedHead               bool
	Plain                  bool // the feed-forward has no gate: down(act(up(x)))
}

// Decoder describes a model: its sizes, its constants, and the weights of its layers,
// which are read one layer at a time. The constants and the nil weights express how
// families differ; the package does not refer to families by name.
type Decoder struct {
	Sizes
	NormEps       float32
	Scale         float32 // factor of the scores
	SoftCap       float32 // of the scores; 0 = off
	LogitCap      float32 // of the logits; 0 = off
	EmbedScale    float32
	ResidualScale float32 // factor of the output that a block adds
	LogitScale    float32 // divisor of the logits
	ClipQKV       float32 // bound of queries, keys and values before the rotation; 0 = off
	Activation    string  // silu, gelu_tanh, gelu, relu or relu2
	LayerNorm     bool    // norms subtract the mean and may have biases
	NoPreNorms    bool    // the inputs of blocks are not normalized
	Parallel      bool    // attention and feed-forward read the same state
	WideQKNorm    bool    // queries and keys are normalized over all heads together
	AdjacentPairs bool    // RoPE rotates channels 2i and 2i+1; else i and i+half
	Embed, Head   tensor.Tensor
	Places        *tensor.Tensor // embeddings of positions, added to the tokens'; nil: none
	Norm          []float32      // of the output of the last layer
	NormBias      []float32
	HeadBias      []float32
	Layer         func(i int) (*Layer, error)
	// Turns returns the cosines and sines of positions pos0 to pos0+n-1 for a layer's kind
	// of rotation, in a sequence of length tokens. Kind 0 rotates nothing; 1 and 2 are the
	// model's rotations.
	Turns func(kind, length, pos0, n int) Turns
	// Route calls take for each expert that a token is sent to, given the router's
	// logits, [experts].
	Route func(logits []float32, take func(expert int, weight float32))
}

// Turns holds cosines and sines, [n, half] each.
type Turns struct {
	Cos, Sin []float32
	Half     int
}

// Layer holds one layer's weights; a norm or bias that the family does not have is nil.
type Layer struct {
	AttnNorm, FFNNorm         []float32
	AttnNormBias, FFNNormBias []float32
	AttnPostNorm, FFNPostNorm []float32
	QNorm, KNorm              []float32
	QKVBias, OutBias          []float32
	GateUpBias, DownBias      []float32
	QKV, Out, GateUp, Down    Matrix // GateUp is up alone if there is no gate
	Router                    Matrix
	Experts                   []Expert
	Shared                    *Expert // the expert that every token goes through, scaled by the sigmoid of SharedGate
	SharedGate                []float32
	Window                    int // a query at position p sees the keys after p-Window; 0: all keys
	Rope                      int // kind of rotation, as passed to Decoder.Turns
}

// Expert is one feed-forward of a mixture.
type Expert struct{ GateUp, Down Matrix }

// Matrix is a weight [out, in]: a list of tensors whose outputs are concatenated.
type Matrix []tensor.Tensor

// Options configure how a model is run.
type Options struct {
	Compute string            // f32, bf16 or f16
	Chunk   int               // most tokens that pass through a layer together; 0: 2048
	Log     func(line string) // receives messages for the user; may be nil
}

// Model is a decoder whose weights are on a card. Only one of its sequences may run at a
// time.
type Model interface {
	NewSequence() Sequence
	// Step appends tokens[i] to list[i], sequences of this model that are not listed twice, as
	// Forward does with the same pass, to the bit. The weights are read once for eight of them.
	Step(ctx context.Context, list []Sequence, tokens []int32, passes []Pass) error
	WeightBytes() int64
	PeakBytes() int64 // largest amount of the card's memory that was in use
	Close()
}

// Sequence holds the keys and values of a sequence on the card.
type Sequence interface {
	Len() int
	Forward(ctx context.Context, tokens []int32, p Pass) error
	// Keys and Values return the keys and values of n positions, [n, kvHeads*dim]. The
	// layer must not be compressed.
	Keys(layer, pos, n int) ([]float32, error)
	Values(layer, pos, n int) ([]float32, error)
	// Select chooses slots of an uncompressed layer in the same way as SnapKV, by the
	// votes of its last n queries, q [n, heads*dim] as States received them. For each pick
	// it returns the slots of each query head or kv head in ascending order, ending with
	// the window. If the card has no room for the weights, the error is a *MemoryError.
	Select(layer int, q []float32, n int, picks []Pick) ([][][]int32, error)
	// Compress returns a new sequence that keeps some slots, [layer][kv head or query
	// head] in ascending order.
	Compress(keep [][][]int32) (Sequence, error)
	// Copy returns a new sequence of the first n positions with room for the given number
	// of positions. The cache must not be compressed.
	Copy(n, room int) (Sequence, error)
	Truncate(n int)
	Reserve(n int) error
	CacheBytes() int64
	Close()
}

// Pick is a selection by SnapKV (Li et al., arXiv:2404.14469, listing 1): the Budget
// positions before the window with the largest pooled votes. Among equal votes, the
// lower position is chosen.
type Pick struct {
	Window  int // number of last queries, which vote and whose slots are kept
	Budget  int // slots kept per head in addition to the window
	Kernel  int // of the pooling, odd; 1 = off
	Pooling snapkv.Pooling
	Group   snapkv.Group // GroupHead: each query head chooses; else the kv heads do, by the merged votes of their query heads
}

// Pass sets what a call of Forward hands over. Logits and Hidden are called one at a
// time, the other functions from several goroutines at once.
type Pass struct {
	LogitsFrom int // first token whose logits are wanted; >= len(tokens): none
	Length     int // of the whole sequence, for Turns; 0: the length after this pass
	Step       int // most tokens at a time; 0: as many as fit
	Logits     func(row int, logits []float32)
	Hidden     func(layer int, hidden []float32) // the last token's state before each layer and after the last one; may be nil
	// Record returns what to record for positions pos0 to pos0+n-1 of a layer. If Record
	// is nil, nothing is recorded.
	Record func(layer, pos0, n int) Record
	Rows   func(layer int, r *Rows)
	// Sums receives weights added up over the queries of one window in this pass, or over
	// all queries (window -1), for keys 0 to len(part)-1, in units of 2^-40. The sums of a
	// window come in several parts. Done reports that the window sums of a layer's queries
	// before end have been delivered; the sums of window -1 are delivered at the end of
	// the pass that reaches Record.Until.
	Sums func(layer, head, window int, part []int64)
	// Whole receives the complete sums of a window whose queries were summed in one piece,
	// for keys 0 to len(sums)-1, rounded to Record.SumBits.
	Whole func(layer, head, window int, sums []float32)
	// Cells receives the largest weights, [Side, Side], along with the sums of window -1.
	Cells func(layer, head int, cells []float32)
	Done  func(layer, end int)
	// States receives the queries of positions pos0 to pos0+n-1 after the rotation; k and
	// v are nil.
	States func(layer, pos0, n int, q, k, v []float32)
}

// Record specifies what is recorded for a layer. A first position after the last one of
// the pass means none.
type Record struct {
	Rows   int   // first position whose weights are wanted
	LSE    int   // first position whose log-sum-exps are wanted, of all heads
	States int   // first position whose query is wanted
	Heads  []int // query heads of Rows, Sums and Cells; nil: all
	// Halves asks for Rows as half floats. Indexed by the exponent of a weight as a
	// float32, it holds the number of low bits to round off, to nearest with ties to even.
	// Nil asks for float32.
	Halves *[256]uint8
	Sums   bool // sums over all queries
	// Until is the position up to which Sums and Cells cover the queries of this pass and
	// of those that follow. They stay on the card until a pass ends there. 0: they cover
	// this pass alone.
	Until int
	// Query windows, each of which has its own sums: window w holds the WindowSize
	// positions from WindowStart + w*WindowSize on.
	WindowStart, WindowSize, Windows int
	SumBits                          int // mantissa bits of the sums of Whole; 0: all sums are delivered through Sums
	// A pooled picture of Side x Side cells: query i and key j belong to cell
	// [i*Side/Prompt, j*Side/Prompt], which holds the largest of these weights. Side 0:
	// none.
	Side, Prompt int
}

// Rows are recorded rows of one head, valid during the call.
type Rows struct {
	Head    int
	Pos0    int // position of the first row
	Rows    int
	Keys    int       // keys from 0 to the last one that the last row may see
	Stride  int       // between rows of Weights
	Weights []float32 // row i: Weights[i*Stride:][:Keys], zero where a key is not visible; nil if Halves or only LSE were asked for
	Halves  []uint16  // the same as half floats, if Record asked for them
	LSE     []float32
}
