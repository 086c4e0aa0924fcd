package dumps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// Reader reads a dump. Its methods may be called from several goroutines.
type Reader struct {
	path     string
	f        *os.File
	size     int64
	header   *Header
	prompts  []Prompt
	blocks   []map[blockKey][]record // per prompt
	numbers  []uint32                // per prompt: its number in the file's records
	complete bool
	warnings []string

	// unchecked readers return numbers that are no weights: Verify reports them.
	unchecked bool
}

// blockKey identifies the blocks of one kind of one layer.
type blockKey struct {
	kind  kind
	phase Phase
	layer uint32
}

// Open opens a dump. From a cut, damaged or unfinished dump, the complete prompts are
// read, with a warning. If path does not exist, path.partial is opened. Errors about
// damage wrap [ErrCorrupt]; a file of another kind is a [*NotDumpError].
func Open(path string) (*Reader, error) {
	if at, err := os.Stat(path); err == nil && !at.Mode().IsRegular() && !at.IsDir() {
		return nil, fmt.Errorf("%s is a device, a pipe or a socket, want a dump", path) // a pipe would wait for a writer
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if partial, err := os.Open(path + ".partial"); err == nil {
			return open(partial, path+".partial")
		}
	}
	if err != nil {
		return nil, err
	}
	return open(f, path)
}

// open reads header and index of f. It closes f if that fails.
func open(f *os.File, path string) (*Reader, error) {
	r := &Reader{path: path, f: f}
	if err := r.read(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// read reads header and index, or walks over all records if there is no index.
func (r *Reader) read() error {
	fi, err := r.f.Stat()
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return fmt.Errorf("%s: is a folder, want a dump", r.path)
	}
	r.size = fi.Size()
	if list := readIndex(r.f, r.size); list != nil && r.useIndex(list) == nil {
		r.complete = true
		r.warnings = append(r.warnings, r.lackWarnings()...)
		return nil
	}
	return r.walk()
}

// walk reads the file without its index.
func (r *Reader) walk() error {
	if err := checkKind(r.f, r.size, r.path); err != nil {
		return err
	}
	scan, err := scanFile(r.f, r.size, r.path)
	if err != nil {
		return err
	}
	if err := r.useScan(scan); err != nil {
		return err
	}
	state := fmt.Sprintf("not complete; its %d finished prompts are read", len(r.prompts))
	if scan.complete {
		state = "its index is damaged; attnscope repair rebuilds it"
	}
	r.warnings = append(r.warnings, r.path+": "+state)
	return nil
}

// useScan takes the prompts that a walk over the file has found.
func (r *Reader) useScan(scan *scanned) error {
	r.prompts, r.blocks, r.numbers = nil, nil, nil // of an index that could not be used
	r.complete = false
	r.header = scan.header
	r.warnings = scan.warnings
	return r.fill(scan.records, scan.prompts)
}

func (r *Reader) useIndex(list []record) error {
	if len(list) == 0 || list[0].Kind != kindHeader {
		return ErrCorrupt
	}
	h, unknown, err := readHeader(r.f, list[0], r.path)
	if err != nil {
		return err
	}
	r.header = h
	r.warnings = unknown
	return r.fill(list, nil)
}

// fill groups the records of complete prompts by layer and kind. If prompts is nil,
// the ends of prompts are read from the file.
func (r *Reader) fill(list []record, prompts []Prompt) error {
	blocks := map[blockKey][]record{} // of the current prompt
	count := 0
	number := uint32(0)
	ends := endBudget{name: r.path, size: r.size}
	for i, rec := range list {
		switch rec.Kind {
		case kindHeader:
			if i > 0 {
				return fmt.Errorf("%s: an index with two headers: %w", r.path, ErrCorrupt)
			}
		case kindIndex, kindEnd:
			return fmt.Errorf("%s: an index that lists an index: %w", r.path, ErrCorrupt)
		case kindPrompt:
			p, err := r.promptEnd(rec, prompts, &ends)
			if err != nil {
				return err
			}
			if p.Blocks != count || count > 0 && number != rec.Prompt {
				return fmt.Errorf("%s: prompt %q has %d blocks, its end counts %d: %w",
					r.path, p.ID, count, p.Blocks, ErrCorrupt)
			}
			r.prompts = append(r.prompts, *p)
			r.blocks = append(r.blocks, blocks)
			r.numbers = append(r.numbers, rec.Prompt)
			blocks = map[blockKey][]record{}
			count = 0
		default:
			if count > 0 && rec.Prompt != number {
				return fmt.Errorf("%s: blocks of prompts %d and %d are mixed: %w", r.path, number, rec.Prompt, ErrCorrupt)
			}
			number = rec.Prompt
			count++
			key := blockKey{rec.Kind, rec.Phase, rec.Layer}
			blocks[key] = append(blocks[key], rec)
		}
	}
	return nil
}

// promptEnd returns the next prompt, from prompts or, if that is nil, from the file.
func (r *Reader) promptEnd(rec record, prompts []Prompt, ends *endBudget) (*Prompt, error) {
	if prompts != nil {
		return &prompts[len(r.prompts)], nil
	}
	if err := ends.take(rec.Raw); err != nil {
		return nil, err
	}
	p, err := ends.readPrompt(r.f, rec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.path, err)
	}
	return p, nil
}

// Path returns the name of the file that is read.
func (r *Reader) Path() string { return r.path }

// Header returns the dump's header.
func (r *Reader) Header() *Header { return r.header }

// Prompts returns the complete prompts. Other methods take an index into this list.
func (r *Reader) Prompts() []Prompt { return r.prompts }

// Complete reports whether the dump was finished and its index is whole.
func (r *Reader) Complete() bool { return r.complete }

// Warnings returns the problems of a dump that can still be read.
func (r *Reader) Warnings() []string { return r.warnings }

// Size returns the length of the file in bytes.
func (r *Reader) Size() int64 { return r.size }

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// idOf returns the id of a record's prompt, or "" if that prompt is not complete.
func (r *Reader) idOf(rec *record) string {
	if rec.Kind == kindHeader || rec.Kind == kindIndex || rec.Kind == kindEnd {
		return ""
	}
	if i := slices.Index(r.numbers, rec.Prompt); i >= 0 {
		return r.prompts[i].ID
	}
	return ""
}

// placeOf describes a record with the id of its prompt.
func (r *Reader) placeOf(rec *record) string {
	if id := r.idOf(rec); id != "" {
		return fmt.Sprintf("prompt %q, %s", id, rec.what())
	}
	return rec.place()
}

// promptAt returns a prompt by its index.
func (r *Reader) promptAt(prompt int) (*Prompt, error) {
	if prompt < 0 || prompt >= len(r.prompts) {
		return nil, fmt.Errorf("%s: prompt %d of %d", r.path, prompt, len(r.prompts))
	}
	return &r.prompts[prompt], nil
}

// checkLayer returns an error if a layer was not recorded.
func (r *Reader) checkLayer(layer int) error {
	if slices.Contains(r.header.Plan.Layers, layer) {
		return nil
	}
	why := ""
	if m := &r.header.Model; layer >= 0 && layer < m.Layers && !slices.Contains(m.AttentionLayers(), layer) {
		why = ": the layer has no attention"
	}
	return fmt.Errorf("%s: layer %d: %w%s; the dump has layers %v", r.path, layer, ErrAbsent, why, r.header.Plan.Layers)
}

// find lists the blocks of one kind of a layer of a prompt.
func (r *Reader) find(prompt, layer int, k kind, ph Phase) []record {
	return r.blocks[prompt][blockKey{k, ph, uint32(layer)}]
}

// buffer is the memory that decoding a block needs, kept for the next one.
type buffer struct {
	stored, raw []byte
	values      []float32
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// floats reads one array block.
func (r *Reader) floats(rec *record) ([]float32, error) { return r.decode(rec, new(buffer)) }

// decode reads one array block. The values belong to b.
func (r *Reader) decode(rec *record, b *buffer) ([]float32, error) {
	values, err := r.decodeInto(rec, b)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", r.path, r.placeOf(rec), err)
	}
	return values, nil
}

// decodeInto is like decode; its errors do not name the file and the block.
func (r *Reader) decodeInto(rec *record, b *buffer) ([]float32, error) {
	n := rec.elements()
	bytes := int64(frameBytes + rec.Stored + rec.Raw + 4*n)
	decoding.take(bytes)
	defer decoding.give(bytes)
	b.stored = atLeast(b.stored, frameBytes+rec.Stored)
	b.raw = atLeast(b.raw, rec.Raw)
	b.values = atLeast(b.values, n)
	values := b.values[:n]
	stored, err := readOwn(r.f, rec, b.stored)
	if err == nil {
		var raw []byte
		if raw, err = inflateInto(b.raw[:0:rec.Raw], rec, stored); err == nil {
			err = decodeFloats(rec, raw, values)
		}
	}
	return values, err
}

// atLeast returns x if it holds n values, otherwise a new slice of n.
func atLeast[T any](x []T, n uint64) []T {
	if uint64(len(x)) >= n {
		return x
	}
	return make([]T, n)
}

func (r *Reader) misfit(rec *record) error {
	return fmt.Errorf("%s: %s: it does not fit the prompt: %w", r.path, r.placeOf(rec), ErrCorrupt)
}

// checkRows compares the rows of some blocks with the number that the prompt says.
func (r *Reader) checkRows(prompt, layer int, k kind, list []record, want int) error {
	got := 0
	for i := range list {
		got += int(list[i].Rows)
	}
	if got != want {
		return fmt.Errorf("%s: prompt %q, layer %d: %s of %d rows, want %d: %w",
			r.path, r.prompts[prompt].ID, layer, k, got, want, ErrCorrupt)
	}
	return nil
}
