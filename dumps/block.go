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
	return b, readInto(f, r, b)
}

func readInto(f io.ReaderAt, r *record, b []byte) error {
	_, err := f.ReadAt(b, r.at)
	return err
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

// readJSON reads the payload of a header or of the end of a prompt into v.
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
