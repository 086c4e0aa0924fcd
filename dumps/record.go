package dumps

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// kind of a record.
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
)

var kindNames = map[kind]string{
	kindHeader: "header", kindWeights: "weights", kindQueries: "queries", kindLSE: "log-sum-exps", kindKeys: "keys",
	kindValues: "values", kindSums: "sums", kindWindow: "window sums", kindOverview: "overview", kindLogits: "logits",
	kindPrompt: "prompt end", kindIndex: "index", kindEnd: "end",
}

func (k kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// record is the head of a block: FORMAT.md section 4.
type record struct {
	Kind        kind
	Enc         uint8
	Phase       Phase
	Bits        uint8
	Prompt      uint32
	Layer       uint32
	Head0, NH   uint32 // for windows Head0 is the window, NH the heads
	Row0, Rows  uint32
	Key0, Keys  uint32
	Raw, Stored uint64
	Sum         uint32 // CRC-32C of the stored payload
	at          int64  // offset of the payload in the file
}

const (
	skippable  = 0x184D2A5A // magic number of a zstd skippable frame
	headBytes  = 64
	frameBytes = 8 + headBytes // before a payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// marshal writes the skippable frame that stands before a payload.
func (r *record) marshal(b []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, skippable)
	b = binary.LittleEndian.AppendUint32(b, headBytes)
	b = append(b, 'A', 'T', 'N', '1', byte(r.Kind), r.Enc, byte(r.Phase), r.Bits)
	for _, v := range []uint32{r.Prompt, r.Layer, r.Head0, r.NH, r.Row0, r.Rows, r.Key0, r.Keys} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, r.Raw)
	b = binary.LittleEndian.AppendUint64(b, r.Stored)
	b = binary.LittleEndian.AppendUint32(b, r.Sum)
	return binary.LittleEndian.AppendUint32(b, checksum(b[start+8:]))
}

// unmarshal reads what marshal wrote, and checks everything that can be
// checked without the payload.
func (r *record) unmarshal(b []byte) error {
	le := binary.LittleEndian
	if len(b) < frameBytes {
		return fmt.Errorf("%d bytes left, a record head has %d: %w", len(b), frameBytes, ErrCorrupt)
	}
	if le.Uint32(b) != skippable || le.Uint32(b[4:]) != headBytes || string(b[8:12]) != "ATN1" {
		return fmt.Errorf("no record head where one must stand: %w", ErrCorrupt)
	}
	h := b[8:frameBytes]
	if got, want := checksum(h[:headBytes-4]), le.Uint32(h[headBytes-4:]); got != want {
		return fmt.Errorf("checksum of the record head is %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	r.Kind, r.Enc, r.Phase, r.Bits = kind(h[4]), h[5], Phase(h[6]), h[7]
	for i, p := range []*uint32{&r.Prompt, &r.Layer, &r.Head0, &r.NH, &r.Row0, &r.Rows, &r.Key0, &r.Keys} {
		*p = le.Uint32(h[8+4*i:])
	}
	r.Raw, r.Stored, r.Sum = le.Uint64(h[40:]), le.Uint64(h[48:]), le.Uint32(h[56:])
	return r.limits()
}

// place describes a record for an error message: which prompt of the file,
// layer, head and rows.
func (r *record) place() string { return fmt.Sprintf("prompt %d, %s", r.Prompt, r.what()) }

// what describes a record within its prompt.
func (r *record) what() string {
	rows := fmt.Sprintf("rows %d to %d", r.Row0, int(r.Row0)+max(0, int(r.Rows)-1))
	switch r.Kind {
	case kindHeader, kindPrompt, kindIndex, kindEnd:
		return r.Kind.String()
	case kindLogits:
		return fmt.Sprintf("logits of reply %s", rows)
	case kindSums, kindOverview:
		return fmt.Sprintf("layer %d, %s", r.Layer, r.Kind)
	case kindWindow:
		return fmt.Sprintf("layer %d, sums of query window %d", r.Layer, r.Row0)
	case kindKeys, kindValues:
		return fmt.Sprintf("layer %d, %s of positions %d to %d", r.Layer, r.Kind, r.Row0, int(r.Row0)+max(0, int(r.Rows)-1))
	}
	if r.Kind == kindWeights {
		return fmt.Sprintf("layer %d, head %d, weights of %s %s", r.Layer, r.Head0, r.Phase, rows)
	}
	return fmt.Sprintf("layer %d, %s of %s %s", r.Layer, r.Kind, r.Phase, rows)
}
