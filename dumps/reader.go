package dumps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// Reader reads a dump; its methods may be called from several goroutines.
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
}

// blockKey finds the blocks of one kind of one layer.
type blockKey struct {
	kind  kind
	phase Phase
	layer uint32
}

// Open opens a dump. A cut or unfinished one is read as far as its prompts are
// complete, with a warning. Where path does not exist, path.partial is tried.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if g, partial := os.Open(path + ".partial"); partial == nil {
			f, err, path = g, nil, path+".partial"
		}
	}
	if err != nil {
		return nil, err
	}
	r := &Reader{path: path, f: f}
	if err := r.open(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) open() error {
	fi, err := r.f.Stat()
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return fmt.Errorf("%s: is a folder, want a dump", r.path)
	}
	r.size = fi.Size()
	if list := readIndex(r.f, r.size); list != nil && r.fromIndex(list) == nil {
		r.complete = true
		return nil
	}
	s, err := scanFile(r.f, r.size, r.path)
	if err != nil {
		return err
	}
	r.prompts, r.blocks, r.numbers = nil, nil, nil
	r.header, r.warnings = s.header, s.warnings
	if err := r.fill(s.records, s.prompts); err != nil {
		return err
	}
	if s.complete {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: its index is damaged; attnscope repair rebuilds it", r.path))
	} else {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: not complete; its %d finished prompts are read", r.path, len(r.prompts)))
	}
	return nil
}

func (r *Reader) fromIndex(list []record) error {
	if len(list) == 0 || list[0].Kind != kindHeader {
		return ErrCorrupt
	}
	h, err := readHeader(r.f, list[0], r.path)
	if err != nil {
		return err
	}
	r.header = h
	return r.fill(list, nil)
}

// fill sorts the records of complete prompts by what they hold. The prompts are
// read from their ends where they are not given.
func (r *Reader) fill(list []record, prompts []Prompt) error {
	blocks, count, first := map[blockKey][]record{}, 0, uint32(0)
	var ends uint64
	for i, rec := range list {
		switch rec.Kind {
		case kindHeader:
			if i > 0 {
				return fmt.Errorf("%s: an index with two headers: %w", r.path, ErrCorrupt)
			}
		case kindPrompt:
			var p *Prompt
			if prompts != nil {
				p = &prompts[len(r.prompts)]
			} else {
				var err error
				if ends += rec.Raw; ends > maxPrompts(r.size) {
					return fmt.Errorf("%s: the ends of its prompts take %d bytes in a file of %d: %w", r.path, ends, r.size, ErrCorrupt)
				}
				if p, err = readPrompt(r.f, rec, r.header); err != nil {
					return fmt.Errorf("%s: %w", r.path, err)
				}
			}
			if p.Blocks != count || count > 0 && first != rec.Prompt {
				return fmt.Errorf("%s: prompt %q has %d blocks, its end counts %d: %w", r.path, p.ID, count, p.Blocks, ErrCorrupt)
			}
			r.prompts, r.blocks, r.numbers = append(r.prompts, *p), append(r.blocks, blocks), append(r.numbers, rec.Prompt)
			blocks, count = map[blockKey][]record{}, 0
		case kindIndex, kindEnd:
			return fmt.Errorf("%s: an index that lists an index: %w", r.path, ErrCorrupt)
		default:
			if count > 0 && rec.Prompt != first {
				return fmt.Errorf("%s: blocks of prompts %d and %d are mixed: %w", r.path, first, rec.Prompt, ErrCorrupt)
			}
			first, count = rec.Prompt, count+1
			key := blockKey{rec.Kind, rec.Phase, rec.Layer}
			blocks[key] = append(blocks[key], rec)
		}
	}
	return nil
}

// idOf names the prompt of a record; empty where it is not among the complete.
func (r *Reader) idOf(rec *record) string {
	if rec.Kind == kindHeader || rec.Kind == kindIndex || rec.Kind == kindEnd {
		return ""
	}
	for i, n := range r.numbers {
		if n == rec.Prompt {
			return r.prompts[i].ID
		}
	}
	return ""
}

// placeOf describes a record by the id of its prompt.
func (r *Reader) placeOf(rec *record) string {
	if id := r.idOf(rec); id != "" {
		return fmt.Sprintf("prompt %q, %s", id, rec.what())
	}
	return rec.place()
}

// Path is the file that is read.
func (r *Reader) Path() string { return r.path }

// Header is the dump's first record.
func (r *Reader) Header() *Header { return r.header }

// Prompts lists the complete prompts.
func (r *Reader) Prompts() []Prompt { return r.prompts }

// Complete says whether the dump was finished and its index is whole.
func (r *Reader) Complete() bool { return r.complete }

// Warnings tell what is wrong with a dump that can be read all the same.
func (r *Reader) Warnings() []string { return r.warnings }

// Size is the length of the file in bytes.
func (r *Reader) Size() int64 { return r.size }

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// floats reads one array block.
func (r *Reader) floats(rec *record) ([]float32, error) { return r.decode(rec, new(buffer)) }

// buffer is what decoding a block needs, kept for the next.
type buffer struct {
	stored, raw []byte
	values      []float32
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// decode reads one array block; the values lie in b.
func (r *Reader) decode(rec *record, b *buffer) ([]float32, error) {
	n, _ := rec.elements()
	defer decoding.leave(decoding.enter(int64(rec.Stored + rec.Raw + 4*n)))
	b.stored, b.raw, b.values = atLeast(b.stored, rec.Stored), atLeast(b.raw, rec.Raw), atLeast(b.values, n)
	stored, values := b.stored[:rec.Stored], b.values[:n]
	err := readInto(r.f, rec, stored)
	if err == nil {
		var raw []byte
		if raw, err = inflateInto(b.raw[:0:rec.Raw], rec, stored); err == nil {
			err = decodeFloats(rec, raw, values)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", r.path, r.placeOf(rec), err)
	}
	return values, nil
}

// atLeast returns x if it holds n values, else new room.
func atLeast[T any](x []T, n uint64) []T {
	if uint64(len(x)) >= n {
		return x
	}
	return make([]T, n)
}

// find lists blocks, or says what is missing.
func (r *Reader) find(prompt, layer int, k kind, ph Phase) ([]record, error) {
	if prompt < 0 || prompt >= len(r.prompts) {
		return nil, fmt.Errorf("%s: prompt %d of %d", r.path, prompt, len(r.prompts))
	}
	return r.blocks[prompt][blockKey{k, ph, uint32(layer)}], nil
}

// Sums returns the weights summed over all prompt queries, [heads, P].
func (r *Reader) Sums(prompt, layer int) ([]float32, error) {
	list, err := r.find(prompt, layer, kindSums, Prefill)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%s: sums over all queries of layer %d: %w", r.path, layer, ErrAbsent)
	}
	x, err := r.floats(&list[0])
	if err == nil && len(x) != len(r.header.Plan.Heads)*r.prompts[prompt].PromptTokens {
		err = r.misfit(&list[0])
	}
	return x, err
}

// Overview returns the pooled picture of a layer's whole map over the prompt,
// [heads, side, side], each cell the largest weight of its queries and keys.
func (r *Reader) Overview(prompt, layer int) (cells []float32, side int, err error) {
	list, err := r.find(prompt, layer, kindOverview, Prefill)
	if err != nil {
		return nil, 0, err
	}
	if len(list) != 1 {
		return nil, 0, fmt.Errorf("%s: picture of the whole map of layer %d: %w (capture with --overview SIDE)", r.path, layer, ErrAbsent)
	}
	x, err := r.floats(&list[0])
	side = r.header.Plan.Overview
	if err == nil && len(x) != len(r.header.Plan.Heads)*side*side {
		err = r.misfit(&list[0])
	}
	return x, side, err
}

func (r *Reader) misfit(rec *record) error {
	return fmt.Errorf("%s: %s: it does not fit the prompt: %w", r.path, r.placeOf(rec), ErrCorrupt)
}

// Windows returns the sums over the older query windows, [heads, W, P], window
// W-1 at the prompt's end. W is min(asked, P div size).
func (r *Reader) Windows(prompt, layer int) (sums []float32, count int, err error) {
	list, err := r.find(prompt, layer, kindWindow, Prefill)
	if err != nil {
		return nil, 0, err
	}
	plan, p := &r.header.Plan, &r.prompts[prompt]
	if plan.PromptWindowSize > 0 {
		count = min(plan.PromptWindows, p.PromptTokens/plan.PromptWindowSize)
	}
	heads, n := len(plan.Heads), p.PromptTokens
	if len(list) != count {
		return nil, 0, fmt.Errorf("%s: prompt %d, layer %d: %d query windows, want %d: %w", r.path, prompt, layer, len(list), count, ErrCorrupt)
	}
	if sums, err = r.room("query windows", heads, count, n); err != nil {
		return nil, 0, err
	}
	for i := range list {
		x, err := r.floats(&list[i])
		if err != nil {
			return nil, 0, err
		}
		keys, w := int(list[i].Keys), int(list[i].Row0)
		if int(list[i].NH) != heads || keys > n || w >= count || list[i].Rows != 1 {
			return nil, 0, r.misfit(&list[i])
		}
		for h := range heads {
			copy(sums[(h*count+w)*n:], x[h*keys:(h+1)*keys])
		}
	}
	return sums, count, nil
}

// Logits returns the logits of the reply, [G, vocab], row r those that picked
// or scored reply token r.
func (r *Reader) Logits(prompt int) ([]float32, error) {
	list, err := r.find(prompt, 0, kindLogits, Prefill)
	if err != nil {
		return nil, err
	}
	g := r.prompts[prompt].ReplyTokens
	vocab := r.header.Model.Vocab
	if len(list) == 0 && g > 0 {
		return nil, fmt.Errorf("%s: logits: %w (capture with --logits)", r.path, ErrAbsent)
	}
	out, err := r.room("logits", g, vocab)
	if err != nil {
		return nil, err
	}
	for i := range list {
		x, err := r.floats(&list[i])
		if err != nil {
			return nil, err
		}
		if int(list[i].Row0)+int(list[i].Rows) > g || int(list[i].Keys) != vocab {
			return nil, r.misfit(&list[i])
		}
		copy(out[int(list[i].Row0)*vocab:], x)
	}
	return out, nil
}
