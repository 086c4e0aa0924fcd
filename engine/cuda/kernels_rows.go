//go:build cuda

package cuda

import (
	"fmt"

	"github.com/attnscope/attnscope/engine/tensor"
	"gorgonia.org/cu"
)

const rowThreads = 256

// perElement returns the grid of a kernel that loops over n elements in strides.
func perElement(n int) dims { return dims{x: min(ceilDiv(n, rowThreads), 1<<16), threads: rowThreads} }

// perRow returns the grid of a kernel whose blocks process columns of every y-th row.
func perRow(rows, columns int) dims {
	if rows == 0 {
		return dims{}
	}
	return dims{x: ceilDiv(columns, rowThreads), y: min(rows, 1<<15), threads: rowThreads}
}

// sourceTypes maps the types of a checkpoint to the numbers that the kernels use;
// kernels/quant.cuh has the same numbers.
var sourceTypes = map[tensor.DType]int{
	tensor.F32: 0, tensor.F16: 1, tensor.BF16: 2,
	tensor.Q4_0: 3, tensor.Q4_1: 4, tensor.Q5_0: 5, tensor.Q5_1: 6, tensor.Q8_0: 7,
	tensor.Q2_K: 8, tensor.Q3_K: 9, tensor.Q4_K: 10, tensor.Q5_K: 11, tensor.Q6_K: 12,
	tensor.IQ4_NL: 13, tensor.IQ4_XS: 14, tensor.MXFP4: 15, tensor.TQ2_0: 16,
}

func sourceType(t tensor.DType) (int, error) {
	n, ok := sourceTypes[t]
	if !ok {
		return 0, fmt.Errorf("weights of type %s cannot be read on the card: run with --device cpu", t)
	}
	return n, nil
}

// embed writes x [n, hidden]: scale times row ids[i] of a table of type t.
func (l launcher) embed(x, table cu.DevicePtr, t tensor.DType, ids cu.DevicePtr, scale float32, n, hidden int) error {
	code, err := sourceType(t)
	if err != nil {
		return err
	}
	return l.launch("embed", dims{x: n, threads: rowThreads}, x, table, code, ids, scale, n, hidden)
}

// dequant converts count elements from one type, which may be quantized, to another.
func (l launcher) dequant(dst cu.DevicePtr, to dtype, src cu.DevicePtr, from tensor.DType, count int64) error {
	code, err := sourceType(from)
	if err != nil {
		return err
	}
	blocks := min((count+rowThreads-1)/rowThreads, 1<<16)
	return l.launch("dequant_"+to.String(), dims{x: int(blocks), threads: rowThreads}, dst, src, code, uint64(count))
}

// fillRandom writes count pseudo-random numbers of mean 0 and deviation std.
func (l launcher) fillRandom(dst cu.DevicePtr, t dtype, count int64, seed uint64, std float32) error {
	blocks := min((count+rowThreads-1)/rowThreads, 1<<16)
	return l.launch("fill_random_"+t.String(), dims{x: int(blocks), threads: rowThreads}, dst, uint64(count), seed, std)
}

// norm describes a normalization of rows: X [Rows, Dim] is float32, Dst is of type
// T. LdDst and LdX are the numbers of elements between rows. Dst may be X if T is f32.
type norm struct {
	Dst          cu.DevicePtr
	T            dtype
	LdDst        int
	X            cu.DevicePtr
	LdX          int
	Weight, Bias cu.DevicePtr // [dim]; Bias of layerNorm only, may be 0
	Offset       float32      // added to the weight, rmsNorm only
	Eps          float32
	Rows, Dim    int
}

// rmsNorm writes x / sqrt(mean(x²) + eps) * (offset + weight). A Weight of 0 means
// ones; if Eps is also negative, rows are only copied and converted.
func (l launcher) rmsNorm(a norm) error {
	return l.launch("rms_norm_"+a.T.String(), dims{x: a.Rows, threads: rowThreads},
		a.Dst, a.LdDst, a.X, a.LdX, a.Weight, a.Offset, a.Eps, a.Rows, a.Dim)
}

// layerNorm writes (x - mean) / sqrt(variance + eps) * weight + bias.
func (l launcher) layerNorm(a norm) error {
	return l.launch("layer_norm_"+a.T.String(), dims{x: a.Rows, threads: rowThreads},
		a.Dst, a.LdDst, a.X, a.LdX, a.Weight, a.Bias, a.Eps, a.Rows, a.Dim)
}

// biasAdd adds bias [dim] to every row of x.
func (l launcher) biasAdd(x cu.DevicePtr, ldx int, bias cu.DevicePtr, rows, dim int) error {
	return l.launch("bias_add", perRow(rows, dim), x, ldx, bias, rows, dim)
}

// addScaled computes x += by * y over count elements.
func (l launcher) addScaled(x, y cu.DevicePtr, by float32, count int) error {
	return l.launch("add_scaled", perElement(count), x, y, by, count)
}

// scaleCap computes x = cap * tanh(x / divide / cap), or x / divide with cap 0.
func (l launcher) scaleCap(x cu.DevicePtr, count int, divide, cap float32) error {
	return l.launch("scale_cap", perElement(count), x, count, divide, cap)
}

// heads extracts the heads of one projection (queries, keys or values) from the
// product's rows. It adds a bias, clips, normalizes and rotates each head, and writes
// channel d of row i as type T to
//
//	dst[h*DstHead + (base+i)*DstRow + d]
//
// where base is Counts[h], or Base if Counts is 0. Head h of Heads*Repeat reads head
// h/Repeat of the source: a cache by query heads repeats the rows of each kv head.
type heads struct {
	Dst              cu.DevicePtr
	T                dtype
	DstHead, DstRow  int // elements
	Base             int
	Counts           cu.DevicePtr // int32 [heads*Repeat], or 0
	Src              cu.DevicePtr // float32 [Rows, LdSrc], starting at the first channel of the first head
	LdSrc            int
	Bias             cu.DevicePtr // [heads*dim], or 0
	Clip             float32      // bound of the product with its bias; 0: none
	Norm             cu.DevicePtr // [dim], or 0
	Offset, Eps      float32      // of the norm
	Cos, Sin         cu.DevicePtr // [Rows, Half], or 0: not rotated
	Half             int          // pairs that are rotated
	Adjacent         bool         // pairs are (2i, 2i+1); else (i, i+Half)
	Heads, Dim, Rows int          // heads of the source, channels, rows
	Repeat           int          // 0 means 1
}

func (l launcher) heads(a heads) error {
	repeat := max(a.Repeat, 1)
	const warps = rowThreads / 32 // a warp processes one head of one row
	return l.launch("heads_"+a.T.String(), dims{x: ceilDiv(a.Rows*a.Heads*repeat, warps), threads: rowThreads},
		a.Dst, uint64(a.DstHead), a.DstRow, a.Base, a.Counts, a.Src, a.LdSrc, a.Bias, a.Clip, a.Norm, a.Offset, a.Eps,
		a.Cos, a.Sin, a.Half, flag(a.Adjacent), a.Heads, a.Dim, a.Rows, repeat)
}

// advance appends the positions pos0 to pos0+n-1 to each store of pos [stores, room],
// after its counts[store] positions, and adds n to the counts.
func (l launcher) advance(pos, counts cu.DevicePtr, stores, room, pos0, n int) error {
	return l.launch("advance", dims{x: stores, threads: rowThreads}, pos, counts, stores, room, pos0, n)
}

// activation is the activation function of a feed-forward.
type activation int

const (
	silu activation = iota
	geluTanh
	geluErf
	relu
	reluSquared
)

// activated describes the activation of a feed-forward's first product x, of type
// From, which is float32 or T; LdX is the number of elements between its rows.
// With a gate, dst [Rows, Channels] = act(x[:, :Channels]) * x[:, Channels:];
// without one (Plain), dst = act(x).
type activated struct {
	Dst            cu.DevicePtr
	T              dtype
	X              cu.DevicePtr
	From           dtype
	LdX            int
	Act            activation
	Plain          bool
	Rows, Channels int
}

func (l launcher) activate(a activated) error {
	if a.From != a.T && a.From != f32 {
		return fmt.Errorf("activation from %s to %s: want f32 or equal types", a.From, a.T)
	}
	return l.launch("gate_"+a.T.String(), perRow(a.Rows, a.Channels),
		a.Dst, a.X, flag(a.From == a.T), a.LdX, int(a.Act), flag(a.Plain), a.Rows, a.Channels)
}

// route picks, for each row of router logits [n, experts], the top experts with the
// largest softmax; equal ones are in order of their index. It writes chosen int32 [n,
// top] and weights float32 [n, top], which normalize scales to a sum of 1.
func (l launcher) route(chosen, weights, logits cu.DevicePtr, n, experts, top int, normalize bool) error {
	if experts > 1024 {
		return fmt.Errorf("a router of %d experts: want at most 1024", experts)
	}
	return l.launch("route", dims{x: ceilDiv(n, rowThreads/32), threads: rowThreads},
		chosen, weights, logits, n, experts, top, flag(normalize))
}

// gatherRows copies row idx[i] of src to row i of dst. rowBytes is a multiple of 2.
func (l launcher) gatherRows(dst, src, idx cu.DevicePtr, rowBytes, n int) error {
	return l.launch("gather_rows", dims{x: n, threads: rowThreads}, dst, src, idx, rowBytes, n)
}

// scatterAdd computes out[idx[i], :] += weight[i] * y[i, :], float32; the rows of
// one call are distinct.
func (l launcher) scatterAdd(out, y, idx, weight cu.DevicePtr, n, dim int) error {
	return l.launch("scatter_add", dims{x: n, threads: rowThreads}, out, y, idx, weight, n, dim)
}
