package analysis

import (
	"math"
	"sync"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/snapkv"
)

// measure judges one selection of one head, or the sum of several. docs/MEASURES.md
// has the formulas.
type measure struct {
	cells             int
	mass, best        float64 // kept of a row's weight, by the selection and by the oracle of equal size
	prefix            float64 // a row's weight on the prefix
	hits, significant int
	recall, jaccard   float64
	error, errorWO    float64
	bytes             float64
}

func (m *measure) add(o measure) {
	m.cells += o.cells
	m.mass += o.mass
	m.best += o.best
	m.prefix += o.prefix
	m.hits += o.hits
	m.significant += o.significant
	m.recall += o.recall
	m.jaccard += o.jaccard
	m.error += o.error
	m.errorWO += o.errorWO
	m.bytes += o.bytes
}

// values are the columns mass to cache_bytes.
func (m *measure) values() [9]float64 {
	n := float64(m.cells)
	ratio := func(a, b float64) float64 {
		if b == 0 {
			return math.NaN()
		}
		return a / b
	}
	return [9]float64{
		m.mass / n, ratio(m.mass, m.best), ratio(float64(m.hits), float64(m.significant)), m.recall / n,
		m.jaccard / n, ratio(m.mass, m.prefix), m.error / n, m.errorWO / n, m.bytes,
	}
}

// judge holds what the selections of one layer share.
type judge struct {
	l      *Layer
	spans  [][2]int
	thetas []float32
	gram   func(layer, head int) []float64
	heads  []headRows
}

// headRows are sums over the reply's rows of one head, by span.
type headRows struct {
	sum         [][]float64 // [span][position], weight
	significant [][][]int32 // [span][theta][position], rows above theta
	out         []float32   // [row, value dim], the head's output; nil without values
	mu          sync.Mutex
	tails       map[int]tail // what is always kept, by window
	oracles     map[[3]int][]int32
}

// tail is the part of the output and of the weight from the window on.
type tail struct {
	out  []float32
	mass []float64
}

func (a *methods) newJudge(l *Layer, p *dumps.Prompt) *judge {
	j := &judge{l: l, gram: a.cfg.Gram, heads: make([]headRows, l.Heads), spans: spansOf(l.Reply.Rows, a.cfg.Span, a.cfg.By)}
	for _, t := range a.cfg.Thetas {
		j.thetas = append(j.thetas, float32(t))
	}
	parallel.For(l.Heads, func(h int) {
		s := &j.heads[h]
		s.tails, s.oracles = map[int]tail{}, map[[3]int][]int32{}
		w, keys := l.Reply.Head(h), l.Reply.Keys
		for _, span := range j.spans {
			sum, above := make([]float64, l.Len), make([][]int32, len(j.thetas))
			for t := range above {
				above[t] = make([]int32, l.Len)
			}
			for i := span[0]; i < span[1]; i++ {
				row := w[i*keys:][:l.Len]
				for at, v := range row {
					sum[at] += float64(v)
				}
				for t, theta := range j.thetas {
					for at, v := range row {
						if v > theta {
							above[t][at]++
						}
					}
				}
			}
			s.sum, s.significant = append(s.sum, sum), append(s.significant, above)
		}
		if l.Values != nil {
			s.out, _ = j.product(h, 0, keys, nil)
		}
	})
	return j
}

// judge measures a selection, [head][span][theta].
func (j *judge) judge(keep [][]int32, e snapkv.Entry) [][][]measure {
	l, window := j.l, e.Config.Window
	bytes := float64(4 * (l.Dim + l.ValueDim))
	stores := float64(len(keep)) // stores of keys and values
	if e.Method.KeepsAll(e.Config, l.Len) {
		stores = float64(l.KVHeads)
	}
	out := make([][][]measure, l.Heads)
	for h, list := range snapkv.ByQueryHead(keep, l.Heads) {
		errs, errsWO := j.errors(h, list, window)
		prefix := l.Len - window
		for span, rows := range j.spans {
			sum := j.heads[h].sum[span]
			n := float64(rows[1] - rows[0])
			cell := measure{cells: 1, bytes: bytes * float64(len(list)+window) * stores / float64(l.Heads)}
			best := j.oracle(h, span, window, len(list))
			for _, at := range list {
				cell.mass += sum[at] / n
			}
			for _, at := range best {
				cell.best += sum[at] / n
			}
			for _, v := range sum[:prefix] {
				cell.prefix += v / n
			}
			both := float64(hitrate.Overlap(list, best))
			if len(list) > 0 {
				cell.recall, cell.jaccard = both/float64(len(list)), both/(float64(2*len(list))-both)
			}
			for i := rows[0]; i < rows[1]; i++ {
				cell.error += errs[i] / n
				cell.errorWO += errsWO[i] / n
			}
			cells := make([]measure, len(j.thetas))
			for t := range cells {
				cells[t] = cell
				for _, at := range list {
					cells[t].hits += int(j.heads[h].significant[span][t][at])
				}
				for _, v := range j.heads[h].significant[span][t][:prefix] {
					cells[t].significant += int(v)
				}
			}
			out[h] = append(out[h], cells)
		}
	}
	return out
}

// oracle is the k positions of the prefix with most of a span's weight.
func (j *judge) oracle(h, span, window, k int) []int32 {
	s := &j.heads[h]
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [3]int{span, window, k}
	best, ok := s.oracles[key]
	if !ok {
		best = snapkv.TopK(s.sum[span][:j.l.Len-window], k)
		s.oracles[key] = best
	}
	return best
}

// product is the weights of some keys times their values, [G, value dim], and
// the weight of each row on them: the keys of list, or of [lo, hi) without one.
func (j *judge) product(h, lo, hi int, list []int32) ([]float32, []float64) {
	l, w := j.l, j.l.Reply.Head(h)
	rows, vd, g := l.Reply.Rows, l.ValueDim, h/(l.Heads/l.KVHeads)
	n := hi - lo
	at := func(i int) int { return lo + i }
	if list != nil {
		n, at = len(list), func(i int) int { return int(list[i]) }
	}
	a, mass := make([]float32, rows*n), make([]float64, rows)
	for r := range rows {
		row := w[r*l.Reply.Keys:]
		for i := range n {
			v := row[at(i)]
			a[r*n+i] = v
			mass[r] += float64(v)
		}
	}
	out := make([]float32, rows*vd)
	panel := make([]float32, n*simd.Width)
	for d := 0; d < vd; d += simd.Width {
		cols := min(simd.Width, vd-d)
		clear(panel)
		for i := range n {
			copy(panel[i*simd.Width:][:cols], l.Values[(at(i)*l.KVHeads+g)*vd+d:])
		}
		simd.MulPanel(simd.Mat[float32]{Data: out[d:], Rows: rows, Cols: cols, Stride: vd}, simd.Dense(a, rows, n), panel, false)
	}
	return out, mass
}

// errors are the relative L2 errors of a head's output, by row, when only the
// kept positions, the window and the reply are read and their weights add up to
// one again; and those after the output projection.
func (j *judge) errors(h int, keep []int32, window int) (errs, errsWO []float64) {
	l, s := j.l, &j.heads[h]
	rows, vd := l.Reply.Rows, l.ValueDim
	errs, errsWO = make([]float64, rows), make([]float64, rows)
	var gram []float64
	if j.gram != nil && s.out != nil {
		gram = j.gram(l.Index, h)
	}
	if s.out == nil || gram == nil {
		for r := range rows {
			errsWO[r] = math.NaN()
			if s.out == nil {
				errs[r] = math.NaN()
			}
		}
	}
	if s.out == nil {
		return errs, errsWO
	}
	s.mu.Lock()
	t, ok := s.tails[window]
	if !ok {
		t.out, t.mass = j.product(h, l.Len-window, l.Reply.Keys, nil)
		s.tails[window] = t
	}
	s.mu.Unlock()
	if keep == nil {
		keep = []int32{}
	}
	out, mass := j.product(h, 0, 0, keep)
	diff, full := make([]float64, vd), make([]float64, vd)
	for r := range rows {
		total := mass[r] + t.mass[r]
		for d := range vd {
			full[d] = float64(s.out[r*vd+d])
			diff[d] = full[d]
			if total > 0 { // else what is kept has no weight at the dump's precision: all is lost
				diff[d] -= float64(out[r*vd+d]+t.out[r*vd+d]) / total
			}
		}
		errs[r] = length(diff, nil) / length(full, nil)
		if gram != nil {
			errsWO[r] = length(diff, gram) / length(full, gram)
		}
	}
	return errs, errsWO
}

// length is √(xᵀ·gram·x); without gram √(xᵀ·x).
func length(x, gram []float64) float64 {
	sum := 0.0
	if gram == nil {
		for _, v := range x {
			sum += v * v
		}
		return math.Sqrt(sum)
	}
	for i, v := range x {
		dot := 0.0
		for k, g := range gram[i*len(x) : (i+1)*len(x)] {
			dot += g * x[k]
		}
		sum += v * dot
	}
	return math.Sqrt(max(0, sum))
}
