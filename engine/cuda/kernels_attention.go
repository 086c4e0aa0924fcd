//go:build cuda

package cuda

import (
	"fmt"
	"strings"

	"gorgonia.org/cu"
)

const (
	attentionThreads = 128
	recordedRows     = 64 // of a block of attention_rows
	decodeThreads    = 128
	maxHeadDim       = 256
)

// headSizes lists the head sizes that kernels are compiled for.
var headSizes = []int{64, 128, 256}

// tile holds the sizes of the blocks of prefill attention, for heads of up to size channels.
// kernels/tile.cuh has the same numbers. Two blocks fit on every multiprocessor from Ampere
// on, which has at least 100 KiB of shared memory, if the type has 16 bits and size is at
// most 128.
type tile struct {
	row     int // bytes of a query's or key's channels
	rows    int // queries of the first pass, counted by head
	keys    int // of the first pass
	rowKeys int // keys of a recorded row's pass, and queries of sums over queries
	columns int // keys of sums over queries
}

func tileOf(t string, size int) tile {
	if t == "f32" {
		return tile{4 * size, 64, 4096 / size, 4096 / size, 64}
	}
	switch size {
	case 64:
		return tile{2 * size, 128, 32, 64, 128}
	case 128:
		return tile{2 * size, 128, 32, 64, 128}
	default:
		return tile{2 * size, 64, 32, 32, 64}
	}
}

// sharedBytes returns the dynamic shared memory of a kernel.
func sharedBytes(name string) int {
	var t string
	size := 0
	if rest, ok := strings.CutPrefix(name, "attention_"); ok {
		kind := "tiles"
		for _, k := range []string{"rows", "sums"} {
			if cut, ok := strings.CutPrefix(rest, k+"_"); ok {
				kind, rest = k, cut
			}
		}
		t, rest, _ = strings.Cut(rest, "_")
		fmt.Sscan(rest, &size)
		return attentionShared(kind, t, size)
	}
	switch {
	case name == "gemm_f32":
		return gemmSharedF32
	case name == "gemm_f32_bf16":
		return gemmShared3
	case strings.HasPrefix(name, "gemm_"):
		return gemmShared
	case strings.HasPrefix(name, "decode_"):
		return decodeShared
	}
	return 0
}

// attentionShared returns the memory of a block's tiles.
func attentionShared(kind, t string, size int) int {
	s := tileOf(t, size)
	switch {
	case kind == "rows":
		return (recordedRows + s.rowKeys) * s.row
	case kind == "tiles": // queries stay, and tiles of keys and values are loaded one after another
		return (s.rows + 2*s.keys) * s.row
	case t == "f32": // keys stay, and two tiles of queries alternate
		return (s.columns + 2*s.rowKeys) * s.row
	default: // keys pass through the tiles of queries to registers
		return 2 * s.rowKeys * s.row
	}
}

// cache describes one layer's keys and values on the card, and its attention.
type cache struct {
	T                dtype
	K, V             cu.DevicePtr // [stores, room, keyDim], [stores, room, valueDim]
	Counts           cu.DevicePtr // int32 [stores]: slots in use, including the pass; 0: Keys in each
	Pos              cu.DevicePtr // int32 [stores, room]: position of a slot; 0: its number
	Keys             int          // slots in use in the fullest store
	Room, Stores     int
	Heads            int // query heads; head h reads store h/(Heads/Stores)
	KeyDim, ValueDim int
	Scale, Cap       float32      // factor and soft cap of the scores; Cap 0: none
	Window           int          // a query at p sees keys > p-Window; 0: all
	SinkKeys         int          // positions below SinkKeys are seen regardless of the window
	Sinks            cu.DevicePtr // float32 [Heads]: an additional logit in the sum of each row; 0: none
}

func (c *cache) size() (int, error) {
	if !(c.Scale > 0) {
		return 0, fmt.Errorf("scores times %g: the card's kernels take positive factors", c.Scale)
	}
	for _, d := range headSizes {
		if max(c.KeyDim, c.ValueDim) <= d {
			return d, nil
		}
	}
	return 0, fmt.Errorf("heads of %d channels: the card's kernels take at most %d", max(c.KeyDim, c.ValueDim), maxHeadDim)
}

// attention is a pass of N queries at positions from Pos0 on, whose keys and values are
// the last ones in the cache.
type attention struct {
	cache
	Q   cu.DevicePtr // T [n, Heads*KeyDim]
	Out cu.DevicePtr // T [n, Heads*ValueDim]
	// Stat is float32 [Heads, n, 2]: the maximum of a row's scores divided by ln 2, and the
	// sum of exp(score - maximum). 0: not wanted.
	Stat    cu.DevicePtr
	LSE     cu.DevicePtr // float32 [Heads, n]: ln Σ exp(score); 0: not wanted
	N, Pos0 int
}

// attend runs prefill attention. A block takes the queries of all heads of a store, one query
// after another.
func (l launcher) attend(a attention) error {
	size, err := a.size()
	if err != nil {
		return err
	}
	if of := l.tritonCase(&a); of != "" {
		return l.tritonAttend(of, a)
	}
	rows, group := tileOf(a.T.String(), size).rows, a.Heads/a.Stores
	return l.launch(fmt.Sprintf("attention_%s_%d", a.T, size), grid(ceilDiv(a.N*group, rows), a.Stores, 1, attentionThreads),
		a.Out, a.Stat, a.LSE, a.Q, a.K, a.V, a.Counts, a.Pos, a.Sinks,
		a.N, a.Pos0, a.Keys, a.Room, a.Heads, a.Stores, a.KeyDim, a.ValueDim, a.Window, a.SinkKeys, a.Scale, a.Cap)
}

// attentionRowsOut requests rows [Row0, Row0+Rows) of some heads of a pass that has
// run, over slots [Key0, Key0+Width):
//
//	W[(h*LdHead + r)*Ld + j]    float32, or half floats if Drop is set
//
// The weights of keys that are not visible are zero; h is an index into the listed
// heads.
type attentionRowsOut struct {
	W          cu.DevicePtr
	LdHead, Ld int          // rows between heads, elements between rows
	Drop       cu.DevicePtr // uint8 [256] by float32 exponent: low bits that rounding removes; 0: float32
	List       cu.DevicePtr // int32 [Listed], heads; 0: the first Listed
	Listed     int
	Row0, Rows int
	Key0       int
	Width      int
}

// attendRows writes recorded rows. It needs a.Stat of attend.
func (l launcher) attendRows(a attention, o attentionRowsOut) error {
	size, err := a.size()
	if err != nil {
		return err
	}
	if of := l.tritonCase(&a); of != "" && o.Key0 == 0 && o.List != 0 {
		return l.tritonAttendRows(of, a, o)
	}
	keys := tileOf(a.T.String(), size).rowKeys
	const tilesPerBlock = 8 // tiles of keys for which the queries are loaded once
	return l.launch(fmt.Sprintf("attention_rows_%s_%d", a.T, size),
		grid(ceilDiv(o.Width, keys*tilesPerBlock), ceilDiv(o.Rows, recordedRows), o.Listed, attentionThreads),
		o.W, uint64(o.LdHead), o.Ld, o.Drop, o.List, o.Row0, o.Rows, o.Key0, o.Width, tilesPerBlock,
		a.Q, a.K, a.Stat, a.Counts, a.Pos,
		a.N, a.Pos0, a.Keys, a.Room, a.Heads, a.Stores, a.KeyDim, a.Window, a.SinkKeys, a.Scale, a.Cap)
}

// attentionSumsOut requests sums over the queries of rows [Row0, Row0+Rows) of a pass
// that has run, over a cache that is not compressed. Sums are int64 in units of 2^-40
// and are added to the existing values, so that they depend neither on the order of
// blocks nor on how a prompt is split into passes.
//
//	Total   [Listed, LdTotal]             over all these rows
//	Windows [Listed, WinCount, LdWindow]  over the rows of each window: window w
//	        holds positions [WinStart + w*WinSize, ... + WinSize)
//	Cells   float32 [Listed, Side, Side]  largest weight of the rows and keys with
//	        position*Side/Prompt equal to the cell
type attentionSumsOut struct {
	Total                       cu.DevicePtr // 0: not wanted
	LdTotal                     int
	Windows                     cu.DevicePtr // 0: not wanted
	LdWindow                    int
	WinStart, WinSize, WinCount int
	Cells                       cu.DevicePtr // 0: not wanted
	Side, Prompt                int
	List                        cu.DevicePtr // int32 [Listed], heads; 0: the first Listed
	Listed                      int
	Row0, Rows                  int
}

// attendSums adds column sums. It needs a.Stat of attend.
func (l launcher) attendSums(a attention, o attentionSumsOut) error {
	size, err := a.size()
	if err != nil {
		return err
	}
	if a.Counts != 0 || a.Pos != 0 {
		return fmt.Errorf("sums over the queries of a compressed cache are not supported")
	}
	if o.Listed == 0 || o.Rows == 0 {
		return nil
	}
	if of := l.tritonCase(&a); of != "" && o.Windows == 0 && o.Cells == 0 && o.List != 0 {
		return l.tritonAttendSums(of, a, o)
	}
	keys := a.Pos0 + o.Row0 + o.Rows
	s := tileOf(a.T.String(), size)
	tiles := ceilDiv(keys, s.columns)
	splits := min(max(1, 512/(tiles*o.Listed)), ceilDiv(o.Rows, s.rowKeys))
	return l.launch(fmt.Sprintf("attention_sums_%s_%d", a.T, size), grid(tiles, o.Listed, splits, attentionThreads),
		o.Total, uint64(o.LdTotal), o.Windows, uint64(o.LdWindow), o.WinStart, o.WinSize, o.WinCount, o.Cells, o.Side, o.Prompt,
		o.List, o.Row0, o.Rows, a.Q, a.K, a.Stat,
		a.N, a.Pos0, a.Room, a.Heads, a.Stores, a.KeyDim, a.Window, a.SinkKeys, a.Scale, a.Cap)
}

// decodeGroup is the largest number of query heads of a store that one block computes.
const (
	decodeGroup  = 8
	decodeShared = decodeGroup * (maxHeadDim + 8) * 4
)

// decode is a pass of few queries, usually one, whose keys are the last ones in the cache.
// The cache may be long or compressed.
type decode struct {
	attention // Stat is not written
	// Work of at least decodeWork bytes.
	Work cu.DevicePtr
	Part int // keys per block, a multiple of 32; 0: decodePart chooses
	// The recorded rows of all heads over all slots of the store: W [Heads, N, LdW]
	// float32, or half floats if Drop is set. Weights of keys that are not visible are
	// zero. 0: not wanted.
	W    cu.DevicePtr
	LdW  int
	Drop cu.DevicePtr
}

// decodePart chooses the number of keys per block, so that there are enough blocks to
// fill a card but not too many for a long cache.
func decodePart(keys, stores, n int) int {
	for part := 128; ; part *= 2 {
		if ceilDiv(keys, part)*stores*n <= 2048 || part == 2048 {
			return part
		}
	}
}

// decodeWork returns the memory that decode needs: scores [n, heads, keys], the maximum and
// the sum of each part [n, heads, parts, 2], and the output of each part [n, heads, parts,
// valueDim].
func decodeWork(c *cache, n, part int) int64 {
	if part == 0 {
		part = decodePart(c.Keys, c.Stores, n)
	}
	parts := ceilDiv(c.Keys, part)
	return 4 * int64(n) * int64(c.Heads) * (int64(c.Keys) + int64(parts)*int64(2+c.ValueDim))
}

// decode computes the attention of few queries, in three kernels.
func (l launcher) decode(a decode) error {
	if max(a.KeyDim, a.ValueDim) > maxHeadDim {
		return fmt.Errorf("heads of %d channels: the card's kernels take at most %d", max(a.KeyDim, a.ValueDim), maxHeadDim)
	}
	part := a.Part
	if part == 0 {
		part = decodePart(a.Keys, a.Stores, a.N)
	}
	parts, group := ceilDiv(a.Keys, part), a.Heads/a.Stores
	scores := a.Work
	stat := scores + cu.DevicePtr(4*a.N*a.Heads*a.Keys)
	partial := stat + cu.DevicePtr(8*a.N*a.Heads*parts)
	blocks := grid(parts, a.Stores*ceilDiv(group, decodeGroup), a.N, decodeThreads)
	if err := l.launch("decode_scores_"+a.T.String(), blocks, scores, stat, a.Q, a.K, a.Counts, a.Pos,
		a.N, a.Pos0, a.Keys, a.Room, a.Heads, a.Stores, a.KeyDim, a.Window, a.SinkKeys, a.Scale, a.Cap, part); err != nil {
		return err
	}
	if err := l.launch("decode_values_"+a.T.String(), blocks, partial, a.W, a.LdW, a.Drop, a.LSE, scores, stat, a.V, a.Counts, a.Sinks,
		a.N, a.Keys, a.Room, a.Heads, a.Stores, a.ValueDim, part); err != nil {
		return err
	}
	return l.launch("decode_combine_"+a.T.String(), grid(a.Heads, a.N, 1, decodeThreads), a.Out, partial,
		a.N, a.Heads, a.ValueDim, parts)
}

// fixedToFloat converts sums in units of 2^-40 to float32, rounded to bits mantissa bits
// (23: not rounded).
func (l launcher) fixedToFloat(dst, src cu.DevicePtr, count, bits int) error {
	return l.launch("fixed_to_float", perElement(count), dst, src, count, bits)
}
