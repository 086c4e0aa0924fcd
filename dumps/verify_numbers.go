package dumps

import (
	"errors"
	"fmt"
	"math"
)

// verifySlice is the number of weights that are checked at a time.
const verifySlice = 1 << 23

// weights checks the rows of a layer.
func (v *verifier) weights(prompt, layer int) {
	if err := v.checkRows(prompt, layer); err != nil {
		v.unreadable(prompt, layer, err)
	}
}

// checkRows checks the rows of a layer slice by slice. It reports bad rows itself and
// returns an error if rows cannot be read.
func (v *verifier) checkRows(prompt, layer int) error {
	r := v.r
	for _, ph := range Phases {
		if err := r.checkStored(prompt, layer, ph); err != nil {
			return err
		}
	}
	l, err := r.LayerOf(prompt, layer)
	if err != nil {
		return err
	}
	if err := l.checkStates(); err != nil {
		return err
	}
	p := &r.prompts[prompt]
	var lse [len(Phases)][]float32 // [model heads, rows]
	if p.Store == StoreFactors {
		for _, ph := range Phases {
			rows, _, _ := p.Shape(ph)
			if lse[ph], err = r.stack(prompt, stackOf(&r.header.Model, layer, kindLSE, ph, rows)); err != nil {
				return err
			}
		}
	}
	var buf []float32
	for _, ph := range Phases {
		rows, keys, _ := p.Shape(ph)
		sinks, err := r.Sinks(prompt, layer, ph)
		if err != nil {
			return err
		}
		step := max(1, min(rows, verifySlice/keys))
		if len(buf) < step*keys {
			buf = make([]float32, step*keys)
		}
		for h, id := range l.heads() {
			bad, err := l.checkHeadRows(buf, headRange{ph, h, step}, lse[ph], sinks)
			if err != nil {
				return err
			}
			if bad != "" {
				v.problem(p.ID, layer, "head %d, %s %s", id, ph, bad)
			}
		}
	}
	return nil
}

// checkStates looks for queries and keys that are not finite.
func (l *LayerReader) checkStates() error {
	for _, ph := range Phases {
		x := l.queries[ph]
		if at := notFinite(x); at >= 0 {
			return fmt.Errorf("%s queries: value %d is %g: %w", ph, at, x[at], ErrCorrupt)
		}
	}
	key := make([]float32, l.shape.KeyDim)
	for kv, keys := range l.keys {
		for j := range keys.Keys() {
			keys.Key(key, j)
			if at := notFinite(key); at >= 0 {
				return fmt.Errorf("key %d of kv head %d: value %d is %g: %w", j, kv, at, key[at], ErrCorrupt)
			}
		}
	}
	return nil
}

// checkHeadRows checks the rows of one head, step rows at a time, and describes the
// first bad one. buf has room for step rows; lse is nil in the rows form, and sinks
// without sinks.
func (l *LayerReader) checkHeadRows(buf []float32, of headRange, lse, sinks []float32) (bad string, err error) {
	ph, h, step := of.phase, of.head, of.step
	rows, keys, pos0 := l.r.prompts[l.prompt].Shape(ph)
	id := l.heads()[h]
	for row0 := 0; row0 < rows; row0 += step {
		a := &Attention{Heads: 1, Rows: min(step, rows-row0), Keys: keys, Pos0: pos0 + row0}
		a.Data = buf[:a.Rows*keys]
		if err := l.Rows(a.Data, ph, h, row0, a.Rows); err != nil {
			return "", err
		}
		var shares []float32
		if sinks != nil {
			shares = sinks[h*rows+row0:][:a.Rows]
		}
		bad := a.check(&l.shape, l.r.header.Plan.Precision, row0, shares)
		if bad == "" && lse != nil {
			bad = l.checkLSE(a, headPlace{ph, id, row0}, lse[id*rows+row0:], shares)
		}
		if bad != "" {
			return bad, nil
		}
	}
	return "", nil
}

// headRange names the rows of one head, an index into the recorded heads. step rows are
// checked at a time.
type headRange struct {
	phase      Phase
	head, step int
}

// headPlace names rows of one head of the model from row0 on.
type headPlace struct {
	phase      Phase
	head, row0 int
}

// check describes the first thing that is wrong with the weights of one head. row0 is
// the number of the first row; sinks has the shares of the sink, or is nil.
func (a *Attention) check(s *LayerShape, precision Precision, row0 int, sinks []float32) (bad string) {
	tolerance := precision.rules().sumTolerance
	for row := range a.Rows {
		x := a.Data[row*a.Keys : (row+1)*a.Keys]
		first := s.First(a.Pos0 + row)
		sum := 0.0
		for j, w := range x {
			if !(w >= 0 && w <= 1.001) {
				return fmt.Sprintf("row %d, key %d: weight %g", row0+row, j, w)
			}
			sum += float64(w)
			if j > a.Pos0+row && w != 0 {
				return fmt.Sprintf("row %d sees key %d, which comes later", row0+row, j)
			}
			if j < first && w != 0 {
				return fmt.Sprintf("row %d sees key %d, but its layer sees nothing before key %d there", row0+row, j, first)
			}
		}
		if sinks != nil {
			if share := sinks[row]; !(share >= 0 && share <= 1.001) {
				return fmt.Sprintf("row %d: the share of the sink is %g", row0+row, share)
			}
			sum += float64(sinks[row])
		}
		if math.Abs(sum-1) > tolerance {
			what := ""
			if sinks != nil {
				what = " with its sink"
			}
			return fmt.Sprintf("row %d sums to %.4f%s", row0+row, sum, what)
		}
	}
	return ""
}

// checkLSE compares the stored log-sum-exp of each row, lse [rows], with the one that the
// row's largest weight implies: score - log(weight). sinks has the shares of the sink, or
// is nil.
func (l *LayerReader) checkLSE(a *Attention, of headPlace, lse, sinks []float32) (bad string) {
	ph, head, row0 := of.phase, of.head, of.row0
	s := &l.shape
	tolerance := l.r.header.Plan.Precision.rules().lseTolerance
	keys := l.keys[s.KVHead(head)]
	key := make([]float32, s.KeyDim)
	for row := range a.Rows {
		x := a.Data[row*a.Keys : (row+1)*a.Keys]
		top := 0
		for j, w := range x {
			if w > x[top] {
				top = j
			}
		}
		query := l.queries[ph][((row0+row)*s.Heads+head)*s.KeyDim:][:s.KeyDim]
		keys.Key(key, top)
		want := s.score(query, key) - math.Log(float64(x[top]))
		most := tolerance + float64(1e-4*math.Abs(want))
		if sinks != nil { // what a large share leaves to the keys is rounded
			most += 2e-7 / float64(max(1e-7, 1-sinks[row]))
		}
		if !(math.Abs(want-float64(lse[row])) <= most) {
			return fmt.Sprintf("row %d: log-sum-exp %.4f, its queries and keys give %.4f", row0+row, lse[row], want)
		}
	}
	return ""
}

// score returns the score of a query and a key, before the softmax.
func (s *LayerShape) score(query, key []float32) float64 {
	score := 0.0
	for d, v := range query {
		score += float64(v) * float64(key[d]) // an exact product
	}
	score *= s.Scale
	if s.SoftCap > 0 {
		score = s.SoftCap * math.Tanh(score/s.SoftCap)
	}
	return score
}

// sums checks the sums over all queries of the prompt. sinks has those of the sinks, or
// is nil.
func (v *verifier) sums(prompt, layer int, sinks []float32) {
	p := &v.r.prompts[prompt]
	sums, err := v.r.Sums(prompt, layer)
	switch {
	case err == nil:
		v.addUp(p, layer, "sums over all queries", sums, sumShape{p.PromptTokens, p.PromptTokens, sinks, 1})
	case v.r.header.Plan.NoPromptSums && errors.Is(err, ErrAbsent):
	default:
		v.unreadable(prompt, layer, err)
	}
}

// windows checks the sums over the queries of each query window. sinks has those of the
// sinks, [heads, windows], or is nil.
func (v *verifier) windows(prompt, layer int, sinks []float32) {
	p := &v.r.prompts[prompt]
	plan := &v.r.header.Plan
	list, err := v.r.windowBlocks(prompt, layer, plan.Windows(p.PromptTokens))
	for i := 0; err == nil && i < len(list); i++ {
		var sums []float32
		if sums, err = v.r.floats(&list[i]); err == nil {
			shape := sumShape{int(list[i].Keys), plan.PromptWindowSize, nil, len(list)}
			if sinks != nil {
				shape.sinks = sinks[i:]
			}
			v.addUp(p, layer, fmt.Sprintf("sums of query window %d", i), sums, shape)
		}
	}
	if err != nil {
		v.unreadable(prompt, layer, err)
	}
}

// sumShape describes rows of sums: the number of keys of each row, and the number of
// queries that it sums. If sinks is not nil, every stride-th element is the sum of the
// shares of the sink for one row.
type sumShape struct {
	keys, queries int
	sinks         []float32
	stride        int
}

// addUp checks sums over a number of queries, [rows, keys]: each sum is between 0 and
// that number, and each row adds up to it.
func (v *verifier) addUp(p *Prompt, layer int, what string, sums []float32, shape sumShape) {
	n := shape.keys
	want := float64(shape.queries)
	for i := 0; i+n <= len(sums); i += n {
		total := 0.0
		if shape.sinks != nil {
			total = float64(shape.sinks[i/n*shape.stride])
		}
		for j, s := range sums[i : i+n] {
			if !(s >= 0 && float64(s) <= 1.001*want) {
				v.problem(p.ID, layer, "%s: number %d of row %d is %g", what, j, i/n, s)
				return
			}
			total += float64(s)
		}
		if math.Abs(total-want) > 1e-3*want {
			v.problem(p.ID, layer, "%s: row %d adds up to %.4f, want %d", what, i/n, total, shape.queries)
			return
		}
	}
}

// overview checks that all cells of an overview are weights.
func (v *verifier) overview(prompt, layer int) {
	if v.r.header.Plan.Overview == 0 {
		return
	}
	cells, _, err := v.r.Overview(prompt, layer)
	if err != nil {
		v.unreadable(prompt, layer, err)
	}
	for i, w := range cells {
		if !(w >= 0 && w <= 1.001) {
			v.problem(v.r.prompts[prompt].ID, layer, "overview: cell %d is %g", i, w)
			return
		}
	}
}

// values checks that the values are present and finite.
func (v *verifier) values(prompt, layer int) {
	if !v.r.header.Plan.Values {
		return
	}
	id := v.r.prompts[prompt].ID
	x, err := v.r.Values(prompt, layer)
	switch at := notFinite(x); {
	case err != nil:
		v.unreadable(prompt, layer, err)
	case x == nil:
		v.problem(id, layer, "values: there are none, but the plan has them")
	case at >= 0:
		v.problem(id, layer, "values: value %d is %g", at, x[at])
	}
}

// logits checks that the logits of a prompt's reply are present and finite.
func (v *verifier) logits(prompt int) {
	p := &v.r.prompts[prompt]
	if !v.r.header.Plan.Logits || p.ReplyTokens == 0 {
		return
	}
	x, err := v.r.Logits(prompt)
	if err != nil {
		v.unreadable(prompt, -1, err)
		return
	}
	if at := notFinite(x); at >= 0 {
		v.problem(p.ID, -1, "logits: value %d is %g", at, x[at])
	}
}

// notFinite returns the index of the first value that is infinite or not a number;
// -1: none.
func notFinite(x []float32) int {
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}
