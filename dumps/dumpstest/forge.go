package dumpstest

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/attnscope/attnscope/dumps"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark is the start of a record head: magic, size and tag.
const mark = "\x5a\x2a\x4d\x18\x40\x00\x00\x00ATN1"

// Sizes and offsets in a record, FORMAT.md section 4.
const (
	headBytes   = 72
	headStart   = 8 // of the bytes that the head sum covers
	storedField = 56
	sumField    = 64
	headSum     = 68
)

// Reseal corrects the checksums of all records, so that a reader does not reject a
// fuzzer's changes because of them.
func Reseal(data []byte) []byte {
	data = slices.Clone(data)
	for at := 0; ; {
		i := strings.Index(string(data[at:]), mark)
		if i < 0 || at+i+headBytes > len(data) {
			return data
		}
		at += i
		head := data[at : at+headBytes]
		at += headBytes
		stored := binary.LittleEndian.Uint64(head[storedField:])
		if stored > uint64(len(data)-at) {
			continue
		}
		binary.LittleEndian.PutUint32(head[sumField:], crc32.Checksum(data[at:at+int(stored)], castagnoli))
		binary.LittleEndian.PutUint32(head[headSum:], crc32.Checksum(head[headStart:headSum], castagnoli))
		at += int(stored)
	}
}

// plain returns the dump with payloads that are not compressed, in zstd frames of raw
// blocks, so that a fuzzer sees the JSON, the index and the numbers. The index still
// has the old offsets, which a reader must notice.
func plain(f testing.TB, data []byte) []byte {
	z, err := zstd.NewReader(nil)
	must(f, err)
	defer z.Close()
	var out []byte
	for at := 0; at < len(data); {
		head := slices.Clone(data[at : at+headBytes])
		stored := int(binary.LittleEndian.Uint64(head[storedField:]))
		at += headBytes
		if stored == 0 {
			out = append(out, head...)
			continue
		}
		raw, err := z.DecodeAll(data[at:at+stored], nil)
		must(f, err)
		at += stored
		frame := rawFrame(raw)
		binary.LittleEndian.PutUint64(head[storedField:], uint64(len(frame)))
		out = append(out, head...)
		out = append(out, frame...)
	}
	return Reseal(out)
}

// rawFrame returns a zstd frame of one raw block.
func rawFrame(raw []byte) []byte {
	frame := binary.LittleEndian.AppendUint32([]byte{0x28, 0xB5, 0x2F, 0xFD, 0xA0}, uint32(len(raw)))
	block := uint32(len(raw))<<3 | 1 // size, type raw, last block
	frame = append(frame, byte(block), byte(block>>8), byte(block>>16))
	return append(frame, raw...)
}

// Forged calls add with the seeds of a fuzzer: those of Seeds, and the same with
// payloads that are not compressed, with and without the end of the file.
func Forged(f testing.TB, add func(data []byte)) {
	Seeds(f, func(data []byte) {
		add(data)
		end := strings.LastIndex(string(data), mark) // leaves out a record that is cut
		add(plain(f, data[:wholeRecords(data[:end])]))
		add(plain(f, data[:wholeRecords(data)]))
	})
}

// Seeds calls add with one dump of each form and with its first half. The dumps have
// all kinds of blocks and are as small as possible: one layer, two heads on one kv
// head of two elements, six prompt tokens and two reply tokens.
func Seeds(f testing.TB, add func(data []byte)) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		path := filepath.Join(f.TempDir(), "x.attn")
		writeSeed(f, path, store)
		data, err := os.ReadFile(path)
		must(f, err)
		add(data)
		add(data[:len(data)/2])
	}
}

func writeSeed(f testing.TB, path string, store dumps.Store) {
	w, err := dumps.Create(path, &dumps.Header{
		Model: dumps.ModelInfo{
			Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 2, ValueDim: 2, Vocab: 3, Scale: 1, LayerWindows: []int{0},
		},
		Plan: dumps.Plan{
			WindowRows: 2, PromptWindows: 1, PromptWindowSize: 3, Layers: []int{0}, Heads: []int{0, 1},
			Store: store, Precision: dumps.Fine, Values: true, Logits: true, Overview: 2,
		},
	}, dumps.CreateOptions{})
	must(f, err)
	p := dumps.Prompt{ID: "a", PromptTokens: 6, ReplyTokens: 2, WindowRows: 2, Store: store, Tokens: make([]int32, 8)}
	pw, err := w.Begin(p)
	must(f, err)
	for _, phase := range dumps.Phases {
		if store == dumps.StoreFactors {
			must(f, pw.Queries(0, phase, 0, 2, ones(8), ones(4)))
			continue
		}
		_, keys, _ := p.Shape(phase)
		x := make([]float32, 2*keys)
		x[0] = 1
		x[keys] = 1
		for h := range 2 {
			must(f, pw.Rows(dumps.Rows{Head: h, Phase: phase, Rows: 2, Keys: keys, Weights: x}))
		}
	}
	if store == dumps.StoreFactors {
		must(f, pw.Keys(0, 0, 8, ones(16)))
	}
	must(f, pw.Values(0, 0, 8, ones(16)))
	must(f, pw.Sums(0, ones(12)))
	must(f, pw.Window(0, 0, 6, slices.Repeat([]float32{.5}, 12)))
	must(f, pw.Overview(0, 2, ones(8)))
	must(f, pw.Logits(0, 2, ones(6)))
	must(f, pw.Finish(p))
	must(f, w.Close())
}

func ones(n int) []float32 { return slices.Repeat([]float32{1}, n) }

// wholeRecords returns the length of the records that are complete.
func wholeRecords(data []byte) int {
	at := 0
	for at+headBytes <= len(data) {
		next := at + headBytes + int(binary.LittleEndian.Uint64(data[at+storedField:]))
		if next > len(data) {
			break
		}
		at = next
	}
	return at
}
