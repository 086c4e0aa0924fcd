package dumps

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Problem is a damaged place.
type Problem struct {
	Prompt string // id; empty where the prompt is not known
	Layer  int    // -1: none
	What   string // with the rows, where they are known
}

func (p Problem) String() string {
	switch {
	case p.Prompt == "":
		return p.What
	case p.Layer < 0:
		return fmt.Sprintf("prompt %q: %s", p.Prompt, p.What)
	}
	return fmt.Sprintf("prompt %q, layer %d: %s", p.Prompt, p.Layer, p.What)
}

// Verify reads all of a dump: every checksum, that the index lists what is
// there, that every row of weights sums to one and sees no later key, that sums
// over queries add up to their number, that log-sum-exps are those of queries and
// keys, that all is finite. It reports what it finds and says whether the dump is
// whole. When ctx ends before it is done that is the error.
func Verify(ctx context.Context, path string, report func(Problem)) (bool, error) {
	r, err := Open(path)
	if err != nil {
		return false, err
	}
	defer r.Close()
	v := &verifier{ctx: ctx, r: r, ok: true, report: report}
	if !r.complete {
		v.bad("", -1, "not complete: it was not finished, or cut")
	}
	v.walk()
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("%s: %w", r.path, err)
	}
	ids := map[string]bool{}
	for i, p := range r.prompts {
		if ids[p.ID] {
			v.bad(p.ID, -1, "stands twice")
		}
		ids[p.ID] = true
		for _, layer := range r.header.Plan.Layers {
			if ctx.Err() != nil {
				break
			}
			v.layer(i, layer)
		}
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("%s: %w", r.path, err)
		}
		v.logits(i)
	}
	return v.ok, nil
}

type verifier struct {
	ctx    context.Context
	r      *Reader
	ok     bool
	report func(Problem)
	broken map[int64]bool // payloads whose checksum is wrong: named once
}

func (v *verifier) bad(prompt string, layer int, format string, args ...any) {
	v.ok = false
	v.report(Problem{prompt, layer, fmt.Sprintf(format, args...)})
}

// damage reports a record.
func (v *verifier) damage(rec *record, err error) {
	id, layer := v.r.idOf(rec), -1
	what := fmt.Sprintf("%s: %v", rec.what(), err)
	if _, array := rec.elements(); array && rec.Kind != kindLogits {
		layer = int(rec.Layer)
		what = what[len(fmt.Sprintf("layer %d, ", layer)):]
	}
	if id == "" && rec.Kind != kindHeader && rec.Kind != kindIndex { // of a prompt that is not complete
		layer, what = -1, fmt.Sprintf("%s: %v", rec.place(), err)
	}
	v.bad(id, layer, "%s", what)
}

// walk checks every record of the file in order, also those no prompt needs, and
// compares them with what the reader has from the index. Where a record's head is
// damaged the index tells what it was.
func (v *verifier) walk() {
	r, head := v.r, make([]byte, frameBytes)
	known := map[int64]record{} // by the place of the head
	for _, blocks := range r.blocks {
		for _, list := range blocks {
			for _, rec := range list {
				known[rec.at-frameBytes] = rec
			}
		}
	}
	v.broken = map[int64]bool{}
	for at := int64(0); at < r.size && v.ctx.Err() == nil; {
		rec, err := readRecord(r.f, at, r.size, head)
		was, listed := known[at]
		delete(known, at)
		switch {
		case err != nil && listed:
			v.damage(&was, fmt.Errorf("byte %d: %w", at, err))
			rec = was
		case err != nil:
			v.bad("", -1, "byte %d: %v", at, err)
			if at = nextRecord(r.f, at+1, r.size); at < 0 {
				at = r.size
			}
			continue
		case listed && was != rec:
			v.damage(&was, fmt.Errorf("byte %d: the index and the record's head differ: %w", at, ErrCorrupt))
		case !listed && r.complete && rec.Kind != kindHeader && rec.Kind != kindPrompt && rec.Kind != kindIndex && rec.Kind != kindEnd:
			v.damage(&rec, fmt.Errorf("byte %d: it is not in the index: %w", at, ErrCorrupt))
		}
		if rec.Kind != kindEnd {
			stored, err := readPayload(r.f, &rec)
			if err == nil && checksum(stored) != rec.Sum {
				err = fmt.Errorf("byte %d: checksum %08x, want %08x", rec.at, checksum(stored), rec.Sum)
			}
			if err != nil {
				v.broken[rec.at] = true
				v.damage(&rec, err)
			}
		}
		at = rec.at + int64(rec.Stored)
	}
	if v.ctx.Err() != nil { // what was not reached is not missing
		return
	}
	for at, rec := range known {
		v.damage(&rec, fmt.Errorf("byte %d: the index lists it, but no record begins there: %w", at, ErrCorrupt))
	}
}

// verifySlice is how many weights are looked at at once.
const verifySlice = 1 << 23

// layer checks the numbers of a layer of a prompt. A block whose checksum is
// wrong is named by walk already.
func (v *verifier) layer(prompt, layer int) {
	r, p := v.r, &v.r.prompts[prompt]
	fail := func(err error) {
		if !v.named(prompt, layer, err) {
			v.bad(p.ID, layer, "%v", err)
		}
	}
	if err := v.rows(prompt, layer); err != nil {
		fail(err)
	}
	if x, err := r.Sums(prompt, layer); err == nil {
		v.total(p, layer, "sums over all queries", x, p.PromptTokens, p.PromptTokens)
	} else if !r.header.Plan.NoPromptSums || !errors.Is(err, ErrAbsent) {
		fail(err)
	}
	if x, count, err := r.Windows(prompt, layer); err != nil {
		fail(err)
	} else if count > 0 {
		v.total(p, layer, "sums of query windows", x, p.PromptTokens, r.header.Plan.PromptWindowSize)
	}
	if r.header.Plan.Overview > 0 {
		x, _, err := r.Overview(prompt, layer)
		if err != nil {
			fail(err)
		}
		for i, w := range x {
			if !(w >= 0 && w <= 1.001) {
				v.bad(p.ID, layer, "overview: cell %d is %g", i, w)
				break
			}
		}
	}
	if r.header.Plan.Values {
		x, err := r.Values(prompt, layer)
		switch at := notFinite(x); {
		case err != nil:
			fail(err)
		case x == nil:
			v.bad(p.ID, layer, "values: none are there, the plan has them")
		case at >= 0:
			v.bad(p.ID, layer, "values: value %d is %g", at, x[at])
		}
	}
}

// named says that an error is about a block that walk has reported.
func (v *verifier) named(prompt, layer int, err error) bool {
	if len(v.broken) == 0 || !errors.Is(err, ErrCorrupt) {
		return false
	}
	for key, list := range v.r.blocks[prompt] {
		for _, rec := range list {
			if int(key.layer) == layer && v.broken[rec.at] {
				return true
			}
		}
	}
	return false
}

// total checks sums over want queries: n keys a head or window, each sum
// between 0 and want, all of them together want.
func (v *verifier) total(p *Prompt, layer int, what string, x []float32, n, want int) {
	for i := 0; i+n <= len(x); i += n {
		sum := 0.0
		for j, s := range x[i : i+n] {
			if !(s >= 0 && float64(s) <= 1.001*float64(want)) {
				v.bad(p.ID, layer, "%s: number %d of row %d is %g", what, j, i/n, s)
				return
			}
			sum += float64(s)
		}
		if math.Abs(sum-float64(want)) > 1e-3*float64(want) {
			v.bad(p.ID, layer, "%s: row %d adds up to %.4f, want %d", what, i/n, sum, want)
			return
		}
	}
}

// rows checks weights, slice by slice.
func (v *verifier) rows(prompt, layer int) error {
	r, p := v.r, &v.r.prompts[prompt]
	for ph, rows := range []int{p.WindowRows, p.ReplyTokens} {
		if err := r.stored(prompt, layer, Phase(ph), rows); err != nil {
			return err
		}
	}
	l, err := r.LayerOf(prompt, layer)
	if err != nil {
		return err
	}
	for ph, x := range l.queries {
		if at := notFinite(x); at >= 0 {
			return fmt.Errorf("%s queries: value %d is %g: %w", Phase(ph), at, x[at], ErrCorrupt)
		}
	}
	key := make([]float32, r.header.Model.HeadDim)
	for kv, list := range l.keys {
		for j := range list.Keys() {
			list.Key(key, j)
			if at := notFinite(key); at >= 0 {
				return fmt.Errorf("key %d of kv head %d: value %d is %g: %w", j, kv, at, key[at], ErrCorrupt)
			}
		}
	}
	var lse [2][]float32
	if p.Store == StoreFactors {
		for ph, rows := range []int{p.WindowRows, p.ReplyTokens} {
			if lse[ph], err = r.stack(prompt, layer, kindLSE, Phase(ph), rows, r.header.Model.Heads, 1); err != nil {
				return err
			}
		}
	}
	var buf []float32
	for ph, rows := range []int{p.WindowRows, p.ReplyTokens} {
		keys, pos0 := p.PromptTokens, p.PromptTokens-p.WindowRows
		if Phase(ph) == Decode {
			keys, pos0 = p.PromptTokens+p.ReplyTokens, p.PromptTokens
		}
		step := max(1, min(rows, verifySlice/keys))
		if len(buf) < step*keys {
			buf = make([]float32, step*keys)
		}
		for h, id := range r.header.Plan.Heads {
			for row0 := 0; row0 < rows; row0 += step {
				a := &Attention{Heads: 1, Rows: min(step, rows-row0), Keys: keys, Pos0: pos0 + row0}
				a.Data = buf[:a.Rows*keys]
				if err := l.Rows(a.Data, Phase(ph), h, row0, a.Rows); err != nil {
					return err
				}
				what := a.check(r.header.Plan.Precision, row0)
				if what == "" && lse[ph] != nil {
					what = l.checkLSE(a, Phase(ph), id, row0, lse[ph][id*rows+row0:])
				}
				if what != "" {
					v.bad(p.ID, layer, "head %d, %s %s", id, Phase(ph), what)
					break
				}
			}
		}
	}
	return nil
}

// check says what is wrong with the weights of one head, if anything. Rows are
// named from row0 on.
func (a *Attention) check(precision Precision, row0 int) string {
	tolerance := precision.rules().sumTolerance
	for row := range a.Rows {
		x := a.Data[row*a.Keys : (row+1)*a.Keys]
		sum := 0.0
		for j, w := range x {
			if !(w >= 0 && w <= 1.001) {
				return fmt.Sprintf("row %d, key %d: weight %g", row0+row, j, w)
			}
			sum += float64(w)
			if j > a.Pos0+row && w != 0 {
				return fmt.Sprintf("row %d sees key %d, which comes later", row0+row, j)
			}
		}
		if math.Abs(sum-1) > tolerance {
			return fmt.Sprintf("row %d sums to %.4f", row0+row, sum)
		}
	}
	return ""
}

// checkLSE compares the log-sum-exp that was stored with each row with the one
// that its largest weight implies: score - log(weight).
func (l *LayerReader) checkLSE(a *Attention, ph Phase, head, row0 int, lse []float32) string {
	m := &l.r.header.Model
	tolerance := l.r.header.Plan.Precision.rules().lseTolerance
	k := make([]float32, m.HeadDim)
	for row := range a.Rows {
		x := a.Data[row*a.Keys : (row+1)*a.Keys]
		top := 0
		for j, w := range x {
			if w > x[top] {
				top = j
			}
		}
		q := l.queries[ph][((row0+row)*m.Heads+head)*m.HeadDim:][:m.HeadDim]
		l.keys[head*m.KVHeads/m.Heads].Key(k, top)
		score := 0.0
		for d, v := range q {
			score += float64(v) * float64(k[d])
		}
		score *= m.Scale
		if m.SoftCap > 0 {
			score = m.SoftCap * math.Tanh(score/m.SoftCap)
		}
		if got := score - math.Log(float64(x[top])); !(math.Abs(got-float64(lse[row])) <= tolerance+1e-4*math.Abs(got)) {
			return fmt.Sprintf("row %d: log-sum-exp %.4f, its queries and keys give %.4f", row0+row, lse[row], got)
		}
	}
	return ""
}

func (v *verifier) logits(prompt int) {
	if !v.r.header.Plan.Logits || v.r.prompts[prompt].ReplyTokens == 0 {
		return
	}
	x, err := v.r.Logits(prompt)
	switch at := notFinite(x); {
	case err != nil && !v.named(prompt, 0, err):
		v.bad(v.r.prompts[prompt].ID, -1, "%v", err)
	case at >= 0:
		v.bad(v.r.prompts[prompt].ID, -1, "logits: value %d is %g", at, x[at])
	}
}

// notFinite is the place of the first value that is no number; -1: none.
func notFinite(x []float32) int {
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}
