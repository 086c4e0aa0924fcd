package capture

import (
	"math"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/simd"
)

// recorder turns the attention of one prompt and its reply into blocks of a dump. A
// layer takes O(heads * prompt) memory, for sums over queries and for rows not yet
// written.
//
// The processor delivers the weights of every query in tiles; the recorder sums them
// up (layerRecorder.sum) and writes the recorded rows (recorded). A card is asked for
// what is needed (wants) and delivers sums and recorded rows.
type recorder struct {
	plan     *dumps.Plan
	pw       *dumps.PromptWriter // nil while a shared document is read
	prompt   int                 // P, tokens of the prompt
	rows     int                 // R, recorded prompt rows: positions P-R to P-1
	store    dumps.Store         // StoreRows or StoreFactors
	headAt   []int               // by query head: its index among the recorded ones of its layer, or -1
	layers   []*layerRecorder    // by layer; nil: not recorded
	windows  int                 // query windows whose sums are recorded; the last one ends with the prompt
	rounding *dumps.Rounding     // of recorded rows, on the card; nil: a card delivers float32
	sumBits  int                 // mantissa bits of a window's sums, on the card; 0: it does not round

	// If all tokens pass through a layer before the next one, the blocks are put in the
	// order that they would have if the pieces of the prompt were read one after another.
	piece  int              // tokens; 0: the tokens pass through the layers piece by piece
	from   int              // first position of the first piece
	passed func(tokens int) // called when tokens have passed through a layer; may be nil

	callbacks *model.Recorder
	scratch   sync.Pool // column sums, one slice per worker

	errLock sync.Mutex
	err     error // the first one
}

// layerRecorder holds the state of a recorder for one layer.
type layerRecorder struct {
	r        *recorder
	layer    int
	heads    int       // query heads of the layer
	chosen   []int     // those that are recorded
	total    *Sums     // over all prompt queries; nil if the plan leaves them out
	overview *overview // nil if the plan leaves it out
	lse      []float32 // [heads, R]
	reply    *replyBuffer
	sinks    *sinkRecorder // nil: the layer has no sinks
	lock     sync.Mutex    // guards the elements of windows and whole
	windows  []*Sums       // sums of the windows that are being filled
	whole    [][]float32   // the same, [heads, keys], if a card computes them as a whole
}

// newRecorder returns a recorder for a prompt of prompt tokens and a reply of at most
// room tokens.
func newRecorder(plan *dumps.Plan, c *model.Config, prompt, room int, store dumps.Store) *recorder {
	r := &recorder{
		plan: plan, prompt: prompt, store: store,
		rows:     min(plan.WindowRows, prompt),
		layers:   make([]*layerRecorder, c.Layers),
		windows:  plan.Windows(prompt),
		rounding: plan.Precision.Rounding(),
		sumBits:  plan.Precision.SumBits(),
	}
	header := dumps.Header{Model: ModelInfo("", c), Plan: *plan}
	r.headAt = slices.Repeat([]int{-1}, header.Model.Heads)
	for i, h := range plan.Heads {
		r.headAt[h] = i
	}
	for _, layer := range plan.Layers {
		heads := c.Shapes[layer].Heads
		l := &layerRecorder{
			r: r, layer: layer,
			heads:   heads,
			chosen:  header.HeadsOf(layer),
			lse:     make([]float32, heads*r.rows),
			windows: make([]*Sums, r.windows),
			whole:   make([][]float32, r.windows),
		}
		if !plan.NoPromptSums {
			l.total = NewSums(len(l.chosen), prompt)
		}
		if plan.Overview > 0 {
			l.overview = newOverview(len(l.chosen), plan.Overview, prompt)
		}
		l.reply = newReplyBuffer(l, room)
		if c.Shapes[layer].Sink {
			l.sinks = newSinkRecorder(l)
		}
		r.layers[layer] = l
	}
	r.callbacks = &model.Recorder{
		Tile:   r.tile,
		States: r.states,
		Wants:  r.wants,
		Rows:   r.cardRows,
		Sums:   r.cardSums,
		Whole:  r.cardWindow,
		Cells:  r.cardCells,
		Done:   r.cardDone,
	}
	return r
}

// windowStart returns the first position of query window w.
func (r *recorder) windowStart(w int) int {
	return r.prompt - (r.windows-w)*r.plan.PromptWindowSize
}

// tile records the weights of a few queries of one head. Several workers call it at
// once.
func (r *recorder) tile(layer int, t *cpu.Tile) {
	l := r.layers[layer]
	head := r.headAt[t.Head]
	r.order(t.Pos0)
	if l == nil || head < 0 && r.store != dumps.StoreFactors {
		return
	}
	if head >= 0 && t.Pos0 < r.prompt {
		l.sum(head, t)
	}
	if head >= 0 && l.sinks != nil {
		l.sinks.tile(head, t)
	}
	l.recorded(head, t, nil)
}

// order tells the writer which piece of the prompt the next blocks belong to.
func (r *recorder) order(pos int) {
	if r.piece > 0 && r.pw != nil && pos < r.prompt {
		r.pw.Order((pos - r.from) / r.piece)
	}
}

// sum adds a tile to the total and to the query windows of its rows.
func (l *layerRecorder) sum(head int, t *cpu.Tile) {
	r := l.r
	buf, _ := r.scratch.Get().(*[]float32)
	if buf == nil {
		buf = new([]float32)
	}
	if len(*buf) < t.Keys {
		*buf = make([]float32, t.Keys+t.Keys/4)
	}
	part := *buf
	for lo := 0; lo < t.Rows; {
		hi, window := r.windowRows(t, lo)
		keys := min(t.Keys, t.Pos0+hi-t.Key0) // none of these rows sees a later key
		if l.total != nil || window >= 0 {
			simd.SumRows(part[:keys], t.Weights[lo*t.Stride:], t.Stride, hi-lo)
		}
		if l.total != nil {
			l.total.Add(head, t.Key0, part[:keys])
		}
		if window >= 0 {
			l.window(window).Add(head, t.Key0, part[:keys])
		}
		lo = hi
	}
	r.scratch.Put(buf)
}

// windowRows returns the query window of row lo of a tile, or -1, and the end of the
// rows from lo on that belong to the same window.
func (r *recorder) windowRows(t *cpu.Tile, lo int) (hi, window int) {
	if r.windows == 0 {
		return t.Rows, -1
	}
	start := r.windowStart(0)
	pos := t.Pos0 + lo
	if pos < start {
		return min(t.Rows, start-t.Pos0), -1
	}
	window = (pos - start) / r.plan.PromptWindowSize
	return min(t.Rows, r.windowStart(window+1)-t.Pos0), window
}

// window returns the sums of a query window that is being filled.
func (l *layerRecorder) window(w int) *Sums {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.windows[w] == nil {
		l.windows[w] = NewSums(len(l.chosen), l.r.windowStart(w+1))
	}
	return l.windows[w]
}

// recorded records the rows of a tile that the plan keeps: its weights or, from a
// card, halves. head is its index among the recorded heads, or -1.
func (l *layerRecorder) recorded(head int, t *cpu.Tile, halves []uint16) {
	r := l.r
	if t.Pos0 >= r.prompt {
		r.fail(l.reply.tile(t, halves, head))
		return
	}
	if l.overview != nil && head >= 0 && t.Weights != nil {
		l.overview.add(head, t)
	}
	first := r.prompt - r.rows
	if t.Pos0+t.Rows <= first {
		return
	}
	skip := max(0, first-t.Pos0)
	row0 := t.Pos0 + skip - first
	if r.store == dumps.StoreFactors {
		copy(l.lse[t.Head*r.rows+row0:], t.LSE[skip:t.Rows])
		return
	}
	rows := dumps.Rows{
		Layer: l.layer, Head: t.Head, Phase: dumps.Prefill,
		Row0: row0, Rows: t.Rows - skip, Key0: t.Key0, Keys: t.Keys, Stride: t.Stride,
	}
	if halves != nil {
		rows.Halves = halves[skip*t.Stride:]
	} else {
		rows.Weights = t.Weights[skip*t.Stride:]
	}
	r.fail(r.pw.Rows(rows))
}

// states records the rotated queries of positions pos0 to pos0+n-1, [n, heads*dim],
// after all tiles of these positions.
func (r *recorder) states(layer, pos0, n int, q, _, _ []float32) {
	if r.passed != nil {
		r.passed(n)
	}
	r.order(pos0)
	l := r.layers[layer]
	if l == nil {
		return
	}
	if pos0 >= r.prompt {
		if r.store == dumps.StoreFactors {
			l.reply.states(pos0, n, q)
		}
		return
	}
	end := pos0 + n
	r.fail(l.flushWindows(end))
	first := r.prompt - r.rows
	if r.store != dumps.StoreFactors || end <= first {
		return
	}
	skip := max(0, first-pos0)
	row0 := pos0 + skip - first
	rows := n - skip
	lse := make([]float32, l.heads*rows)
	for h := range l.heads {
		copy(lse[h*rows:(h+1)*rows], l.lse[h*r.rows+row0:])
	}
	r.fail(r.pw.Queries(layer, dumps.Prefill, row0, rows, q[skip*len(q)/n:], lse))
}

// flushWindows writes the query windows that end at or before position end.
func (l *layerRecorder) flushWindows(end int) error {
	for w := range l.windows {
		last := l.r.windowStart(w + 1)
		if l.windows[w] == nil && l.whole[w] == nil || last > end {
			continue
		}
		sums := l.whole[w]
		if sums == nil {
			sums = l.windows[w].Floats(last)
		}
		if err := l.r.pw.Window(l.layer, w, last, sums); err != nil {
			return err
		}
		l.windows[w] = nil
		l.whole[w] = nil
	}
	return nil
}

// wants returns what a card must deliver for a layer: sums over queries and, for the
// recorded rows, what the store keeps.
func (r *recorder) wants(layer, pos0, n int) model.Wants {
	end := pos0 + n
	w := model.Wants{Rows: end, LSE: end, States: end, Heads: r.plan.Heads}
	if r.layers[layer] == nil {
		return w
	}
	first := max(pos0, r.prompt-r.rows)
	if r.store == dumps.StoreFactors {
		w.LSE = first
		w.States = first
	} else {
		w.Rows = first
		w.Halves = (*[256]uint8)(r.rounding)
	}
	if pos0 >= r.prompt {
		return w
	}
	w.Sums = !r.plan.NoPromptSums
	w.Until = r.prompt
	w.Windows = r.windows
	w.WindowSize = r.plan.PromptWindowSize
	w.WindowStart = r.windowStart(0)
	w.SumBits = r.sumBits
	if r.plan.Overview > 0 {
		w.Side = r.plan.Overview
		w.Prompt = r.prompt
	}
	return w
}

// cardRows records rows from a card, which computes sums over rows itself.
func (r *recorder) cardRows(layer int, t *model.Rows) {
	tile := &cpu.Tile{
		Head: t.Head, Pos0: t.Pos0, Rows: t.Rows, Keys: t.Keys, Stride: t.Stride, Weights: t.Weights, LSE: t.LSE,
	}
	r.layers[layer].recorded(r.headAt[t.Head], tile, t.Halves)
}

// cardSums adds a part of the sums of a window, or the sums over all queries (window -1).
func (r *recorder) cardSums(layer, head, window int, part []int64) {
	l := r.layers[layer]
	sums := l.total
	if window >= 0 {
		sums = l.window(window)
	}
	sums.AddFixed(r.headAt[head], part)
}

// cardWindow keeps the complete sums of a window.
func (r *recorder) cardWindow(layer, head, window int, sums []float32) {
	l := r.layers[layer]
	l.lock.Lock()
	if l.whole[window] == nil {
		l.whole[window] = make([]float32, len(l.chosen)*len(sums))
	}
	all := l.whole[window]
	l.lock.Unlock()
	copy(all[r.headAt[head]*len(sums):], sums)
}

// cardCells merges a head's pooled picture.
func (r *recorder) cardCells(layer, head int, cells []float32) {
	r.layers[layer].overview.merge(r.headAt[head], cells)
}

// cardDone writes the query windows that are complete.
func (r *recorder) cardDone(layer, end int) {
	if l := r.layers[layer]; l != nil && end <= r.prompt {
		r.fail(l.flushWindows(end))
	}
}

// layerTotals holds sums over all queries of a text in one layer.
type layerTotals struct {
	weights *Sums // nil if the plan leaves them out
	sinks   *Sums // nil without sinks
}

// totals returns the sums over all queries so far, by recorded layer.
func (r *recorder) totals() []layerTotals {
	list := make([]layerTotals, len(r.plan.Layers))
	for i, layer := range r.plan.Layers {
		l := r.layers[layer]
		list[i].weights = l.total
		if l.sinks != nil {
			list[i].sinks = l.sinks.sums
		}
	}
	return list
}

// addTotals starts the totals from the sums over the document with which the prompt
// begins.
func (r *recorder) addTotals(sums []layerTotals) {
	for i, layer := range r.plan.Layers {
		l := r.layers[layer]
		if l.total != nil {
			l.total = sums[i].weights.clone(r.prompt)
		}
		if l.sinks != nil {
			l.sinks.sums = sums[i].sinks.clone(1 + r.windows)
		}
	}
}

// finishPrompt writes everything that is summed or pooled over the whole prompt.
func (r *recorder) finishPrompt() error {
	if r.piece > 0 {
		r.pw.Order(math.MaxInt)
	}
	for _, layer := range r.plan.Layers {
		l := r.layers[layer]
		if l.overview != nil {
			if err := r.pw.Overview(layer, r.plan.Overview, l.overview.cells); err != nil {
				return err
			}
		}
		if l.sinks != nil {
			if err := l.sinks.finishPrompt(); err != nil {
				return err
			}
		}
		if l.total == nil {
			continue
		}
		if err := r.pw.Sums(layer, l.total.Floats(r.prompt)); err != nil {
			return err
		}
		l.total = nil
	}
	return r.failed()
}

// beginReply prepares for a pass over n reply tokens.
func (r *recorder) beginReply(n int) error {
	for _, layer := range r.plan.Layers {
		l := r.layers[layer]
		if err := l.reply.begin(n); err != nil {
			return err
		}
		if l.sinks == nil {
			continue
		}
		if err := l.sinks.begin(n); err != nil {
			return err
		}
	}
	return nil
}

// endReply ends the pass that beginReply prepared for.
func (r *recorder) endReply() error {
	for _, layer := range r.plan.Layers {
		l := r.layers[layer]
		if l.sinks != nil {
			l.sinks.n += l.reply.coming
		}
		l.reply.end()
	}
	return r.failed()
}

// finishReply writes the rows of the reply that are still buffered.
func (r *recorder) finishReply() error {
	for _, layer := range r.plan.Layers {
		l := r.layers[layer]
		if err := l.reply.flush(); err != nil {
			return err
		}
		if l.sinks == nil {
			continue
		}
		if err := l.sinks.flush(); err != nil {
			return err
		}
	}
	return r.failed()
}

// fail keeps the first error. Callbacks return no errors, so it is checked after each
// pass.
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
