package dumps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// CreateOptions say what Create may do with files that exist.
type CreateOptions struct {
	Force  bool // replace path, and a partial file
	Resume bool // go on with path.partial
	// Prompts are the ids that the dump is to have. With Resume a dump at path
	// that lacks some, because it was cut or repaired, is gone on with. Nil: a
	// dump that is complete has all.
	Prompts []string
	Wrap    func(*os.File) File // stands between the Writer and its file; nil: nothing
}

// Writer writes a dump to PATH.partial and renames it when it is complete.
// Blocks are encoded by the callers and written by one goroutine.
type Writer struct {
	path, partial string
	f             *os.File
	writeAt       func(b []byte, offset int64) (int, error) // of f
	sync          func() error                              // of f; nil: f.Sync
	wrap          func(*os.File) File
	synced        time.Time
	header        *Header
	offset        int64
	records       []record
	prompts       int   // complete ones in the file
	places        []int // of them: their place in the prompt set, Prompt.Index
	done          map[string]bool
	warnings      []string
	queue         chan block
	stopped       chan struct{}
	pending       *budget       // values that wait to be encoded
	encoding      chan struct{} // as many encode at once as there are processors
	piece         []byte        // of a block that is copied

	bytes atomic.Int64 // offset, for whoever watches

	mu  sync.Mutex
	err error
}

// syncEvery is the most work, in time, that a power cut may cost: finished
// prompts are made durable that often. A killed process loses none of them.
const syncEvery = 5 * time.Second

// block is a record on its way to the file. A nil payload is a barrier: the
// writer answers on ack when all before it is written. A block that is still
// being encoded arrives on late.
type block struct {
	r       record
	payload []byte
	ack     chan struct{}
	late    chan block
}

// Create starts a dump, or with Resume goes on with a partial one.
func Create(path string, h *Header, o CreateOptions) (*Writer, error) {
	h.Version = Version
	w := &Writer{path: path, partial: path + ".partial", header: h, wrap: o.Wrap, done: map[string]bool{}, stopped: make(chan struct{})}
	adopt, err := w.existing(o)
	if err != nil {
		return nil, err
	}
	f, err := openLocked(w.partial)
	if err != nil {
		return nil, err
	}
	w.use(f)
	// While the lock was waited for another process may have finished the dump.
	if _, err := os.Stat(path); err == nil && !adopt && !o.Force {
		if fi, err := w.f.Stat(); err == nil && fi.Size() == 0 {
			os.Remove(w.partial)
		}
		w.f.Close()
		return nil, fmt.Errorf("%s exists: another process has written it", path)
	}
	if adopt {
		if err := w.adopt(); err != nil {
			w.f.Close()
			return nil, err
		}
	}
	if err := w.begin(o); err != nil {
		w.f.Close()
		return nil, err
	}
	w.synced = time.Now()
	w.queue = make(chan block, 256)
	w.pending, w.encoding = newBudget(maxPending), make(chan struct{}, runtime.GOMAXPROCS(0))
	go w.write()
	return w, nil
}

// use makes f the file that is written.
func (w *Writer) use(f *os.File) {
	w.f, w.writeAt, w.sync = f, f.WriteAt, f.Sync
	if w.wrap != nil {
		file := w.wrap(f)
		w.writeAt, w.sync = file.WriteAt, file.Sync
	}
}

// existing looks at what stands at path. True: it lacks prompts and is to be gone
// on with.
func (w *Writer) existing(o CreateOptions) (adopt bool, err error) {
	if _, err := os.Stat(w.path); err != nil || o.Force {
		return false, nil
	}
	if !o.Resume {
		return false, fmt.Errorf("%s exists", w.path)
	}
	r, err := Open(w.path)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if err := sameRun(w.path, r.Header(), w.header); err != nil {
		return false, err
	}
	for _, id := range o.Prompts {
		if !slices.ContainsFunc(r.prompts, func(p Prompt) bool { return p.ID == id }) {
			return true, nil
		}
	}
	if !r.Complete() {
		return true, nil
	}
	return false, ErrComplete
}

// adopt makes the dump at path the partial one, if it has more prompts.
func (w *Writer) adopt() error {
	count := func(path string) int {
		r, err := Open(path)
		if err != nil {
			return 0
		}
		defer r.Close()
		return len(r.prompts)
	}
	if count(w.path) < count(w.partial) {
		return nil
	}
	f, err := os.OpenFile(w.path, os.O_RDWR, 0)
	if err == nil {
		if err = lock(f); err == nil {
			err = os.Rename(w.path, w.partial)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: cannot be gone on with: %w", w.path, err)
	}
	w.f.Close()
	w.use(f)
	return nil
}

// openLocked opens a file for this process alone. The file that is locked must
// still be the one of that name: its last writer may have renamed it.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
	}
}

// begin writes the header, or finds the end of the complete prompts.
func (w *Writer) begin(o CreateOptions) error {
	fi, err := w.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() > 0 && o.Resume {
		scan, err := scanFile(w.f, fi.Size(), w.partial)
		if err == nil {
			return w.resume(scan)
		}
		if !errors.Is(err, ErrCorrupt) {
			return err
		} // not even the header is whole: begin anew
		if err := w.keepDamaged(fi.Size()); err != nil {
			return err
		}
	} else if fi.Size() > 0 && !o.Force {
		return fmt.Errorf("%s exists: it holds an unfinished capture; --resume goes on with it, --force begins anew", w.partial)
	}
	if err := w.f.Truncate(0); err != nil {
		return err
	}
	return w.put(record{Kind: kindHeader}, w.header)
}

// keepDamaged sets a file aside whose header is damaged but which has prompts
// behind it: someone may want to look at them.
func (w *Writer) keepDamaged(size int64) error {
	if nextRecord(w.f, 1, size) < 0 {
		return nil // killed while it wrote the header
	}
	kept, err := setAside(w.partial)
	if err != nil {
		return err
	}
	w.warnings = append(w.warnings, fmt.Sprintf("%s: its header is damaged: it is kept as %s, and all prompts are run again", w.partial, kept))
	f, err := openLocked(w.partial)
	if err != nil {
		return err
	}
	w.f.Close()
	w.use(f)
	return nil
}

// resume goes on after the complete prompts. Those that are damaged are left
// out, by copying the others, and will be run again.
func (w *Writer) resume(s *scanned) error {
	if err := sameRun(w.partial, s.header, w.header); err != nil {
		return err
	}
	r := &Reader{path: w.partial, f: w.f, header: s.header}
	if err := r.fill(s.records, s.prompts); err != nil {
		return err
	}
	var keep []int
	for i := range r.prompts {
		if p := r.damagedBlock(i); p != nil {
			w.warnings = append(w.warnings, fmt.Sprintf("%s: %s; the prompt is run again", w.partial, p))
		} else {
			keep = append(keep, i)
		}
	}
	w.header = s.header
	if len(keep) == len(r.prompts) && !s.damaged {
		w.prompts, w.records, w.offset = len(s.prompts), s.records, s.end
		for i := range s.prompts {
			w.places = append(w.places, s.prompts[i].Index)
		}
	} else {
		w.warnings = append(w.warnings, s.warnings...)
		if err := w.replace(r, keep); err != nil {
			return err
		}
	}
	for _, i := range keep {
		w.done[r.prompts[i].ID] = true
	}
	return w.f.Truncate(w.offset)
}

// replace copies some prompts of the partial file into a new one, which takes its
// place.
func (w *Writer) replace(r *Reader, keep []int) error {
	tmp := w.partial + ".repaired"
	f, err := openLocked(tmp)
	if err != nil {
		return err
	}
	old := w.f
	w.use(f)
	w.partial = tmp
	fail := func(err error) error {
		os.Remove(tmp)
		f.Close()
		w.f = old
		return err
	}
	if err := f.Truncate(0); err != nil {
		return fail(err)
	}
	if err := w.put(record{Kind: kindHeader}, w.header); err != nil {
		return fail(err)
	}
	for _, i := range keep {
		if err := w.copyPrompt(context.Background(), r, i); err != nil {
			return fail(err)
		}
		w.places = append(w.places, r.prompts[i].Index)
	}
	if err := w.flush(); err != nil {
		return fail(err)
	}
	w.partial = w.path + ".partial"
	if err := os.Rename(tmp, w.partial); err != nil {
		return fail(err)
	}
	return old.Close()
}

// Warnings tell what Create found in the file that it goes on with.
func (w *Writer) Warnings() []string { return w.warnings }

// Bytes is the length of the file so far.
func (w *Writer) Bytes() int64 { return w.bytes.Load() }

// sameHeader compares what decides the numbers, and names the field.
func sameHeader(path string, have, want *Header) error {
	for _, part := range []struct {
		name string
		a, b any
	}{{"model", have.Model, want.Model}, {"plan", have.Plan, want.Plan}} {
		a, b := reflect.ValueOf(part.a), reflect.ValueOf(part.b)
		for i := range a.NumField() {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			if name == "id" || reflect.DeepEqual(normal(a.Field(i)), normal(b.Field(i))) {
				continue
			}
			return fmt.Errorf("%s: %s %s is %s there and %s here", path, part.name, name, shown(a.Field(i)), shown(b.Field(i)))
		}
	}
	return nil
}

// shown is a field's value, so that an empty one can be seen.
func shown(v reflect.Value) string {
	if v.Kind() == reflect.String {
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v)
}

// sameRun says whether a file can be gone on with: one model, plan and prompt
// set.
func sameRun(path string, have, want *Header) error {
	err := sameHeader(path, have, want)
	if a, b := have.Manifest.PromptsSHA256, want.Manifest.PromptsSHA256; err == nil && a != "" && b != "" && a != b {
		err = fmt.Errorf("%s: the prompts are other ones (prompts_sha256 %.12s there, %.12s here)", path, a, b)
	}
	if err != nil {
		return fmt.Errorf("%w: it cannot be gone on with; --force begins anew", err)
	}
	return nil
}

// normal makes nil and empty slices equal.
func normal(v reflect.Value) any {
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return 0
	}
	return v.Interface()
}

// put writes a JSON record at once, before the writer goroutine runs.
func (w *Writer) put(r record, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.writeBlock(seal(r, text))
}

// seal compresses a payload and completes its record.
func seal(r record, raw []byte) block {
	r.Raw = uint64(len(raw))
	payload := encoder.EncodeAll(raw, make([]byte, 0, len(raw)/2+64))
	r.Stored, r.Sum = uint64(len(payload)), checksum(payload)
	return block{r: r, payload: payload}
}

func (w *Writer) writeBlock(b block) error {
	if err := b.r.limits(); err != nil { // what no reader would take
		return fmt.Errorf("%s: %w", w.partial, err)
	}
	head := b.r.marshal(make([]byte, 0, frameBytes))
	if _, err := w.writeAt(append(head, b.payload...), w.offset); err != nil {
		return fmt.Errorf("%s: %w", w.partial, err)
	}
	b.r.at = w.offset + frameBytes
	w.records = append(w.records, b.r)
	w.offset += frameBytes + int64(len(b.payload))
	w.bytes.Store(w.offset)
	return nil
}

func (w *Writer) write() {
	defer close(w.stopped)
	for b := range w.queue {
		if b.late != nil {
			b = <-b.late
		}
		if b.payload != nil && w.failed() == nil {
			w.fail(w.writeBlock(b))
		}
		if b.ack != nil {
			if w.failed() == nil && time.Since(w.synced) >= syncEvery {
				w.fail(w.flush())
			}
			close(b.ack)
		}
	}
}

// flush makes durable what is written.
func (w *Writer) flush() error {
	sync := w.sync
	if sync == nil {
		sync = w.f.Sync
	}
	if err := sync(); err != nil {
		return fmt.Errorf("%s: %w", w.partial, err)
	}
	w.synced = time.Now()
	return nil
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.err == nil {
		w.err = err
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// send hands a block to the writer; it waits while too many are under way.
func (w *Writer) send(b block) error {
	if err := w.failed(); err != nil {
		return err
	}
	w.queue <- b
	return nil
}

// Done says whether a prompt is complete already.
func (w *Writer) Done(id string) bool { return w.done[id] }

// Begin starts a prompt. One prompt is written at a time.
func (w *Writer) Begin(p Prompt) (*PromptWriter, error) {
	if w.done[p.ID] {
		return nil, fmt.Errorf("%s: prompt %q stands there already", w.path, p.ID)
	}
	return &PromptWriter{w: w, index: uint32(w.prompts), prompt: p, maxQ: map[int]float64{}}, w.failed()
}

// Close writes the index, makes everything durable and renames the file. It is
// locked until it has its name.
func (w *Writer) Close() error {
	close(w.queue)
	<-w.stopped
	err := w.failed()
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return errors.Join(err, w.f.Close())
	}
	return renameOpen(w.f, w.partial, w.path)
}

// finish writes index and footer.
func (w *Writer) finish() error {
	at := w.offset
	index := marshalIndex(w.ordered())
	if err := w.writeBlock(seal(record{Kind: kindIndex}, index)); err != nil {
		return err
	}
	end := record{Kind: kindEnd, Row0: uint32(at), Rows: uint32(at >> 32)}
	if err := w.writeBlock(block{r: end}); err != nil {
		return err
	}
	return w.flush()
}

// ordered lists the records as the index does: prompts as they stand in their
// set, also where one was run again after those that follow it.
func (w *Writer) ordered() []record {
	if slices.IsSorted(w.places) || slices.Contains(w.places, 0) {
		return w.records
	}
	list, rest := w.records[:1:1], w.records[1:] // the header
	groups := make([][]record, 0, len(w.places))
	for lo, hi := 0, 0; hi < len(rest); hi++ {
		if rest[hi].Kind == kindPrompt {
			groups = append(groups, rest[lo:hi+1])
			lo = hi + 1
		}
	}
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return w.places[a] - w.places[b] })
	for _, i := range order {
		list = append(list, groups[i]...)
	}
	return list
}

// Abort stops without completing: the finished prompts stay in the partial
// file. A file without any is removed.
func (w *Writer) Abort() error {
	close(w.queue)
	<-w.stopped
	if w.prompts == 0 {
		return removeOpen(w.f, w.partial)
	}
	err := w.flush()
	return errors.Join(err, w.f.Close())
}

// PromptWriter writes the blocks of one prompt. Its methods may be called from
// several goroutines; Finish when all have returned.
type PromptWriter struct {
	w      *Writer
	index  uint32
	prompt Prompt
	blocks int

	mu    sync.Mutex
	maxQ  map[int]float64 // per layer: longest query
	later sync.WaitGroup  // blocks being read and encoded
}

// send hands values to the writer, which keeps a copy of its own: encoding and
// compressing go on beside the caller, and the blocks stand in the file in the
// order of the calls. It waits while too much is under way.
func (p *PromptWriter) send(r record, x []float32, enc uint8, bits int) error {
	if err := p.w.failed(); err != nil {
		return err
	}
	p.w.pending.take(len(x))
	return p.sendOwned(r, append([]float32(nil), x...), enc, bits)
}

// sendOwned is send for values that are the writer's from now on and counted as
// pending.
func (p *PromptWriter) sendOwned(r record, x []float32, enc uint8, bits int) error {
	return p.sendLater(r, len(x), p.floats(enc, func() ([]float32, int) { return x, bits }))
}

// floats encodes values that are read, and their bits chosen, when their turn has
// come.
func (p *PromptWriter) floats(enc uint8, read func() (x []float32, bits int)) func(r *record) []byte {
	return func(r *record) []byte {
		x, bits := read()
		return encodeFloats(r, x, enc, bits, p.w.header.Plan.Precision)
	}
}

// sendLater is sendOwned for n values whose payload is made when their turn has
// come.
func (p *PromptWriter) sendLater(r record, n int, encode func(r *record) []byte) error {
	r.Prompt = p.index
	w, late := p.w, make(chan block, 1)
	if want, _ := r.elements(); want != uint64(n) {
		w.pending.give(n)
		return fmt.Errorf("%s: %s: %d values of %d", w.path, r.place(), n, want)
	}
	p.mu.Lock()
	p.blocks++
	p.mu.Unlock()
	p.later.Add(1)
	go func() {
		defer p.later.Done()
		w.encoding <- struct{}{}
		raw := encode(&r)
		late <- seal(r, raw)
		<-w.encoding
		w.pending.give(n)
	}()
	return w.send(block{late: late})
}

// Weights writes rows of one head, rows form. Row i is w[i*stride:][:keys], its
// first key at position key0; row0 counts from the first recorded prompt row,
// or from the first reply row. The slice is free again when it returns.
func (p *PromptWriter) Weights(layer, head int, ph Phase, row0, rows, key0, keys, stride int, w []float32) error {
	if err := p.w.failed(); err != nil {
		return err
	}
	p.w.pending.take(rows * keys)
	flat := make([]float32, rows*keys)
	for i := range rows {
		copy(flat[i*keys:(i+1)*keys], w[i*stride:i*stride+keys])
	}
	enc, bits := uint8(encF16), 10
	if p.w.header.Plan.Precision == "exact" {
		enc, bits = encF32, 23
	}
	return p.sendOwned(weightsRecord(layer, head, ph, row0, rows, key0, keys), flat, enc, bits)
}

func weightsRecord(layer, head int, ph Phase, row0, rows, key0, keys int) record {
	return record{
		Kind: kindWeights, Phase: ph, Layer: uint32(layer), Head0: uint32(head), NH: 1,
		Row0: uint32(row0), Rows: uint32(rows), Key0: uint32(key0), Keys: uint32(keys),
	}
}

// Halves is Weights for rows that are rounded already, as RoundingOf the plan's
// precision says.
func (p *PromptWriter) Halves(layer, head int, ph Phase, row0, rows, key0, keys, stride int, h []uint16) error {
	if err := p.w.failed(); err != nil {
		return err
	}
	if precision := p.w.header.Plan.Precision; RoundingOf(precision) == nil {
		return fmt.Errorf("%s: halves in a dump of precision %s, which keeps float32", p.w.path, precision)
	}
	n := rows * keys
	p.w.pending.take(n)
	planes := make([]byte, 2*n)
	for i := range rows {
		lo, hi := planes[i*keys:(i+1)*keys], planes[n+i*keys:n+(i+1)*keys]
		for j, v := range h[i*stride : i*stride+keys] {
			lo[j], hi[j] = byte(v), byte(v>>8)
		}
	}
	return p.sendLater(weightsRecord(layer, head, ph, row0, rows, key0, keys), n, func(r *record) []byte {
		r.Enc, r.Bits = encF16, 10
		return planes
	})
}

// Queries writes queries after the rotation, q [n, heads*dim] of all heads of
// the model, and the log-sum-exps of their scores, [heads, n].
func (p *PromptWriter) Queries(layer int, ph Phase, row0, n int, q, lse []float32) error {
	m := &p.w.header.Model
	dim := m.HeadDim
	p.mu.Lock()
	p.maxQ[layer] = max(p.maxQ[layer], longest(q, dim))
	p.mu.Unlock()
	bits := map[string]int{"exact": 23, "fine": 20, "coarse": 16}[p.w.header.Plan.Precision]
	r := record{
		Kind: kindQueries, Phase: ph, Layer: uint32(layer), NH: uint32(m.Heads),
		Row0: uint32(row0), Rows: uint32(n), Keys: uint32(dim),
	}
	if err := p.send(r, q[:n*m.Heads*dim], encF32, bits); err != nil {
		return err
	}
	r.Kind, r.Keys = kindLSE, 1
	return p.send(r, lse, encF32, 23)
}

// Keys writes keys after the rotation, k [n, kvHeads*dim] of positions pos0 on.
// Write a layer's queries first: they decide how many bits the keys need.
func (p *PromptWriter) Keys(layer, pos0, n int, k []float32) error {
	m := &p.w.header.Model
	return p.send(record{
		Kind: kindKeys, Layer: uint32(layer), NH: uint32(m.KVHeads), Row0: uint32(pos0),
		Rows: uint32(n), Keys: uint32(m.HeadDim),
	}, k, encF32, p.keyBits(layer, longest(k, m.HeadDim)))
}

// KeysLater is Keys for keys that read returns, called from another goroutine
// before Settle returns.
func (p *PromptWriter) KeysLater(layer, pos0, n int, read func() []float32) error {
	if err := p.w.failed(); err != nil {
		return err
	}
	m := &p.w.header.Model
	p.w.pending.take(n * m.KVHeads * m.HeadDim)
	return p.sendLater(record{
		Kind: kindKeys, Layer: uint32(layer), NH: uint32(m.KVHeads), Row0: uint32(pos0),
		Rows: uint32(n), Keys: uint32(m.HeadDim),
	}, n*m.KVHeads*m.HeadDim, p.floats(encF32, func() ([]float32, int) {
		k := read()
		return k, p.keyBits(layer, longest(k, m.HeadDim))
	}))
}

// Settle waits until everything handed over has been read and encoded: what
// KeysLater reads may go then.
func (p *PromptWriter) Settle() { p.later.Wait() }

// keyBits is the number of mantissa bits that keeps the rounding of keys from
// moving a score by more than the precision allows: a score's error is about
// scale·|q|·|k|·2^-bits/√dim, and a weight moves by a quarter of it at most.
func (p *PromptWriter) keyBits(layer int, maxK float64) int {
	var most float64
	switch p.w.header.Plan.Precision {
	case "exact":
		return 23
	case "coarse":
		most = 8e-3
	default:
		most = 1e-3
	}
	m := &p.w.header.Model
	p.mu.Lock()
	maxQ := p.maxQ[layer]
	p.mu.Unlock()
	moved := m.Scale * maxQ * maxK / math.Sqrt(float64(m.HeadDim))
	return min(23, max(10, int(math.Ceil(math.Log2(moved/most)))))
}

func longest(x []float32, dim int) float64 {
	top := 0.0
	for ; len(x) >= dim; x = x[dim:] {
		s := 0.0
		for _, v := range x[:dim] {
			s += float64(v) * float64(v)
		}
		top = max(top, s)
	}
	return math.Sqrt(top)
}

// Values writes values, v [n, kvHeads*valueDim] of positions pos0 on.
func (p *PromptWriter) Values(layer, pos0, n int, v []float32) error {
	m := &p.w.header.Model
	bits := map[string]int{"exact": 23, "fine": 12, "coarse": 8}[p.w.header.Plan.Precision]
	return p.send(record{
		Kind: kindValues, Layer: uint32(layer), NH: uint32(m.KVHeads), Row0: uint32(pos0),
		Rows: uint32(n), Keys: uint32(m.ValueDim),
	}, v, encF32, bits)
}

// SumBits are the mantissa bits of sums over queries at a precision: they are kept
// to 2^-17 of their value.
func SumBits(precision string) int {
	if precision == "exact" {
		return 23
	}
	return 16
}

func (p *PromptWriter) sumBits() int { return SumBits(p.w.header.Plan.Precision) }

// Sums writes the weights summed over all prompt queries, [heads, P].
func (p *PromptWriter) Sums(layer int, s []float32) error {
	h := len(p.w.header.Plan.Heads)
	if h == 0 || len(s) == 0 {
		return nil
	}
	return p.send(record{Kind: kindSums, Layer: uint32(layer), NH: uint32(h), Rows: 1, Keys: uint32(len(s) / h)}, s, encF32, p.sumBits())
}

// Window writes the sums over one older query window, [heads, keys]: index of
// count, the last one ends with the prompt.
func (p *PromptWriter) Window(layer, index, count, size int, s []float32, keys int) error {
	return p.send(record{
		Kind: kindWindow, Layer: uint32(layer), Head0: uint32(index), NH: uint32(len(s) / max(1, keys)),
		Row0: uint32(index), Rows: 1, Keys: uint32(keys),
	}, s, encF32, p.sumBits())
}

// Overview writes a pooled picture of a layer's whole map, [heads, side, side]:
// query, key, the largest weight of each cell.
func (p *PromptWriter) Overview(layer, side int, cells []float32) error {
	return p.send(record{
		Kind: kindOverview, Layer: uint32(layer), NH: uint32(len(cells) / max(1, side*side)),
		Rows: uint32(side), Keys: uint32(side),
	}, cells, encF32, 10)
}

// Logits writes n rows of logits, [n, vocab], from reply row row0 on.
func (p *PromptWriter) Logits(row0 int, l []float32, n int) error {
	return p.send(record{Kind: kindLogits, NH: 1, Row0: uint32(row0), Rows: uint32(n), Keys: uint32(len(l) / n)}, l, encF32, p.sumBits())
}

// Finish makes the prompt complete and waits until it is in the file.
func (p *PromptWriter) Finish(info Prompt) error {
	info.Blocks = p.blocks
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	ack := make(chan struct{})
	if err := p.w.send(seal(record{Kind: kindPrompt, Prompt: p.index}, text)); err != nil {
		return err
	}
	if err := p.w.send(block{ack: ack}); err != nil {
		return err
	}
	<-ack
	if err := p.w.failed(); err != nil {
		return err
	}
	p.w.prompts++
	p.w.places = append(p.w.places, info.Index)
	p.w.done[info.ID] = true
	return nil
}
