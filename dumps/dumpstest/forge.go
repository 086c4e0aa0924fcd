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

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	mark       = "\x5a\x2a\x4d\x18\x40\x00\x00\x00ATN1" // where a record head begins
)

// Reseal makes the checksums of all records right again, so that what a fuzzer
// changes gets past them.
func Reseal(data []byte) []byte {
	data = slices.Clone(data)
	for at := 0; ; {
		i := strings.Index(string(data[at:]), mark)
		if i < 0 || at+i+72 > len(data) {
			return data
		}
		head := data[at+i+8 : at+i+72]
		stored := binary.LittleEndian.Uint64(head[48:])
		if at += i + 72; stored <= uint64(len(data)-at) {
			binary.LittleEndian.PutUint32(head[56:], crc32.Checksum(data[at:at+int(stored)], castagnoli))
			binary.LittleEndian.PutUint32(head[60:], crc32.Checksum(head[:60], castagnoli))
			at += int(stored)
		}
	}
}

// plain stores the payloads of a dump as they are, in zstd frames of raw blocks:
// a fuzzer then sees the JSON, the index and the numbers.
func plain(f testing.TB, data []byte) []byte {
	z, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer z.Close()
	var out []byte
	for at := 0; at < len(data); {
		head := slices.Clone(data[at : at+72])
		stored := int(binary.LittleEndian.Uint64(head[8+48:]))
		at += 72
		if stored > 0 {
			raw, err := z.DecodeAll(data[at:at+stored], nil)
			if err != nil {
				f.Fatal(err)
			}
			frame := binary.LittleEndian.AppendUint32([]byte{0x28, 0xB5, 0x2F, 0xFD, 0xA0}, uint32(len(raw)))
			block := uint32(len(raw))<<3 | 1
			frame = append(append(frame, byte(block), byte(block>>8), byte(block>>16)), raw...)
			at += stored
			binary.LittleEndian.PutUint64(head[8+48:], uint64(len(frame)))
			out = append(append(out, head...), frame...)
			continue
		}
		out = append(out, head...)
	}
	return Reseal(out) // the index points to where the blocks were: it is a lie to be found out
}

// Forged are the seeds, also with payloads that are not compressed, with and
// without an end.
func Forged(f testing.TB, add func(data []byte)) {
	Seeds(f, func(data []byte) {
		add(data)
		end := strings.LastIndex(string(data), mark) // leave a record that is cut
		add(plain(f, data[:wholeRecords(data[:end])]))
		add(plain(f, data[:wholeRecords(data)]))
	})
}

// Seeds are dumps with every kind of block, as small as can be: one layer, two
// heads on a kv head of 2, six tokens and a reply of two.
func Seeds(f testing.TB, add func(data []byte)) {
	check := func(err error) {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
	}
	ones := func(n int) []float32 { return slices.Repeat([]float32{1}, n) }
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		path := filepath.Join(f.TempDir(), "x.attn")
		w, err := dumps.Create(path, &dumps.Header{
			Model: dumps.ModelInfo{Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 2, ValueDim: 2, Vocab: 3, Scale: 1, LayerWindows: []int{0}},
			Plan: dumps.Plan{
				WindowRows: 2, PromptWindows: 1, PromptWindowSize: 3, Layers: []int{0}, Heads: []int{0, 1}, Store: store, Precision: dumps.Fine,
				Values: true, Logits: true, Overview: 2,
			},
		}, dumps.CreateOptions{})
		check(err)
		p := dumps.Prompt{ID: "a", PromptTokens: 6, ReplyTokens: 2, WindowRows: 2, Store: store, Tokens: make([]int32, 8)}
		pw, err := w.Begin(p)
		check(err)
		for ph, keys := range []int{6, 8} {
			if store == dumps.StoreFactors {
				check(pw.Queries(0, dumps.Phase(ph), 0, 2, ones(8), ones(4)))
				continue
			}
			for h := range 2 {
				x := make([]float32, 2*keys)
				x[0], x[keys] = 1, 1
				check(pw.Rows(dumps.Rows{
					Layer: 0, Head: h, Phase: dumps.Phase(ph),
					Rows: 2, Keys: keys,
					Weights: x,
				}))
			}
		}
		if store == dumps.StoreFactors {
			check(pw.Keys(0, 0, 8, ones(16)))
		}
		check(pw.Values(0, 0, 8, ones(16)))
		check(pw.Sums(0, ones(12)))
		check(pw.Window(0, 0, 6, slices.Repeat([]float32{.5}, 12)))
		check(pw.Overview(0, 2, ones(8)))
		check(pw.Logits(0, 2, ones(6)))
		check(pw.Finish(p))
		check(w.Close())
		data, err := os.ReadFile(path)
		check(err)
		add(data)
		add(data[:len(data)/2])
	}
}

// wholeRecords is the length of the records that are there whole.
func wholeRecords(data []byte) int {
	at := 0
	for at+72 <= len(data) {
		next := at + 72 + int(binary.LittleEndian.Uint64(data[at+8+48:]))
		if next > len(data) {
			break
		}
		at = next
	}
	return at
}
