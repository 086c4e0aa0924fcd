package dumps

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// scanned is what a walk over the records of a file found.
type scanned struct {
	header   *Header
	prompts  []Prompt
	records  []record // header and blocks of complete prompts, in order
	end      int64    // where the last complete prompt ends
	complete bool     // the index stands where it must
	warnings []string
}

// scanFile walks over the records and keeps those of complete prompts.
func scanFile(f io.ReaderAt, size int64, name string) (*scanned, error) {
	s := &scanned{}
	var pending []record
	head := make([]byte, frameBytes)
	at := int64(0)
	for at < size {
		r, err := readRecord(f, at, size, head)
		if err != nil {
			if s.header == nil {
				return nil, fmt.Errorf("%s: byte %d: %w", name, at, err)
			}
			s.warnings = append(s.warnings, fmt.Sprintf("%s: byte %d: %v; what follows is not read", name, at, err))
			break
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
			p, err := readPrompt(f, r, s.header)
			if err != nil || p.Blocks != len(pending) {
				if err == nil {
					err = fmt.Errorf("%d blocks, its end counts %d: %w", len(pending), p.Blocks, ErrCorrupt)
				}
				s.warnings = append(s.warnings, fmt.Sprintf("%s: prompt %d: %v; it is left out", name, r.Prompt, err))
				pending = pending[:0]
				continue
			}
			s.records = append(append(s.records, pending...), r)
			s.prompts, s.end, pending = append(s.prompts, *p), at, pending[:0]
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
	return s, nil
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
	if int64(r.Stored) > size-r.at {
		return r, fmt.Errorf("%s of %d bytes, the file has %d left: it is cut: %w", r.Kind, r.Stored, size-r.at, ErrCorrupt)
	}
	return r, nil
}

func readPayload(f io.ReaderAt, r *record) ([]byte, error) {
	b := make([]byte, r.Stored)
	if _, err := f.ReadAt(b, r.at); err != nil {
		return nil, fmt.Errorf("%s: %w", r.place(), err)
	}
	return b, nil
}

func readJSON(f io.ReaderAt, r record, v any) error {
	stored, err := readPayload(f, &r)
	if err != nil {
		return err
	}
	raw, err := inflate(&r, stored)
	if err != nil {
		return err
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

// Limits on what a header may say, FORMAT.md section 5.
const (
	maxLayers = 1 << 12
	maxHeads  = 1 << 12
	maxDim    = 1 << 14
	maxTokens = 1 << 26
)

func (h *Header) check(name string) error {
	m, p := &h.Model, &h.Plan
	ok := m.Layers > 0 && m.Layers <= maxLayers && m.Heads > 0 && m.Heads <= maxHeads &&
		m.KVHeads > 0 && m.Heads%m.KVHeads == 0 && m.HeadDim > 0 && m.HeadDim <= maxDim && m.ValueDim >= 0 && m.ValueDim <= maxDim &&
		ascending(p.Layers, m.Layers) && ascending(p.Heads, m.Heads) && p.WindowRows >= 0 && p.WindowRows <= maxTokens
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
		len(p.Tokens) != p.PromptTokens+p.ReplyTokens {
		return nil, fmt.Errorf("prompt %q: its counts make no sense: %w", p.ID, ErrCorrupt)
	}
	return p, nil
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
	if raw = raw[8:]; uint64(len(raw)) != n*(8+frameBytes) {
		return nil
	}
	list := make([]record, n)
	for i := range list {
		if list[i].unmarshal(raw[8:8+frameBytes]) != nil {
			return nil
		}
		list[i].at = int64(binary.LittleEndian.Uint64(raw))
		if list[i].at < frameBytes || list[i].at > size || int64(list[i].Stored) > size-list[i].at {
			return nil
		}
		raw = raw[8+frameBytes:]
	}
	return list
}
