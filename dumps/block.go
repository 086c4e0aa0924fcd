package dumps

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// block is a record together with its payload, as both are stored in the file.
type block struct {
	r       record
	payload []byte
}

// Byte planes have few matches: the fastest level, with every literal entropy coded,
// makes them 1 % smaller than the default and takes two thirds of its time.
var encoder, _ = zstd.NewWriter(
	nil,
	zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
	zstd.WithAllLitEntropyCompression(true),
	zstd.WithEncoderLevel(zstd.SpeedFastest),
	zstd.WithEncoderCRC(false),
)

var decoder, _ = zstd.NewReader(
	nil,
	zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
	zstd.WithDecoderMaxMemory(1<<40),
	zstd.WithDecoderMaxWindow(1<<30),
	zstd.WithDecodeAllCapLimit(true),
)

// seal compresses a payload and completes its record.
func seal(r record, raw []byte) block {
	payload := encoder.EncodeAll(raw, make([]byte, 0, len(raw)/2+64))
	r.Raw = uint64(len(raw))
	r.Stored = uint64(len(payload))
	r.Sum = checksum(payload)
	return block{r: r, payload: payload}
}

// inflate checks a stored payload and decompresses it, never to more bytes than its
// record says.
func inflate(r *record, stored []byte) ([]byte, error) {
	return inflateInto(make([]byte, 0, r.Raw), r, stored)
}

// inflateInto is like inflate but decompresses into dst, which is empty and has room
// for r.Raw bytes.
func inflateInto(dst []byte, r *record, stored []byte) ([]byte, error) {
	if got := checksum(stored); got != r.Sum {
		return nil, badChecksum(got, r.Sum)
	}
	raw, err := decoder.DecodeAll(stored, dst)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", err, ErrCorrupt)
	}
	if uint64(len(raw)) != r.Raw {
		return nil, fmt.Errorf("%d bytes, want %d: %w", len(raw), r.Raw, ErrCorrupt)
	}
	return raw, nil
}

func badChecksum(got, want uint32) error {
	return fmt.Errorf("checksum %08x, want %08x: %w", got, want, ErrCorrupt)
}

// readRecord reads a record head and checks that its payload lies in the file. head
// is a buffer of frameBytes.
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
		return r, fmt.Errorf("an index of %d bytes, more than a file of %d bytes has records for: %w",
			r.Raw, size, ErrCorrupt)
	}
	return r, nil
}

// readPayload reads a payload as it is stored.
func readPayload(f io.ReaderAt, r *record) ([]byte, error) {
	b := make([]byte, r.Stored)
	_, err := f.ReadAt(b, r.at)
	return b, err
}

// checkPayload reads a payload and compares its checksum.
func checkPayload(f io.ReaderAt, r *record) error {
	stored, err := readPayload(f, r)
	if err != nil {
		return err
	}
	if got := checksum(stored); got != r.Sum {
		return badChecksum(got, r.Sum)
	}
	return nil
}

// checkSum is like checkPayload but waits until the memory for it is free.
func checkSum(f io.ReaderAt, r *record) error {
	decoding.take(int64(r.Stored))
	defer decoding.give(int64(r.Stored))
	return checkPayload(f, r)
}

// readJSON returns the payload of a header or of the end of a prompt, which may have at
// most so many values, and how many it has at most.
func readJSON(f io.ReaderAt, r record, most uint64) (raw []byte, values uint64, err error) {
	stored, err := readOwn(f, &r, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", r.Kind, err)
	}
	if raw, err = inflate(&r, stored); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", r.Kind, err)
	}
	if values = countValues(raw, most); values > most {
		return nil, values, fmt.Errorf("%s: JSON of more than %d values, which is the most that is read: %w", r.Kind, most, ErrCorrupt)
	}
	return raw, values, nil
}

// unmarshal reads the JSON of a record into v.
func unmarshal(k kind, raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %v: %w", k, err, ErrCorrupt)
	}
	return nil
}

// readOwn reads a record's payload together with its own head, which must say what r
// says: r may come from an index, which is not believed. The payload lies in b if that
// is large enough.
func readOwn(f io.ReaderAt, r *record, b []byte) (stored []byte, err error) {
	b = atLeast(b, frameBytes+r.Stored)[:frameBytes+r.Stored]
	if _, err := f.ReadAt(b, r.at-frameBytes); err != nil {
		return nil, err
	}
	own := record{}
	if err := own.unmarshal(b); err != nil {
		return nil, err
	}
	own.at = r.at
	if own != *r {
		return nil, errIndexLies
	}
	return b[frameBytes:], nil
}

// errIndexLies says that an index lists a record with another head than it has.
var errIndexLies = fmt.Errorf("the index and the record's head differ (attnscope repair rebuilds the index): %w", ErrCorrupt)
