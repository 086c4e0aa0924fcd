package capture

import (
	"sync"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
)

// recorder turns what the model shows while it reads one prompt and its reply
// into blocks of the dump. All it keeps are sums over queries, O(heads x P) a
// layer, and the rows that wait to be written; never a P x P map.
type recorder struct {
	plan    *dumps.Plan
	pw      *dumps.PromptWriter // nil while a shared document is read
	prompt  int                 // P, tokens of the prompt
	rows    int                 // R, recorded prompt rows: positions [P-R, P)
	store   dumps.Store         // StoreRows or StoreFactors
	layerOf []int               // true layer -> index among the recorded, -1
	headOf  []int               // true head -> index among the recorded, -1
	heads   int                 // query heads of the model
	halves  *dumps.Rounding     // how a card rounds recorded rows; nil: it does not
	sumBits int                 // mantissa bits of a window's sums, as a card rounds them; 0: it does not

	totals  []*Sums      // per recorded layer: over all prompt queries; nil where the plan leaves them out
	windows []*Sums      // the windows now being filled, by layer x window
	whole   [][]float32  // the same, that a card has made, [heads, keys]
	winLock sync.Mutex   // guards windows and whole
	pooled  []*overview  // per recorded layer; nil where the plan wants none
	lse     [][]float32  // per recorded layer [heads, R]
	gen     []*genBuffer // per recorded layer
	scratch sync.Pool    // column sums, one slice a worker

	callbacks *model.Recorder // the methods by which the model hands over what it computes

	errLock sync.Mutex
	err     error
}

func newRecorder(plan *dumps.Plan, layers, heads, prompt, replyRoom int, store dumps.Store) *recorder {
	r := &recorder{
		plan: plan, prompt: prompt, store: store, heads: heads,
		rows:    min(plan.WindowRows, prompt),
		layerOf: indexOf(plan.Layers, layers), headOf: indexOf(plan.Heads, heads), halves: plan.Precision.Rounding(), sumBits: plan.Precision.SumBits(),
	}
	n := len(plan.Layers)
	r.totals = make([]*Sums, n)
	r.windows, r.whole = make([]*Sums, n*r.windowCount()), make([][]float32, n*r.windowCount())
	r.lse = make([][]float32, n)
	r.gen = make([]*genBuffer, n)
	for i := range n {
		if !plan.NoPromptSums {
			r.totals[i] = NewSums(len(plan.Heads), prompt)
		}
		r.lse[i] = make([]float32, heads*r.rows)
		r.gen[i] = newGenBuffer(r, plan.Layers[i], n, replyRoom)
		if plan.Overview > 0 {
			r.pooled = append(r.pooled, newOverview(len(plan.Heads), plan.Overview, prompt))
		}
	}
	r.callbacks = &model.Recorder{
		Tile:   r.tile,
		States: r.states,
		Wants:  r.wants,
		Rows:   r.cardRows,
		Sums:   r.cardSums,
		Whole:  r.wholeWindow,
		Cells:  r.cardCells,
		Done:   r.windowsDone,
	}
	return r
}

// indexOf maps true ids to their place in list, -1 where absent.
func indexOf(list []int, n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = -1
	}
	for i, id := range list {
		at[id] = i
	}
	return at
}

// windowCount is the number of older query windows that fit the prompt,
// W = min(asked, P div size).
func (r *recorder) windowCount() int { return windowCount(r.plan, r.prompt) }

func windowCount(plan *dumps.Plan, prompt int) int {
	if plan.PromptWindowSize < 1 {
		return 0
	}
	return min(plan.PromptWindows, prompt/plan.PromptWindowSize)
}

// tile takes the normalised weights of a few queries of one head. It is called
// by several workers at once.
func (r *recorder) tile(layer int, t *cpu.Tile) {
	li, hi := r.layerOf[layer], r.headOf[t.Head]
	if li < 0 || hi < 0 && r.store != dumps.StoreFactors {
		return
	}
	if hi >= 0 && t.Pos0 < r.prompt {
		r.sumTile(li, hi, t)
	}
	r.recorded(layer, t, nil)
}

// cardRows takes recorded rows from a card, which has summed them up already.
func (r *recorder) cardRows(layer int, t *model.Rows) {
	r.recorded(layer, &cpu.Tile{Head: t.Head, Pos0: t.Pos0, Rows: t.Rows, Keys: t.Keys, Stride: t.Stride, Weights: t.Weights, LSE: t.LSE}, t.Halves)
}

// recorded takes the recorded rows of a tile: its weights, or halves.
func (r *recorder) recorded(layer int, t *cpu.Tile, halves []uint16) {
	li, hi := r.layerOf[layer], r.headOf[t.Head]
	if t.Pos0 >= r.prompt {
		r.fail(r.gen[li].tile(t, halves, hi))
		return
	}
	if r.pooled != nil && hi >= 0 && t.Weights != nil {
		r.pooled[li].add(hi, t)
	}
	first := r.prompt - r.rows
	if t.Pos0+t.Rows <= first {
		return
	}
	skip := max(0, first-t.Pos0)
	row0 := t.Pos0 + skip - first
	if r.store == dumps.StoreFactors {
		copy(r.lse[li][t.Head*r.rows+row0:], t.LSE[skip:t.Rows])
		return
	}
	rows := dumps.Rows{
		Layer: layer, Head: t.Head, Phase: dumps.Prefill,
		Row0: row0, Rows: t.Rows - skip, Key0: t.Key0, Keys: t.Keys, Stride: t.Stride,
	}
	if halves != nil {
		rows.Halves = halves[skip*t.Stride:]
	} else {
		rows.Weights = t.Weights[skip*t.Stride:]
	}
	r.fail(r.pw.Rows(rows))
}

// wants says what a card hands out: the sums, and of the recorded rows what the
// store keeps.
func (r *recorder) wants(layer, pos0, n int) model.Wants {
	end := pos0 + n
	w := model.Wants{Rows: end, LSE: end, States: end, Heads: r.plan.Heads}
	if r.layerOf[layer] < 0 {
		return w
	}
	first := max(pos0, r.prompt-r.rows)
	if r.store == dumps.StoreFactors {
		w.LSE, w.States = first, first
	} else {
		w.Rows, w.Halves = first, (*[256]uint8)(r.halves)
	}
	if pos0 < r.prompt {
		w.Sums = !r.plan.NoPromptSums
		w.Windows, w.WindowSize, w.SumBits = r.windowCount(), r.plan.PromptWindowSize, r.sumBits
		w.WindowStart = r.prompt - w.Windows*w.WindowSize
		if r.pooled != nil {
			w.Side, w.Prompt = r.plan.Overview, r.prompt
		}
	}
	return w
}

// cardSums takes sums that a card has made.
func (r *recorder) cardSums(layer, head, window int, part []int64) {
	li, hi := r.layerOf[layer], r.headOf[head]
	if window < 0 {
		r.totals[li].AddFixed(hi, part)
		return
	}
	r.window(li, window).AddFixed(hi, part)
}

// wholeWindow takes the sums of a window that a card has made and rounded.
func (r *recorder) wholeWindow(layer, head, window int, sums []float32) {
	at := r.layerOf[layer]*r.windowCount() + window
	r.winLock.Lock()
	if r.whole[at] == nil {
		r.whole[at] = make([]float32, len(r.plan.Heads)*len(sums))
	}
	list := r.whole[at]
	r.winLock.Unlock()
	copy(list[r.headOf[head]*len(sums):], sums)
}

// cardCells takes a picture that a card has made.
func (r *recorder) cardCells(layer, head int, cells []float32) {
	r.pooled[r.layerOf[layer]].merge(r.headOf[head], cells)
}

// windowsDone writes the query windows that are complete.
func (r *recorder) windowsDone(layer, end int) {
	if li := r.layerOf[layer]; li >= 0 && end <= r.prompt {
		r.fail(r.flushWindows(li, layer, end))
	}
}

// sumTile adds a tile to the layer's total and to the query windows its rows
// fall into.
func (r *recorder) sumTile(li, hi int, t *cpu.Tile) {
	part, _ := r.scratch.Get().([]float32)
	if cap(part) < t.Keys {
		part = make([]float32, t.Keys+t.Keys/4)
	}
	size, count := r.plan.PromptWindowSize, r.windowCount()
	start := r.prompt - count*size // first position of window 0
	for lo := 0; lo < t.Rows; {
		pos, hiRow, window := t.Pos0+lo, t.Rows, -1
		if count > 0 {
			if pos < start {
				hiRow = min(hiRow, start-t.Pos0)
			} else {
				window = (pos - start) / size
				hiRow = min(hiRow, start+(window+1)*size-t.Pos0)
			}
		}
		keys := min(t.Keys, t.Pos0+hiRow-t.Key0) // none of these rows sees a later key
		if r.totals[li] != nil || window >= 0 {
			ColumnSums(part[:keys], t.Weights, t.Stride, lo, hiRow)
		}
		if r.totals[li] != nil {
			r.totals[li].Add(hi, t.Key0, part[:keys])
		}
		if window >= 0 {
			r.window(li, window).Add(hi, t.Key0, part[:keys])
		}
		lo = hiRow
	}
	r.scratch.Put(part[:cap(part)]) //nolint:staticcheck // a slice header is cheap here
}

func (r *recorder) window(li, w int) *Sums {
	r.winLock.Lock()
	defer r.winLock.Unlock()
	at := li*r.windowCount() + w
	if r.windows[at] == nil {
		size := r.plan.PromptWindowSize
		r.windows[at] = NewSums(len(r.plan.Heads), r.prompt-(r.windowCount()-1-w)*size)
	}
	return r.windows[at]
}

// states follows the tiles of a layer's chunk: q [n, heads*dim] and k, v
// [n, kvHeads*dim] after the rotation, of absolute positions pos0...
func (r *recorder) states(layer, pos0, n int, q, k, v []float32) {
	li := r.layerOf[layer]
	if li < 0 {
		return
	}
	if pos0 >= r.prompt {
		if r.store == dumps.StoreFactors {
			r.gen[li].states(pos0, n, q)
		}
		return
	}
	end := pos0 + n
	r.fail(r.flushWindows(li, layer, end))
	first := r.prompt - r.rows
	if r.store != dumps.StoreFactors || end <= first {
		return
	}
	skip := max(0, first-pos0)
	row0, rows, width := pos0+skip-first, n-skip, len(q)/n
	lse := make([]float32, r.heads*rows)
	for h := range r.heads {
		copy(lse[h*rows:(h+1)*rows], r.lse[li][h*r.rows+row0:])
	}
	r.fail(r.pw.Queries(layer, dumps.Prefill, row0, rows, q[skip*width:], lse))
}

// flushWindows writes the query windows that end at or before position end.
func (r *recorder) flushWindows(li, layer, end int) error {
	count, size := r.windowCount(), r.plan.PromptWindowSize
	for w := range count {
		at, last := li*count+w, r.prompt-(count-1-w)*size
		if r.windows[at] == nil && r.whole[at] == nil || last > end {
			continue
		}
		sums := r.whole[at]
		if sums == nil {
			sums = r.windows[at].Floats(last)
		}
		if err := r.pw.Window(layer, w, last, sums); err != nil {
			return err
		}
		r.windows[at], r.whole[at] = nil, nil
	}
	return nil
}

// finishPrompt writes the sums over all prompt queries.
func (r *recorder) finishPrompt() error {
	for i, layer := range r.plan.Layers {
		if r.pooled != nil {
			if err := r.pw.Overview(layer, r.plan.Overview, r.pooled[i].cells); err != nil {
				return err
			}
		}
		if r.totals[i] == nil {
			continue
		}
		if err := r.pw.Sums(layer, r.totals[i].Floats(r.prompt)); err != nil {
			return err
		}
		r.totals[i] = nil
	}
	return r.failed()
}

// beginReply announces a pass over n reply tokens, endReply its end.
func (r *recorder) beginReply(n int) error {
	for _, g := range r.gen {
		if err := g.begin(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) endReply() error {
	for _, g := range r.gen {
		g.end()
	}
	return r.failed()
}

// finishReply writes what waits of the generated rows.
func (r *recorder) finishReply() error {
	for _, g := range r.gen {
		if err := g.flush(); err != nil {
			return err
		}
	}
	return r.failed()
}

func (r *recorder) fail(err error) {
	if err == nil {
		return
	}
	r.errLock.Lock()
	defer r.errLock.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *recorder) failed() error {
	r.errLock.Lock()
	defer r.errLock.Unlock()
	return r.err
}
