package dumps_test

import (
	"encoding/binary"
	"errors"
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

// reseal makes the checksums of all records right again, so that what a fuzzer
// changes gets past them.
func reseal(data []byte) []byte {
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
func plain(f *testing.F, data []byte) []byte {
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
	return reseal(out) // the index points to where the blocks were: it is a lie to be found out
}

// seeds are dumps with every kind of block, as small as can be: one layer, two
// heads on a kv head of 2, six tokens and a reply of two.
func seeds(f *testing.F, add func(data []byte)) {
	check := func(err error) {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
	}
	ones := func(n int) []float32 { return slices.Repeat([]float32{1}, n) }
	for _, store := range []string{"rows", "factors"} {
		path := filepath.Join(f.TempDir(), "x.attn")
		w, err := dumps.Create(path, &dumps.Header{
			Model: dumps.ModelInfo{Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 2, ValueDim: 2, Vocab: 3, Scale: 1, LayerWindows: []int{0}},
			Plan: dumps.Plan{WindowRows: 2, PromptWindows: 1, PromptWindowSize: 3, Layers: []int{0}, Heads: []int{0, 1}, Store: store, Precision: "fine",
				Values: true, Logits: true, Overview: 2}}, dumps.CreateOptions{})
		check(err)
		p := dumps.Prompt{ID: "a", PromptTokens: 6, ReplyTokens: 2, WindowRows: 2, Store: store, Tokens: make([]int32, 8)}
		pw, err := w.Begin(p)
		check(err)
		for ph, keys := range []int{6, 8} {
			if store == "factors" {
				check(pw.Queries(0, dumps.Phase(ph), 0, 2, ones(8), ones(4)))
				continue
			}
			for h := range 2 {
				x := make([]float32, 2*keys)
				x[0], x[keys] = 1, 1
				check(pw.Weights(0, h, dumps.Phase(ph), 0, 2, 0, keys, keys, x))
			}
		}
		if store == "factors" {
			check(pw.Keys(0, 0, 8, ones(16)))
		}
		check(pw.Values(0, 0, 8, ones(16)))
		check(pw.Sums(0, ones(12)))
		check(pw.Window(0, 0, 1, 3, slices.Repeat([]float32{.5}, 12), 6))
		check(pw.Overview(0, 2, ones(8)))
		check(pw.Logits(0, ones(6), 2))
		check(pw.Finish(p))
		check(w.Close())
		data, err := os.ReadFile(path)
		check(err)
		add(data)
		add(data[:len(data)/2])
	}
}

// readWhatever asks a file for everything: an error of the right kind, never a
// panic; what is handed out fits its prompt.
func readWhatever(t *testing.T, path string) {
	check := func(err error) bool {
		if err == nil {
			return true
		}
		if text := err.Error(); !errors.Is(err, dumps.ErrCorrupt) && !errors.Is(err, dumps.ErrAbsent) &&
			!strings.Contains(text, "too many to hold") && !strings.Contains(text, "format version") {
			t.Errorf("%v", err)
		}
		return false
	}
	r, err := dumps.Open(path)
	if !check(err) {
		return
	}
	defer r.Close()
	h := r.Header()
	for i, p := range r.Prompts() {
		if i == 4 || (p.WindowRows+p.ReplyTokens)*(p.PromptTokens+p.ReplyTokens) > 1<<18 || len(h.Plan.Layers)*len(h.Plan.Heads) > 64 {
			return // it may be right, and would only take its time
		}
		for _, layer := range h.Plan.Layers[:min(3, len(h.Plan.Layers))] {
			for _, ph := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
				if a, err := r.Weights(i, layer, ph); check(err) && len(a.Data) != a.Heads*a.Rows*a.Keys {
					t.Errorf("%d weights, want %d x %d x %d", len(a.Data), a.Heads, a.Rows, a.Keys)
				}
			}
			s, err := r.States(i, layer)
			if check(err) && len(s.Keys) != (p.PromptTokens+p.ReplyTokens)*h.Model.KVHeads*h.Model.HeadDim {
				t.Errorf("%d values of keys", len(s.Keys))
			}
			if x, err := r.Sums(i, layer); check(err) && len(x) != len(h.Plan.Heads)*p.PromptTokens {
				t.Errorf("%d sums", len(x))
			}
			x, n, err := r.Windows(i, layer)
			if check(err) && len(x) != len(h.Plan.Heads)*n*p.PromptTokens {
				t.Errorf("%d sums of %d windows", len(x), n)
			}
			x, n, err = r.Overview(i, layer)
			if check(err) && len(x) != len(h.Plan.Heads)*n*n {
				t.Errorf("%d cells of side %d", len(x), n)
			}
			if x, err := r.Values(i, layer); check(err) && x != nil && len(x) != (p.PromptTokens+p.ReplyTokens)*h.Model.KVHeads*h.Model.ValueDim {
				t.Errorf("%d values", len(x))
			}
		}
		if x, err := r.Logits(i); check(err) && len(x) != p.ReplyTokens*h.Model.Vocab {
			t.Errorf("%d logits", len(x))
		}
	}
	ok, err := dumps.Verify(path, func(dumps.Problem) {})
	if check(err) && ok && !r.Complete() {
		t.Error("an unfinished dump is verified")
	}
	data, err := os.ReadFile(path)
	if err != nil || crc32.ChecksumIEEE(data)%16 > 0 { // repair waits for the disk
		return
	}
	if _, err := dumps.Repair(path); check(err) {
		again, err := dumps.Open(path)
		if err != nil || !again.Complete() {
			t.Fatalf("repaired, and then: %v", err)
		}
		again.Close()
	}
}

// FuzzOpen reads whatever it is given.
func FuzzOpen(f *testing.F) {
	seeds(f, func(data []byte) { f.Add(data) })
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) { readWhatever(t, fuzzed(t, dir, data)) })
}

// FuzzForged reads dumps whose checksums are right but nothing else need be.
func FuzzForged(f *testing.F) {
	seeds(f, func(data []byte) {
		f.Add(data)
		if len(data) > 72 {
			end := strings.LastIndex(string(data), mark) // leave a record that is cut
			f.Add(plain(f, data[:end][:wholeRecords(data[:end])]))
			f.Add(plain(f, data[:wholeRecords(data)]))
		}
	})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) { readWhatever(t, fuzzed(t, dir, reseal(data))) })
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

func fuzzed(t *testing.T, dir string, data []byte) string {
	path := filepath.Join(dir, "fuzz.attn")
	for _, old := range []string{path + ".damaged", path + ".damaged2"} {
		os.Remove(old)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
