package dumps

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// kind says what a record holds.
type kind uint8

const (
	kindHeader kind = 1 + iota
	kindWeights
	kindQueries
	kindLSE
	kindKeys
	kindValues
	kindSums
	kindWindow
	kindOverview
	kindLogits
	kindPrompt
	kindIndex
	kindEnd
	kindSinks
	kindSinkSums

	lastKind = kindSinkSums
)

var kindNames = map[kind]string{
	kindHeader:   "header",
	kindWeights:  "weights",
	kindQueries:  "queries",
	kindLSE:      "log-sum-exps",
	kindKeys:     "keys",
	kindValues:   "values",
	kindSums:     "sums",
	kindWindow:   "window sums",
	kindOverview: "overview",
	kindLogits:   "logits",
	kindPrompt:   "prompt end",
	kindIndex:    "index",
	kindEnd:      "end",
	kindSinks:    "sinks",
	kindSinkSums: "sums of sinks",
}

func (k kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// array reports whether records of the kind hold an array of numbers.
func (k kind) array() bool {
	switch k {
	case kindHeader, kindPrompt, kindIndex, kindEnd:
		return false
	}
	return true
}

// inLayer reports whether records of the kind belong to a layer.
func (k kind) inLayer() bool { return k.array() && k != kindLogits }

// cached reports whether records of the kind belong to the cache of a layer, which others
// may read.
func (k kind) cached() bool { return k == kindKeys || k == kindValues }

// record is the head of a block; see FORMAT.md section 4.
type record struct {
	Kind        kind
	Enc         uint8
	Phase       Phase
	Bits        uint8 // mantissa bits
	Prompt      uint32
	Layer       uint32
	Head0, NH   uint32 // first head, number of heads; of window sums: window, number of heads
	Row0, Rows  uint32
	Key0, Keys  uint32
	Raw, Stored uint64 // bytes of the payload, decompressed and in the file
	Sum         uint32 // CRC-32C of the stored payload
	at          int64  // offset of the payload in the file
}

const (
	skippable  = 0x184D2A5A    // magic number of a zstd skippable frame
	headBytes  = 64            // of a record head, the content of the frame
	frameBytes = 8 + headBytes // of the frame before a payload
	magic      = "ATN1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// marshal appends the skippable frame that comes before a payload.
func (r *record) marshal(b []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, skippable)
	b = binary.LittleEndian.AppendUint32(b, headBytes)
	b = append(b, magic...)
	b = append(b, byte(r.Kind), r.Enc, byte(r.Phase), r.Bits)
	for _, v := range []uint32{r.Prompt, r.Layer, r.Head0, r.NH, r.Row0, r.Rows, r.Key0, r.Keys} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, r.Raw)
	b = binary.LittleEndian.AppendUint64(b, r.Stored)
	b = binary.LittleEndian.AppendUint32(b, r.Sum)
	return binary.LittleEndian.AppendUint32(b, checksum(b[start+8:]))
}

// unmarshal reads what marshal wrote and checks everything that can be checked without
// the payload.
func (r *record) unmarshal(b []byte) error {
	le := binary.LittleEndian
	if len(b) < frameBytes {
		return fmt.Errorf("%d bytes left, a record head has %d: %w", len(b), frameBytes, ErrCorrupt)
	}
	if le.Uint32(b) != skippable || le.Uint32(b[4:]) != headBytes || string(b[8:12]) != magic {
		return fmt.Errorf("no record head where one is expected: %w", ErrCorrupt)
	}
	h := b[8:frameBytes]
	if got, want := checksum(h[:headBytes-4]), le.Uint32(h[headBytes-4:]); got != want {
		return fmt.Errorf("checksum of the record head is %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	r.Kind = kind(h[4])
	r.Enc = h[5]
	r.Phase = Phase(h[6])
	r.Bits = h[7]
	for i, field := range []*uint32{&r.Prompt, &r.Layer, &r.Head0, &r.NH, &r.Row0, &r.Rows, &r.Key0, &r.Keys} {
		*field = le.Uint32(h[8+4*i:])
	}
	r.Raw = le.Uint64(h[40:])
	r.Stored = le.Uint64(h[48:])
	r.Sum = le.Uint32(h[56:])
	return r.limits()
}

// place describes a record for an error message: the prompt's number in the file,
// layer, head and rows.
func (r *record) place() string { return fmt.Sprintf("prompt %d, %s", r.Prompt, r.what()) }

// what describes a record within its prompt.
func (r *record) what() string {
	if r.Kind.inLayer() {
		return fmt.Sprintf("layer %d, %s", r.Layer, r.whatInLayer())
	}
	return r.whatInLayer()
}

// whatInLayer describes a record within its layer, or within its prompt if it belongs
// to no layer.
func (r *record) whatInLayer() string {
	last := int(r.Row0) + max(0, int(r.Rows)-1)
	rows := fmt.Sprintf("rows %d to %d", r.Row0, last)
	switch r.Kind {
	case kindHeader, kindPrompt, kindIndex, kindEnd, kindSums, kindOverview, kindSinkSums:
		return r.Kind.String()
	case kindLogits:
		return fmt.Sprintf("logits of reply %s", rows)
	case kindWindow:
		return fmt.Sprintf("sums of query window %d", r.Row0)
	case kindKeys, kindValues:
		return fmt.Sprintf("%s of positions %d to %d", r.Kind, r.Row0, last)
	case kindWeights:
		return fmt.Sprintf("head %d, weights of %s %s", r.Head0, r.Phase, rows)
	}
	return fmt.Sprintf("%s of %s %s", r.Kind, r.Phase, rows)
}
