package dumps

import (
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
)

// recordFile appends records to a file and lists them for its index.
type recordFile struct {
	name    string // of the file, for errors
	f       *os.File
	out     File // f or its replacement
	records []record
	prompts int          // complete ones among the records
	offset  int64        // end of the last record
	length  atomic.Int64 // offset, for other goroutines
	piece   []byte       // buffer of copyBlock
	copied  *counter     // of copyBlock
}

// newRecordFile returns a recordFile that starts at the beginning of f. wrap may be
// nil.
func newRecordFile(name string, f *os.File, wrap func(*os.File) File) *recordFile {
	w := &recordFile{name: name, f: f, out: f}
	if wrap != nil {
		w.out = wrap(f)
	}
	return w
}

// size returns the length of the file on disk.
func (w *recordFile) size() (int64, error) {
	fi, err := w.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// append writes a block at the end. A block that no reader would accept is an error.
func (w *recordFile) append(b block) error {
	if err := b.r.limits(); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	head := b.r.marshal(make([]byte, 0, frameBytes))
	if _, err := w.out.WriteAt(append(head, b.payload...), w.offset); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	w.add(b.r, w.offset+frameBytes+int64(len(b.payload)))
	return nil
}

// appendJSON writes a block of JSON at the end.
func (w *recordFile) appendJSON(r record, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.append(seal(r, text))
}

// add lists a record that was just appended and ends at offset end.
func (w *recordFile) add(r record, end int64) {
	r.at = w.offset + frameBytes
	w.records = append(w.records, r)
	w.offset = end
	w.length.Store(end)
}

// finish writes the index, which lists records, and the end of the file, and makes
// the file durable.
func (w *recordFile) finish(records []record) error {
	index := w.offset
	if err := w.append(seal(record{Kind: kindIndex}, marshalIndex(records))); err != nil {
		return err
	}
	if err := w.append(block{r: endRecord(index)}); err != nil {
		return err
	}
	return w.sync()
}

// sync makes everything that was written durable.
func (w *recordFile) sync() error {
	if err := w.out.Sync(); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	return nil
}
