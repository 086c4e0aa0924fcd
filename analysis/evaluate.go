package analysis

import (
	"math"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/snapkv"
)

// evaluation measures the selections of one layer of a prompt by its reply. Several
// goroutines may use it at once.
type evaluation struct {
	layer  *Layer
	spans  [][2]int // ranges of reply rows
	thetas []float32
	gram   func(layer, head int) []float64
	// oracles and outputs say whether the measures that compare with the best selection,
	// and the errors of the heads' outputs, are computed. Otherwise they are NaN.
	oracles bool
	outputs bool
	heads   []headReply
}

// headReply holds the data by which the selections of one head are measured.
type headReply struct {
	sum         [][]float64 // [span][position], weight over the rows
	mean        [][]float64 // the same, divided by the number of rows
	significant [][][]int32 // [span][theta][position], rows with a weight above theta
	out         []float32   // [row, value dim], output of the head; nil without values

	mu       sync.Mutex // guards the caches below
	rests    map[int]partialOutput
	oracles  map[oracleKey][]int32
	prefixes map[int][]prefixTotal
}

// prefixTotal is what a span of the reply pays to the whole prefix.
type prefixTotal struct {
	weight      float64
	significant []int // [theta]
}

// partialOutput is the contribution of some positions to the output of a head.
type partialOutput struct {
	out  []float32 // [row, value dim], not normalized
	mass []float64 // [row], weight of the positions
}

type oracleKey struct{ span, window, budget int }

// newEvaluation sums the reply's rows by span.
func (a *methods) newEvaluation(l *Layer) *evaluation {
	e := &evaluation{
		layer:   l,
		spans:   spansOf(l.Reply.Rows, a.cfg.Span, a.cfg.By),
		gram:    a.cfg.Gram,
		oracles: !a.cfg.SkipOracle,
		outputs: !a.cfg.SkipOutputs && l.Values != nil,
		heads:   make([]headReply, l.Heads),
	}
	for _, t := range a.cfg.Thetas {
		e.thetas = append(e.thetas, float32(t))
	}
	parallel.For(l.Heads, func(h int) {
		r := &e.heads[h]
		r.rests = map[int]partialOutput{}
		r.oracles = map[oracleKey][]int32{}
		r.prefixes = map[int][]prefixTotal{}
		for _, span := range e.spans {
			sum, above := e.sumRows(h, span)
			r.sum = append(r.sum, sum)
			r.mean = append(r.mean, over(sum, span[1]-span[0]))
			r.significant = append(r.significant, above)
		}
		if e.outputs {
			r.out = e.output(h, l.Reply.Keys, func(i int) int { return i }).out
		}
	})
	return e
}

// sumRows sums the rows of a span: weights [position], and rows with a weight above
// each theta, [theta][position].
func (e *evaluation) sumRows(h int, span [2]int) (sum []float64, above [][]int32) {
	l := e.layer
	weights := l.Reply.Head(h)
	sum = make([]float64, l.Len)
	above = make([][]int32, len(e.thetas))
	for t := range above {
		above[t] = make([]int32, l.Len)
	}
	for i := span[0]; i < span[1]; i++ {
		row := weights[i*l.Reply.Keys:][:l.Len]
		for at, v := range row {
			sum[at] += float64(v)
		}
		for t, theta := range e.thetas {
			for at, v := range row {
				if v > theta {
					above[t][at]++
				}
			}
		}
	}
	return sum, above
}

// over divides numbers by n.
func over(x []float64, n int) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v / float64(n)
	}
	return out
}

// measure measures the positions that an entry keeps in the layer,
// [head][span][theta].
func (e *evaluation) measure(keep [][]int32, entry snapkv.Entry) [][][]tally {
	l := e.layer
	window := entry.Config.Window
	stores := float64(len(keep)) // separate stores of keys and values
	if entry.Method.KeepsAll(entry.Config, l.Len) {
		stores = float64(l.KVHeads)
	}
	bytes := float64(4 * (l.Dim + l.ValueDim)) // per position
	if l.Latent {
		bytes = float64(4 * l.Dim) // the value is a part of the key
	}
	out := make([][][]tally, l.Heads)
	for h, list := range snapkv.ByQueryHead(keep, l.Heads) {
		errs, errsWO := e.errors(h, list, window)
		for span, rows := range e.spans {
			cells := e.kept(h, span, list, window)
			cell := &cells[0]
			e.compare(cell, h, span, list, window)
			cell.bytes = bytes * float64(len(list)+window) * stores / float64(l.Heads)
			cell.kept = float64(len(list)+window) / float64(l.Len)
			cell.full = bytes * float64(l.Len) * float64(l.KVHeads) / float64(l.Heads)
			if l.ReplySinks != nil {
				cell.sink = meanShare(l.ReplySinks[h*l.Reply.Rows:], rows)
				cell.sinks = 1
			}
			n := float64(rows[1] - rows[0])
			for i := rows[0]; i < rows[1]; i++ {
				cell.error += errs[i] / n
				cell.errorWO += errsWO[i] / n
			}
			out[h] = append(out[h], byTheta(cells))
		}
	}
	return out
}

// kept sums the weight of a span of the reply on a head's selection, in the first cell, and
// counts the significant positions, [theta].
func (e *evaluation) kept(h, span int, list []int32, window int) []tally {
	r := &e.heads[h]
	total := e.prefix(h, window)[span]
	cells := make([]tally, len(e.thetas))
	cells[0].cells = 1
	cells[0].prefix = total.weight
	for t := range cells {
		cells[t].significant = total.significant[t]
	}
	if len(list) == e.layer.Len-window {
		cells[0].mass = total.weight
		for t := range cells {
			cells[t].hits = total.significant[t]
		}
		return cells
	}
	mean := r.mean[span]
	significant := r.significant[span][0]
	mass := 0.0
	hits := 0
	for _, at := range list { // one pass for the first theta, which is mostly the only one
		mass += mean[at]
		hits += int(significant[at])
	}
	cells[0].mass = mass
	cells[0].hits = hits
	for t := 1; t < len(cells); t++ {
		for _, at := range list {
			cells[t].hits += int(r.significant[span][t][at])
		}
	}
	return cells
}

// compare compares a head's selection with the best one of the same size.
func (e *evaluation) compare(cell *tally, h, span int, list []int32, window int) {
	if !e.oracles {
		cell.best = math.NaN()
		cell.recall = math.NaN()
		cell.jaccard = math.NaN()
		return
	}
	best := e.oracle(h, oracleKey{span, window, len(list)})
	for _, at := range best {
		cell.best += e.heads[h].mean[span][at]
	}
	if len(list) > 0 {
		both := float64(hitrate.Overlap(list, best))
		cell.recall = both / float64(len(list))
		cell.jaccard = both / (float64(2*len(list)) - both)
	}
}

// byTheta copies the measures that do not depend on theta from the first cell to all.
func byTheta(cells []tally) []tally {
	for t := 1; t < len(cells); t++ {
		significant, hits := cells[t].significant, cells[t].hits
		cells[t] = cells[0]
		cells[t].significant = significant
		cells[t].hits = hits
	}
	return cells
}

// prefix sums the weights and the significant positions of a head over the prefix,
// [span].
func (e *evaluation) prefix(h, window int) []prefixTotal {
	r := &e.heads[h]
	r.mu.Lock()
	defer r.mu.Unlock()
	if totals, ok := r.prefixes[window]; ok {
		return totals
	}
	totals := make([]prefixTotal, len(e.spans))
	for span := range totals {
		total := &totals[span]
		for _, v := range r.mean[span][:e.layer.Len-window] {
			total.weight += v
		}
		for _, significant := range r.significant[span] {
			count := 0
			for _, v := range significant[:e.layer.Len-window] {
				count += int(v)
			}
			total.significant = append(total.significant, count)
		}
	}
	r.prefixes[window] = totals
	return totals
}

// oracle returns the positions of the prefix with most of a span's weight.
func (e *evaluation) oracle(h int, key oracleKey) []int32 {
	r := &e.heads[h]
	r.mu.Lock()
	defer r.mu.Unlock()
	best, ok := r.oracles[key]
	if !ok {
		best = snapkv.TopK(r.sum[key.span][:e.layer.Len-key.window], key.budget)
		r.oracles[key] = best
	}
	return best
}

// output multiplies the weights of n keys with their values, for every row of the
// reply. The keys are at(0) to at(n-1).
func (e *evaluation) output(h, n int, at func(i int) int) partialOutput {
	l := e.layer
	weights := l.Reply.Head(h)
	rows := l.Reply.Rows
	vd := l.ValueDim
	kv := h / (l.Heads / l.KVHeads)
	part := partialOutput{out: make([]float32, rows*vd), mass: make([]float64, rows)}
	w := make([]float32, rows*n)
	for r := range rows {
		row := weights[r*l.Reply.Keys:]
		for i := range n {
			v := row[at(i)]
			w[r*n+i] = v
			part.mass[r] += float64(v)
		}
	}
	panel := make([]float32, n*simd.Width)
	for d := 0; d < vd; d += simd.Width {
		cols := min(simd.Width, vd-d)
		clear(panel)
		for i := range n {
			copy(panel[i*simd.Width:][:cols], l.Values[(at(i)*l.KVHeads+kv)*vd+d:])
		}
		dst := simd.Mat[float32]{Data: part.out[d:], Rows: rows, Cols: cols, Stride: vd}
		simd.MulPanel(dst, simd.Dense(w, rows, n), panel, false)
	}
	return part
}

// rest returns the part of a head's output that every selection keeps: the part from
// the window and the reply.
func (e *evaluation) rest(h, window int) partialOutput {
	r := &e.heads[h]
	r.mu.Lock()
	defer r.mu.Unlock()
	part, ok := r.rests[window]
	if !ok {
		first := e.layer.Len - window
		part = e.output(h, e.layer.Reply.Keys-first, func(i int) int { return first + i })
		r.rests[window] = part
	}
	return part
}

// errors returns the relative L2 error of a head's output for each row of the reply, if
// only the kept positions, the window and the reply are read and their weights, with the
// share of a sink, are normalized again; and the same after the output projection. Errors
// are NaN if the values or the projection are not known.
func (e *evaluation) errors(h int, keep []int32, window int) (errs, errsWO []float64) {
	l := e.layer
	rows := l.Reply.Rows
	vd := l.ValueDim
	errsWO = slices.Repeat([]float64{math.NaN()}, rows)
	whole := e.heads[h].out
	if whole == nil {
		return errsWO, errsWO
	}
	var gram []float64
	if e.gram != nil {
		gram = e.gram(l.Place(h))
	}
	rest := e.rest(h, window)
	kept := e.output(h, len(keep), func(i int) int { return int(keep[i]) })
	errs = make([]float64, rows)
	diff := make([]float64, vd)
	full := make([]float64, vd)
	for r := range rows {
		total := kept.mass[r] + rest.mass[r]
		if l.ReplySinks != nil { // the sink stays
			total += float64(l.ReplySinks[h*rows+r])
		}
		for d := range vd {
			full[d] = float64(whole[r*vd+d])
			diff[d] = full[d]
			if total > 0 { // otherwise the kept weights are 0 at the dump's precision: all is lost
				diff[d] -= float64(kept.out[r*vd+d]+rest.out[r*vd+d]) / total
			}
		}
		errs[r] = length(diff, nil) / length(full, nil)
		if gram != nil {
			errsWO[r] = length(diff, gram) / length(full, gram)
		}
	}
	return errs, errsWO
}

// length returns √(xᵀ·gram·x), or √(xᵀ·x) if gram is nil.
func length(x, gram []float64) float64 {
	sum := 0.0
	if gram == nil {
		for _, v := range x {
			sum += float64(v * v)
		}
		return math.Sqrt(sum)
	}
	for i, v := range x {
		dot := 0.0
		for k, g := range gram[i*len(x) : (i+1)*len(x)] {
			dot += float64(g * x[k])
		}
		sum += float64(v * dot)
	}
	return math.Sqrt(max(0, sum))
}
