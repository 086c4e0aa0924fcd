package dumps

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// CreateOptions says what Create may do with existing files.
type CreateOptions struct {
	Force  bool // replace the dump at path and its partial file
	Resume bool // continue a partial file or an incomplete dump

	// Prompts are the ids that the dump is meant to have. With Resume, a dump at path
	// that lacks some of them, because it was cut or repaired, is continued. Nil: a
	// complete dump at path has all of them.
	Prompts []string

	// Kernel names what computes the numbers of this run. With Resume, a warning says if
	// other prompts were computed by something else.
	Kernel string

	// Wrap returns the File that the Writer writes and syncs in place of the real
	// one. Nil: the file itself.
	Wrap func(*os.File) File
}

// Writer writes a dump to PATH.partial and renames it to PATH when it is complete.
// Callers encode blocks; one goroutine writes them.
type Writer struct {
	path     string
	options  CreateOptions
	header   *Header
	file     *recordFile
	queue    *writeQueue
	places   []int           // Prompt.Index of the complete prompts, in the order of the file
	done     map[string]bool // ids of the complete prompts
	warnings []string
}

// Create starts a dump at path or, with Resume, continues one. [ErrComplete] says that
// there is nothing to continue. Create returns an error if another process is writing
// the file, or if a file exists that options do not allow it to replace or continue.
func Create(path string, h *Header, options CreateOptions) (*Writer, error) {
	h.Version = h.Model.version()
	if err := h.Plan.checkKinds(&h.Model); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	w := &Writer{path: path, options: options, header: h, done: map[string]bool{}}
	adopt, err := w.checkExisting()
	if err != nil {
		return nil, err
	}
	f, err := openLocked(w.partial())
	if err != nil {
		return nil, err
	}
	w.use(f)
	if err := w.begin(adopt); err != nil {
		w.file.f.Close()
		return nil, err
	}
	w.queue = newWriteQueue(w.file)
	return w, nil
}

// partial is the name of the file until it is complete.
func (w *Writer) partial() string { return w.path + ".partial" }

// use makes f, which has the name of the partial file, the file that is written.
func (w *Writer) use(f *os.File) { w.file = newRecordFile(w.partial(), f, w.options.Wrap) }

// begin writes the header, or finds the end of the complete prompts of a file that
// is continued. adopt says that the dump at path is to be continued.
func (w *Writer) begin(adopt bool) error {
	if !adopt {
		if err := w.checkFinished(); err != nil {
			return err
		}
	} else if err := w.adopt(); err != nil {
		return err
	}
	size, err := w.file.size()
	if err != nil {
		return err
	}
	if size > 0 {
		if resumed, err := w.resume(size); resumed || err != nil {
			return err
		}
	}
	if err := w.file.f.Truncate(0); err != nil {
		return err
	}
	if err := w.file.appendJSON(record{Kind: kindHeader}, w.header); err != nil {
		os.Remove(w.partial()) // it holds nothing
		return err
	}
	return nil
}

// Warnings returns the damage that Create found in the file that it continues.
func (w *Writer) Warnings() []string { return w.warnings }

// Bytes returns the length of the file so far.
func (w *Writer) Bytes() int64 { return w.file.length.Load() }

// Failed returns the error of the first write that failed, after which nothing is written.
func (w *Writer) Failed() error { return w.queue.failed() }

// Done reports whether the prompt of an id is already complete.
func (w *Writer) Done(id string) bool { return w.done[id] }

// Begin starts a prompt whose blocks are written as they come. No other prompt may be
// under way until it is finished.
func (w *Writer) Begin(p Prompt) (*PromptWriter, error) {
	if w.done[p.ID] {
		return nil, fmt.Errorf("%s: prompt %q is already in the dump", w.path, p.ID)
	}
	pw := &PromptWriter{w: w, index: uint32(w.file.prompts), maxQ: map[int]float64{}}
	return pw, w.queue.failed()
}

// BeginHeld starts a prompt whose blocks stay in memory, encoded and compressed, until
// Finish writes them. Several such prompts may be under way at once. In the file, they are
// in the order in which they are finished; in the index, in the order of Prompt.Index.
func (w *Writer) BeginHeld(p Prompt) (*PromptWriter, error) {
	pw, err := w.Begin(p)
	if err == nil {
		pw.held = []job{}
	}
	return pw, err
}

// finished notes that all blocks of a prompt are in the file.
func (w *Writer) finished(p *Prompt) {
	w.file.prompts++
	w.places = append(w.places, p.Index)
	w.done[p.ID] = true
}

// Close writes the index, makes everything durable and renames the file, which stays
// locked until it has its final name.
func (w *Writer) Close() error {
	err := w.queue.stop()
	if err == nil {
		err = w.file.finish(setOrder(w.file.records, w.places))
	}
	if err != nil {
		return errors.Join(err, w.file.f.Close())
	}
	return renameOpen(w.file.f, w.partial(), w.path)
}

// Abort stops without completing the dump. The finished prompts stay in the partial
// file; a file without any is removed.
func (w *Writer) Abort() error {
	_ = w.queue.stop() // its error has been returned to the caller that aborts
	if w.file.prompts == 0 {
		return removeOpen(w.file.f, w.partial())
	}
	err := w.file.sync()
	return errors.Join(err, w.file.f.Close())
}

// setOrder lists records as the index does: prompts in the order of their prompt set,
// whatever the order in the file. places has the Prompt.Index of each prompt; if one is
// not known, the order does not change.
func setOrder(records []record, places []int) []record {
	if slices.IsSorted(places) || slices.Contains(places, 0) {
		return records
	}
	prompts := splitPrompts(records[1:])
	order := make([]int, len(prompts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return places[a] - places[b] })
	list := records[:1:1] // the header
	for _, i := range order {
		list = append(list, prompts[i]...)
	}
	return list
}

// splitPrompts splits records after each end of a prompt.
func splitPrompts(records []record) [][]record {
	var prompts [][]record
	first := 0
	for i := range records {
		if records[i].Kind == kindPrompt {
			prompts = append(prompts, records[first:i+1])
			first = i + 1
		}
	}
	return prompts
}
