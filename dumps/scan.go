package dumps

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// scanned is what a walk over the records of a file found.
type scanned struct {
	header   *Header
	prompts  []Prompt
	records  []record // header and blocks of complete prompts, in order
	end      int64    // where the last complete prompt ends
	complete bool     // the index stands where it must
	damaged  bool     // something before end is not of a complete prompt
	warnings []string
	dropped  int // warnings that are not listed
}

// maxWarnings is how many damaged places are listed.
const maxWarnings = 20

func (s *scanned) warn(format string, args ...any) {
	if len(s.warnings) == maxWarnings {
		s.dropped++
		return
	}
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// scanFile walks over the records and keeps those of complete prompts. Past a
// damaged place it goes on at the next record head, so that damage costs the
// prompt it is in and no other.
func scanFile(f io.ReaderAt, size int64, name string) (*scanned, error) {
	s := &scanned{}
	var pending []record
	var ends uint64
	gap := false // damage since the last complete prompt
	head := make([]byte, frameBytes)
	for at := int64(0); at < size; {
		r, err := readRecord(f, at, size, head)
		if err != nil {
			if s.header == nil {
				return nil, fmt.Errorf("%s: byte %d: %w", name, at, err)
			}
			if !errors.Is(err, ErrCorrupt) {
				return nil, fmt.Errorf("%s: byte %d: %w", name, at, err) // the disk, not the file
			}
			next := nextRecord(f, at+1, size)
			if next < 0 {
				s.warn("%s: byte %d: %v; nothing that can be read follows", name, at, err)
				break
			}
			s.warn("%s: byte %d: %v; read on from byte %d", name, at, err, next)
			at, gap = next, true
			continue
		}
		at = r.at + int64(r.Stored)
		switch r.Kind {
		case kindHeader:
			if s.header != nil {
				return nil, fmt.Errorf("%s: byte %d: a second header: %w", name, r.at, ErrCorrupt)
			}
			if s.header, err = readHeader(f, r, name); err != nil {
				return nil, err
			}
			s.records, s.end = append(s.records, r), at
		case kindPrompt:
			if s.header == nil {
				return nil, fmt.Errorf("%s: begins with %s, want the header: %w", name, r.Kind, ErrCorrupt)
			}
			blocks := pending[:0]
			for _, b := range pending {
				if b.Prompt == r.Prompt { // others: of a prompt whose end is damaged
					blocks = append(blocks, b)
				}
			}
			gap = gap || len(blocks) < len(pending)
			if ends += r.Raw; ends > maxPrompts(size) {
				return nil, fmt.Errorf("%s: the ends of its prompts take %d bytes in a file of %d: %w", name, ends, size, ErrCorrupt)
			}
			p, err := readPrompt(f, r, s.header)
			if err == nil && p.Blocks != len(blocks) {
				err = fmt.Errorf("%d blocks, its end counts %d: %w", len(blocks), p.Blocks, ErrCorrupt)
			}
			if err != nil {
				s.warn("%s: prompt %d: %v; it is left out", name, r.Prompt, err)
				pending, gap = pending[:0], true
				continue
			}
			s.records = append(append(s.records, blocks...), r)
			s.prompts, s.end, pending = append(s.prompts, *p), at, pending[:0]
			s.damaged = s.damaged || gap
			gap = false
		case kindIndex:
		case kindEnd:
			s.complete = at == size
		default:
			if s.header == nil {
				return nil, fmt.Errorf("%s: begins with %s, want the header: %w", name, r.Kind, ErrCorrupt)
			}
			pending = append(pending, r)
		}
	}
	if s.header == nil {
		return nil, fmt.Errorf("%s: %d bytes, no header: it is empty or cut: %w", name, size, ErrCorrupt)
	}
	if s.dropped > 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("%s: %d more damaged places", name, s.dropped))
	}
	return s, nil
}

// nextRecord finds the next sound record head at or after a byte; -1: none.
func nextRecord(f io.ReaderAt, at, size int64) int64 {
	sign := binary.LittleEndian.AppendUint32(nil, skippable)
	sign = append(binary.LittleEndian.AppendUint32(sign, headBytes), "ATN1"...)
	buf, head := make([]byte, 1<<20), make([]byte, frameBytes)
	for at < size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n < len(sign) || err != nil && err != io.EOF {
			return -1
		}
		for from := 0; ; from++ {
			i := bytes.Index(buf[from:n], sign)
			if i < 0 {
				break
			}
			from += i
			if _, err := readRecord(f, at+int64(from), size, head); err == nil {
				return at + int64(from)
			}
		}
		at += int64(max(1, n-len(sign)+1))
	}
	return -1
}

// readRecord reads a record head and checks that its payload lies in the file.
func readRecord(f io.ReaderAt, at, size int64, head []byte) (record, error) {
	var r record
	n := min(int64(frameBytes), size-at)
	if _, err := f.ReadAt(head[:n], at); err != nil && err != io.EOF {
		return r, err
	}
	if err := r.unmarshal(head[:n]); err != nil {
		return r, err
	}
	r.at = at + frameBytes
	if r.Stored > uint64(size-r.at) {
		return r, fmt.Errorf("%s of %d bytes, the file has %d left: it is cut: %w", r.Kind, r.Stored, size-r.at, ErrCorrupt)
	}
	if r.Kind == kindIndex && r.Raw > maxIndex(size) {
		return r, fmt.Errorf("an index of %d bytes, more than a file of %d has records for: %w", r.Raw, size, ErrCorrupt)
	}
	return r, nil
}

func readPayload(f io.ReaderAt, r *record) ([]byte, error) {
	b := make([]byte, r.Stored)
	return b, readInto(f, r, b)
}

func readInto(f io.ReaderAt, r *record, b []byte) error {
	_, err := f.ReadAt(b, r.at)
	return err
}

func readJSON(f io.ReaderAt, r record, v any) error {
	stored, err := readPayload(f, &r)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Kind, err)
	}
	raw, err := inflate(&r, stored)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Kind, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %v: %w", r.Kind, err, ErrCorrupt)
	}
	return nil
}

func readHeader(f io.ReaderAt, r record, name string) (*Header, error) {
	h := &Header{}
	if err := readJSON(f, r, h); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if h.Version != Version {
		return nil, fmt.Errorf("%s: format version %d, this program reads %d: use a newer attnscope", name, h.Version, Version)
	}
	return h, h.check(name)
}

// check refuses shapes that make no sense; layers and heads are named by what
// is wrong.
func (h *Header) check(name string) error {
	m, p := &h.Model, &h.Plan
	within := func(v, lo, hi int) bool { return v >= lo && v <= hi }
	ok := within(m.Layers, 1, maxLayers) && within(m.Heads, 1, maxHeads) && within(m.KVHeads, 1, m.Heads) && m.Heads%max(1, m.KVHeads) == 0 &&
		len(p.Layers) > 0 && len(p.Heads) > 0 && within(m.HeadDim, 1, maxDim) && within(m.ValueDim, 0, maxDim) && within(m.Vocab, 0, maxVocab) &&
		within(len(m.LayerWindows), 0, m.Layers) && ascending(p.Layers, m.Layers) && ascending(p.Heads, m.Heads) &&
		within(p.WindowRows, 0, maxTokens) && within(p.PromptWindows, 0, maxTokens) && within(p.PromptWindowSize, 0, maxTokens) &&
		within(p.MaxNewTokens, 0, math.MaxInt32) && within(p.Overview, 0, maxSide)
	for _, w := range m.LayerWindows {
		ok = ok && w >= 0
	}
	if !ok {
		return fmt.Errorf("%s: the header's shapes make no sense: %w", name, ErrCorrupt)
	}
	return nil
}

func ascending(list []int, below int) bool {
	last := -1
	for _, v := range list {
		if v <= last || v >= below {
			return false
		}
		last = v
	}
	return true
}

func readPrompt(f io.ReaderAt, r record, h *Header) (*Prompt, error) {
	p := &Prompt{}
	if err := readJSON(f, r, p); err != nil {
		return nil, err
	}
	if p.PromptTokens < 1 || p.PromptTokens > maxTokens || p.ReplyTokens < 0 || p.ReplyTokens > maxTokens ||
		p.WindowRows < 0 || p.WindowRows > p.PromptTokens || p.Blocks < 0 ||
		len(p.Tokens) != p.PromptTokens+p.ReplyTokens || p.Index < 0 || p.Store != "" && p.Store != StoreRows && p.Store != StoreFactors || !p.textFits() {
		return nil, fmt.Errorf("prompt %q: its counts make no sense: %w", p.ID, ErrCorrupt)
	}
	return p, nil
}

// textFits says whether the places and pieces of tokens are those of the text.
func (p *Prompt) textFits() bool {
	last := int32(0)
	for _, end := range p.Offsets {
		if end < last || int(end) > len(p.Text) {
			return false
		}
		last = end
	}
	return (len(p.Offsets) == 0 || len(p.Offsets) == p.PromptTokens) && (len(p.Pieces) == 0 || len(p.Pieces) == len(p.Tokens))
}

// marshalIndex lists all records: offset of the payload, then the record head.
func marshalIndex(list []record) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(list)))
	for i := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(list[i].at))
		b = list[i].marshal(b)
	}
	return b
}

// readIndex reads the index of a complete file; nil where there is none.
func readIndex(f io.ReaderAt, size int64) []record {
	head := make([]byte, frameBytes)
	if size < 2*frameBytes {
		return nil
	}
	end, err := readRecord(f, size-frameBytes, size, head)
	if err != nil || end.Kind != kindEnd {
		return nil
	}
	at := int64(end.Row0) | int64(end.Rows)<<32
	if at < 0 || at > size-2*frameBytes {
		return nil
	}
	r, err := readRecord(f, at, size, head)
	if err != nil || r.Kind != kindIndex {
		return nil
	}
	stored, err := readPayload(f, &r)
	if err != nil {
		return nil
	}
	raw, err := inflate(&r, stored)
	if err != nil || len(raw) < 8 {
		return nil
	}
	n := binary.LittleEndian.Uint64(raw)
	if raw = raw[8:]; uint64(len(raw))%(8+frameBytes) != 0 || uint64(len(raw))/(8+frameBytes) != n {
		return nil
	}
	list := make([]record, n)
	for i := range list {
		if list[i].unmarshal(raw[8:8+frameBytes]) != nil {
			return nil
		}
		list[i].at = int64(binary.LittleEndian.Uint64(raw))
		if list[i].at < frameBytes || list[i].at > size || list[i].Stored > uint64(size-list[i].at) {
			return nil
		}
		raw = raw[8+frameBytes:]
	}
	return list
}
