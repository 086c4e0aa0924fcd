package dumps

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// scanned holds the result of a walk over the records of a file.
type scanned struct {
	header   *Header
	prompts  []Prompt // complete ones, in the order of their set
	records  []record // header and blocks of complete prompts, in the order of prompts
	end      int64    // where the last complete prompt ends
	complete bool     // the file ends with an end record
	damaged  bool     // something before end is not part of a complete prompt
	warnings []string
	dropped  int // warnings that are not listed

	f       io.ReaderAt
	size    int64
	name    string   // of the file, for errors
	pending []record // blocks whose prompt has not ended yet
	ends    endBudget
	gap     bool // damage since the last complete prompt
}

// maxWarnings is the number of damaged places that are listed.
const maxWarnings = 20

func (s *scanned) warn(format string, args ...any) {
	if len(s.warnings) == maxWarnings {
		s.dropped++
		return
	}
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// scanFile walks over the records and keeps those of complete prompts. After a damaged
// place it continues at the next record head, so that damage costs only the prompt it
// is in. A file without a sound header is an error.
func scanFile(f io.ReaderAt, size int64, name string) (*scanned, error) {
	s := &scanned{f: f, size: size, name: name, ends: endBudget{name: name, size: size}}
	head := make([]byte, frameBytes)
	for at := int64(0); at < size; {
		r, err := readRecord(f, at, size, head)
		if err != nil {
			at, err = s.skipDamage(at, err)
			if err != nil {
				return nil, err
			}
			continue
		}
		at = r.at + int64(r.Stored)
		if err := s.record(r, at); err != nil {
			return nil, err
		}
	}
	switch {
	case s.header == nil && size == 0:
		return nil, fmt.Errorf("%s: the file is empty: %w", name, ErrCorrupt)
	case s.header == nil:
		return nil, fmt.Errorf("%s: %d bytes, no header: it is cut: %w", name, size, ErrCorrupt)
	}
	s.sort()
	if s.dropped > 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("%s: %d more damaged places", name, s.dropped))
	}
	return s, nil
}

// sort puts the prompts in the order of their set, if they know it.
func (s *scanned) sort() {
	places := make([]int, len(s.prompts))
	for i := range s.prompts {
		places[i] = s.prompts[i].Index
	}
	s.records = setOrder(s.records, places)
	if !slices.Contains(places, 0) {
		slices.SortStableFunc(s.prompts, func(a, b Prompt) int { return a.Index - b.Index })
	}
}

// skipDamage returns where the next record begins after a place that could not be
// read, or the size of the file if none does. Damage before the header and errors of
// the disk are returned.
func (s *scanned) skipDamage(at int64, damage error) (next int64, err error) {
	if s.header == nil || !errors.Is(damage, ErrCorrupt) {
		return 0, fmt.Errorf("%s: byte %d: %w", s.name, at, damage)
	}
	next = nextRecord(s.f, at+1, s.size)
	if next < 0 {
		s.warn("%s: byte %d: %v; nothing after it can be read", s.name, at, damage)
		return s.size, nil
	}
	s.warn("%s: byte %d: %v; reading continues at byte %d", s.name, at, damage, next)
	s.gap = true
	return next, nil
}

// record takes the next record, which ends at end.
func (s *scanned) record(r record, end int64) error {
	switch r.Kind {
	case kindHeader:
		return s.readHeader(r, end)
	case kindPrompt:
		return s.endPrompt(r, end)
	case kindIndex:
	case kindEnd:
		s.complete = end == s.size
	default:
		if s.header == nil {
			return s.noHeader(r)
		}
		s.pending = append(s.pending, r)
	}
	return nil
}

func (s *scanned) readHeader(r record, end int64) error {
	if s.header != nil {
		return fmt.Errorf("%s: byte %d: a second header: %w", s.name, r.at, ErrCorrupt)
	}
	h, unknown, err := readHeader(s.f, r, s.name)
	if err != nil {
		return err
	}
	s.header = h
	s.warnings = append(s.warnings, unknown...)
	s.records = append(s.records, r)
	s.end = end
	return nil
}

func (s *scanned) noHeader(r record) error {
	return fmt.Errorf("%s: begins with %s, want the header: %w", s.name, r.Kind, ErrCorrupt)
}

// endPrompt completes a prompt, or leaves it out with a warning.
func (s *scanned) endPrompt(r record, end int64) error {
	if s.header == nil {
		return s.noHeader(r)
	}
	blocks := s.pending[:0]
	for _, b := range s.pending {
		if b.Prompt == r.Prompt { // all others are of a prompt whose end is damaged
			blocks = append(blocks, b)
		}
	}
	s.gap = s.gap || len(blocks) < len(s.pending)
	s.pending = s.pending[:0]
	if err := s.ends.take(r.Raw); err != nil {
		return err
	}
	p, err := s.ends.readPrompt(s.f, r)
	if err == nil && p.Blocks != len(blocks) {
		err = fmt.Errorf("%d blocks, its end counts %d: %w", len(blocks), p.Blocks, ErrCorrupt)
	}
	if err != nil {
		s.warn("%s: prompt %d: %v; it is left out", s.name, r.Prompt, err)
		s.gap = true
		return nil
	}
	s.records = append(append(s.records, blocks...), r)
	s.prompts = append(s.prompts, *p)
	s.end = end
	s.damaged = s.damaged || s.gap
	s.gap = false
	return nil
}

// nextRecord finds the next sound record head at or after a byte; -1: none.
func nextRecord(f io.ReaderAt, at, size int64) int64 {
	sign := binary.LittleEndian.AppendUint32(nil, skippable)
	sign = binary.LittleEndian.AppendUint32(sign, headBytes)
	sign = append(sign, magic...)
	buf := make([]byte, 1<<20)
	head := make([]byte, frameBytes)
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
