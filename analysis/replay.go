package analysis

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/snapkv"
)

// Replay follows what a method keeps of a layer while the rows of the reply are read: after
// every so many rows it selects again, among all positions that are still kept, those of the
// prompt and those of the reply alike. The rows are those of the full cache. What a query
// would give to the positions that are left is its weights on them, divided by their sum.
type Replay struct {
	layer  *Layer
	entry  snapkv.Entry
	every  int
	target int       // positions per head that a selection leaves, the window included
	row    int       // the next row of the reply
	kept   [][]int32 // [head or kv head], ascending positions of prompt and reply
	// sums are the weights that positions got so far, [query head][position]; nil if the
	// method does not read them.
	sums [][]float64
}

// NewReplay starts at the end of the prompt, with the positions of the prefix that the entry
// keeps, by query head or kv head. target is the number of positions per head that a
// selection leaves, the window included. It returns an error if the method cannot select
// again while a reply is read.
func NewReplay(l *Layer, e snapkv.Entry, keep [][]int32, target, every int) (*Replay, error) {
	if err := e.Method.CheckDecoding(); err != nil {
		return nil, err
	}
	if e.Method.Needs.Queries {
		return nil, fmt.Errorf("%s cannot select again while the rows of a dump are read: "+
			"dumps do not have the queries of the reply", e.Method.Name)
	}
	if err := e.Method.CheckEqual(keep); err != nil {
		return nil, err
	}
	p := &Replay{layer: l, entry: e, every: every, target: target, kept: make([][]int32, len(keep))}
	for h, prefix := range keep {
		p.kept[h] = slices.Clone(prefix)
		for j := l.Len - e.Config.Window; j < l.Len; j++ {
			p.kept[h] = append(p.kept[h], int32(j))
		}
	}
	if e.Method.Needs.Sums && l.Sums != nil {
		p.sums = make([][]float64, l.Heads)
		for h := range p.sums {
			p.sums[h] = make([]float64, l.Reply.Keys)
			for j, v := range l.Sums[h*l.Len : (h+1)*l.Len] {
				p.sums[h][j] = float64(v)
			}
		}
	}
	return p, nil
}

// Next makes the position of the next row's own token a kept one. The row then sees the
// positions of Kept.
func (p *Replay) Next() {
	for h := range p.kept {
		p.kept[h] = append(p.kept[h], int32(p.layer.Len+p.row))
	}
}

// Kept returns the positions that are kept of a query head, in ascending order.
func (p *Replay) Kept(h int) []int32 { return p.kept[h*len(p.kept)/p.layer.Heads] }

// Done ends the row, after which the method selects again if it is time.
func (p *Replay) Done() error {
	for h := range p.sums {
		row := p.weights(h, p.layer.Len+p.row)
		for i, at := range p.Kept(h) {
			p.sums[h][at] += row[i]
		}
	}
	p.row++
	if p.row%p.every > 0 || len(p.kept[0]) <= p.target {
		return nil
	}
	keep, err := p.entry.Method.SelectAgain(p.view(), p.entry.Config, p.target)
	if err != nil {
		return err
	}
	for h, slots := range keep {
		left := make([]int32, len(slots))
		for i, at := range slots {
			left[i] = p.kept[h][at]
		}
		p.kept[h] = left
	}
	return nil
}

// weights returns what the query at a position of the prompt or the reply gives to the
// positions that are kept of a head. Together with the share of the head's learned sink,
// these weights sum to 1.
func (p *Replay) weights(h, query int) []float64 {
	l := p.layer
	var row []float32
	sink := 0.0
	if query >= l.Len {
		row = l.Reply.Head(h)[(query-l.Len)*l.Reply.Keys:][:l.Reply.Keys]
		if l.ReplySinks != nil {
			sink = float64(l.ReplySinks[h*l.Reply.Rows+query-l.Len])
		}
	} else {
		row = l.Rows[(h*l.N+l.N-l.Len+query)*l.Len:][:l.Len]
		if l.ReplySinks != nil { // what the row does not give to keys
			sink = 1
			for _, v := range row {
				sink -= float64(v)
			}
		}
	}
	kept := p.Kept(h)
	out := make([]float64, len(kept))
	total := max(0, sink)
	for i, at := range kept {
		if int(at) <= query {
			out[i] = float64(row[at])
			total += out[i]
		}
	}
	if total == 0 { // the weights are 0 at the dump's precision
		return out
	}
	for i := range out {
		out[i] /= total
	}
	return out
}

// view returns the layer as methods see it: its positions are the kept ones, of each head
// or kv head.
func (p *Replay) view() *snapkv.Layer {
	l := p.layer
	stores := len(p.kept)
	v := l.Layer
	v.KVHeads = stores
	v.Len = len(p.kept[0])
	v.N = p.entry.Config.Window
	v.Rows = make([]float32, v.Heads*v.N*v.Len)
	for h := range v.Heads {
		for i := range v.N {
			query := l.Len + p.row - v.N + i
			for slot, w := range p.weights(h, query) {
				v.Rows[(h*v.N+i)*v.Len+slot] = float32(w)
			}
		}
	}
	v.Sums = nil
	if p.sums != nil {
		v.Sums = make([]float32, v.Heads*v.Len)
		for h := range v.Heads {
			for slot, at := range p.Kept(h) {
				v.Sums[h*v.Len+slot] = float32(p.sums[h][at])
			}
		}
	}
	v.Keys = p.pick(l.Keys, l.Dim)
	v.Values = p.pick(l.Values, l.ValueDim)
	return &v
}

// pick returns the keys or values x [position, kv head, dim] of the kept positions.
func (p *Replay) pick(x []float32, dim int) []float32 {
	if x == nil {
		return nil
	}
	l := p.layer
	stores := len(p.kept)
	slots := len(p.kept[0])
	out := make([]float32, slots*stores*dim)
	for h, list := range p.kept {
		for slot, at := range list {
			copy(out[(slot*stores+h)*dim:][:dim], x[(int(at)*l.KVHeads+h*l.KVHeads/stores)*dim:])
		}
	}
	return out
}

// replay measures what an entry keeps while the reply is read, [head][span][theta].
// Measures that compare with the best fixed selection are NaN.
func (e *evaluation) replay(keep [][]int32, entry snapkv.Entry, target, every int) ([][][]tally, error) {
	l := e.layer
	out := e.measure(keep, entry)
	for h := range out {
		for span := range out[h] {
			for t := range out[h][span] {
				cell := &out[h][span][t]
				cell.mass, cell.hits, cell.error, cell.errorWO = 0, 0, 0, 0
				cell.best, cell.recall, cell.jaccard = math.NaN(), math.NaN(), math.NaN()
			}
		}
	}
	p, err := NewReplay(l, entry, keep, target, every)
	if err != nil {
		return nil, err
	}
	span := 0
	for row := range l.Reply.Rows {
		for row >= e.spans[span][1] {
			span++
		}
		rows := float64(e.spans[span][1] - e.spans[span][0])
		p.Next()
		for h := range l.Heads {
			kept := p.Kept(h)
			weights := l.Reply.Head(h)[row*l.Reply.Keys:][:l.Reply.Keys]
			errs, errsWO := e.rowError(h, row, kept)
			cells := out[h][span]
			inPrefix, _ := slices.BinarySearch(kept, int32(l.Len-entry.Config.Window))
			for t := range cells {
				cell := &cells[t]
				cell.error += errs / rows
				cell.errorWO += errsWO / rows
				for i, at := range kept {
					w := weights[at]
					cell.cache += float64(w) / rows
					if i >= inPrefix {
						continue
					}
					cell.mass += float64(w) / rows
					if w > e.thetas[t] {
						cell.hits++
					}
				}
			}
		}
		if err := p.Done(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// rowError returns the relative L2 error of a head's output for one row of the reply, if
// only the given positions are read and their weights, with the share of a sink, are
// normalized again; and the same after the output projection. They are NaN as in errors.
func (e *evaluation) rowError(h, row int, kept []int32) (err, errWO float64) {
	l := e.layer
	whole := e.heads[h].out
	if whole == nil {
		return math.NaN(), math.NaN()
	}
	vd := l.ValueDim
	kv := h / (l.Heads / l.KVHeads)
	weights := l.Reply.Head(h)[row*l.Reply.Keys:]
	total := 0.0
	if l.ReplySinks != nil {
		total = float64(l.ReplySinks[h*l.Reply.Rows+row])
	}
	sum := make([]float64, vd)
	for _, at := range kept {
		w := float64(weights[at])
		total += w
		for d, v := range l.Values[(int(at)*l.KVHeads+kv)*vd:][:vd] {
			sum[d] += float64(w * float64(v))
		}
	}
	full := make([]float64, vd)
	diff := make([]float64, vd)
	for d := range vd {
		full[d] = float64(whole[row*vd+d])
		diff[d] = full[d]
		if total > 0 {
			diff[d] -= sum[d] / total
		}
	}
	errWO = math.NaN()
	if e.gram != nil {
		gram := e.gram(l.Place(h))
		errWO = length(diff, gram) / length(full, gram)
	}
	return length(diff, nil) / length(full, nil), errWO
}
