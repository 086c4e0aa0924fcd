//go:build cuda

package cuda

import (
	"fmt"

	"github.com/attnscope/attnscope/engine/tensor"
	"gorgonia.org/cu"
)

const rowThreads = 256

// perElement is the grid of a kernel that walks over n elements in strides.
func perElement(n int) dims { return dims{x: min(ceilDiv(n, rowThreads), 1<<16), threads: rowThreads} }

// perRow is the grid of a kernel whose blocks take columns of every y-th row.
func perRow(rows, columns int) dims {
	if rows == 0 {
		return dims{}
	}
	return dims{x: ceilDiv(columns, rowThreads), y: min(rows, 1<<15), threads: rowThreads}
}

// sourceTypes are the numbers by which kernels know the types of a checkpoint;
// kernels/quant.cuh has the same.
var sourceTypes = map[tensor.DType]int{
	tensor.F32: 0, tensor.F16: 1, tensor.BF16: 2,
	tensor.Q4_0: 3, tensor.Q4_1: 4, tensor.Q5_0: 5, tensor.Q5_1: 6, tensor.Q8_0: 7,
	tensor.Q2_K: 8, tensor.Q3_K: 9, tensor.Q4_K: 10, tensor.Q5_K: 11, tensor.Q6_K: 12,
	tensor.IQ4_NL: 13, tensor.IQ4_XS: 14, tensor.MXFP4: 15, tensor.TQ2_0: 16,
}

func sourceType(t tensor.DType) (int, error) {
	n, ok := sourceTypes[t]
	if !ok {
		return 0, fmt.Errorf("weights of type %s cannot be read on the card", t)
	}
	return n, nil
}

// embed writes x [n, hidden] = scale * rows ids[i] of a table in type t.
func (l launcher) embed(x, table cu.DevicePtr, t tensor.DType, ids cu.DevicePtr, scale float32, n, hidden int) error {
	code, err := sourceType(t)
	if err != nil {
		return err
	}
	return l.launch("embed", dims{x: n, threads: rowThreads}, x, table, code, ids, scale, n, hidden)
}

// dequant writes count elements of src, in type from, as type to. It also casts
// between float types.
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

// norm describes a normalisation of rows: x [rows, dim] float32, dst in type t;
// ldDst and ldX are the elements between rows. dst may be x where t is f32.
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

// rmsNorm writes x / sqrt(mean(x²) + eps) * (offset + weight). Weight 0 means
// ones and, with Eps < 0, no norm at all: rows are only copied and cast.
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

// heads takes the heads of one projection (queries, keys or values) out of the
// product's rows: adds a bias, clips, normalises each head, turns it, and writes it as
// type T to
//
//	dst[h*DstHead + (base + i)*DstRow + d], base = Counts[h], or Base where Counts is 0
//
// for row i and head h of Heads*Repeat, which reads head h/Repeat of the source:
// a store by query heads takes each kv head's rows for all heads of its group.
type heads struct {
	Dst              cu.DevicePtr
	T                dtype
	DstHead, DstRow  int // elements
	Base             int
	Counts           cu.DevicePtr // int32 [heads*Repeat], or 0
	Src              cu.DevicePtr // float32 [n, LdSrc], the first head's first channel
	LdSrc            int
	Bias             cu.DevicePtr // [heads*dim], or 0
	Clip             float32      // bound of what the product and the bias give; 0: none
	Norm             cu.DevicePtr // [dim], or 0
	Offset, Eps      float32      // of the norm
	Cos, Sin         cu.DevicePtr // [n, Half], or 0: not turned
	Half             int          // pairs that are turned
	Adjacent         bool         // pairs are (2i, 2i+1); else (i, i+Half)
	Heads, Dim, Rows int          // heads of the source, channels, rows
	Repeat           int          // 0 means 1
}

func (l launcher) heads(a heads) error {
	repeat, adjacent := max(a.Repeat, 1), 0
	if a.Adjacent {
		adjacent = 1
	}
	const warps = rowThreads / 32 // a warp takes one head of one row
	return l.launch("heads_"+a.T.String(), dims{x: ceilDiv(a.Rows*a.Heads*repeat, warps), threads: rowThreads},
		a.Dst, uint64(a.DstHead), a.DstRow, a.Base, a.Counts, a.Src, a.LdSrc, a.Bias, a.Clip, a.Norm, a.Offset, a.Eps,
		a.Cos, a.Sin, a.Half, adjacent, a.Heads, a.Dim, a.Rows, repeat)
}

// advance appends the positions pos0.. of n more tokens to pos [stores, room]
// behind each store's counts, and adds n to those.
func (l launcher) advance(pos, counts cu.DevicePtr, stores, room, pos0, n int) error {
	return l.launch("advance", dims{x: stores, threads: rowThreads}, pos, counts, stores, room, pos0, n)
}

// activation is a gate's function.
type activation int

const (
	silu activation = iota
	geluTanh
	geluErf
	relu
	reluSquared
)

// gate writes dst [rows, ff] = act(x[:, :ff]) * x[:, ff:2ff]; x is float32 or,
// with from equal to t, of type t. ldx is the elements between rows of x.
func (l launcher) gate(dst cu.DevicePtr, t dtype, x cu.DevicePtr, from dtype, ldx int, act activation, rows, ff int) error {
	return l.activated(dst, t, x, from, ldx, act, 0, rows, ff)
}

// activate writes dst [rows, ff] = act(x), of a feed-forward without a gate.
func (l launcher) activate(dst cu.DevicePtr, t dtype, x cu.DevicePtr, from dtype, ldx int, act activation, rows, ff int) error {
	return l.activated(dst, t, x, from, ldx, act, 1, rows, ff)
}

func (l launcher) activated(dst cu.DevicePtr, t dtype, x cu.DevicePtr, from dtype, ldx int, act activation, plain, rows, ff int) error {
	same := 0
	if from == t {
		same = 1
	} else if from != f32 {
		return fmt.Errorf("gate from %s to %s: want f32 or equal types", from, t)
	}
	return l.launch("gate_"+t.String(), perRow(rows, ff), dst, x, same, ldx, int(act), plain, rows, ff)
}

// route picks, for each row of router logits [n, experts], the top largest of
// their softmax, of equal ones the lower: chosen int32 [n, top], weights float32
// [n, top], which normalise makes add up to one.
func (l launcher) route(chosen, weights, logits cu.DevicePtr, n, experts, top int, normalise bool) error {
	norm := 0
	if normalise {
		norm = 1
	}
	if experts > 1024 {
		return fmt.Errorf("a router of %d experts: want at most 1024", experts)
	}
	return l.launch("route", dims{x: ceilDiv(n, rowThreads/32), threads: rowThreads}, chosen, weights, logits, n, experts, top, norm)
}

// gatherRows copies rows idx[i] of src, rowBytes long (a multiple of 2), to row i
// of dst.
func (l launcher) gatherRows(dst, src, idx cu.DevicePtr, rowBytes, n int) error {
	return l.launch("gather_rows", dims{x: n, threads: rowThreads}, dst, src, idx, rowBytes, n)
}

// scatterAdd computes out[idx[i], :] += weight[i] * y[i, :], float32; the rows of
// one call are distinct.
func (l launcher) scatterAdd(out, y, idx, weight cu.DevicePtr, n, dim int) error {
	return l.launch("scatter_add", dims{x: n, threads: rowThreads}, out, y, idx, weight, n, dim)
}
