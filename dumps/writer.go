package dumps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
