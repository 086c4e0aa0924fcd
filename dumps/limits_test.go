package dumps

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// forge writes any records, with correct checksums, and an index and end if asked.
type forge struct {
	b    bytes.Buffer
	list []record
}

func (f *forge) put(r record, raw, stored []byte) {
	r.Raw, r.Stored, r.Sum = uint64(len(raw)), uint64(len(stored)), checksum(stored)
	f.raw(r, stored)
}

// raw writes a record with the head that it is given.
func (f *forge) raw(r record, stored []byte) {
	f.b.Write(r.marshal(nil))
	r.at = int64(f.b.Len())
	f.b.Write(stored)
	f.list = append(f.list, r)
}

func (f *forge) zstd(r record, raw []byte) { f.put(r, raw, encoder.EncodeAll(raw, nil)) }

func (f *forge) json(k kind, prompt uint32, v any) {
	text, _ := json.Marshal(v)
	f.zstd(record{Kind: k, Prompt: prompt}, text)
}

func (f *forge) save(t *testing.T, index bool) string {
	t.Helper()
	if index {
		at := f.b.Len()
		f.zstd(record{Kind: kindIndex}, marshalIndex(f.list))
		f.raw(record{Kind: kindEnd, Row0: uint32(at)}, nil)
	}
	path := filepath.Join(t.TempDir(), "x.attn")
	if err := os.WriteFile(path, f.b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads everything from a dump and returns the errors.
func readAll(path string) error {
	var errs []error
	_, err := Verify(context.Background(), path, nil, func(p Problem) { errs = append(errs, fmt.Errorf("%s: %w", p, ErrCorrupt)) })
	errs = append(errs, err)
	r, err := Open(path)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer r.Close()
	for i := range r.prompts {
		for _, layer := range r.header.Plan.Layers[:min(3, len(r.header.Plan.Layers))] {
			for _, ph := range []Phase{Prefill, Decode} {
				_, err := r.Weights(i, layer, ph)
				errs = append(errs, err)
			}
			_, err = r.States(i, layer)
			errs = append(errs, err)
			_, err = r.Sums(i, layer)
			errs = append(errs, err)
			_, _, err = r.Windows(i, layer)
			errs = append(errs, err)
			_, _, err = r.Overview(i, layer)
			errs = append(errs, err)
			_, err = r.Values(i, layer)
			errs = append(errs, err)
			_, err = r.LayerOf(i, layer)
			errs = append(errs, err)
		}
		_, err = r.Logits(i)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// TestHostileFiles: files with false sizes, shapes or indexes are errors that wrap
// ErrCorrupt or name a limit, and a reader takes little memory for them.
func TestHostileFiles(t *testing.T) {
	header := func(change func(h *Header)) *Header {
		h := faultHeader()
		h.Version = h.Model.version()
		change(h)
		return h
	}
	same := func(*Header) {}
	prompt := func(p, g, rows, blocks int, store Store) Prompt {
		return Prompt{ID: "p", PromptTokens: p, ReplyTokens: g, WindowRows: rows, Store: store, Blocks: blocks, Tokens: make([]int32, p+g)}
	}
	bomb := func(n int) []byte { return encoder.EncodeAll(make([]byte, n), nil) }
	huge := 1 << 18 // tokens: half a megabyte of JSON
	for name, f := range map[string]func(f *forge){
		"payload decompresses to more than it says": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			stored := bomb(1 << 29)
			f.raw(record{Kind: kindSums, NH: 2, Rows: 1, Keys: 20, Enc: encF32, Raw: 160, Stored: uint64(len(stored)), Sum: checksum(stored)}, stored)
			f.json(kindPrompt, 0, prompt(20, 0, 0, 1, "rows"))
		},
		"header decompresses to a gigabyte": func(f *forge) {
			stored := bomb(1 << 29)
			f.raw(record{Kind: kindHeader, Raw: 1 << 29, Stored: uint64(len(stored)), Sum: checksum(stored)}, stored)
		},
		"a hundred prompt ends of a quarter gigabyte": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			stored := bomb(1 << 28)
			for i := range 100 {
				f.raw(record{Kind: kindPrompt, Prompt: uint32(i), Raw: 1 << 28, Stored: uint64(len(stored)), Sum: checksum(stored)}, stored)
			}
		},
		"an index larger than its file can have": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			at, stored := f.b.Len(), bomb(1<<29)
			f.raw(record{Kind: kindIndex, Raw: 1 << 29, Stored: uint64(len(stored)), Sum: checksum(stored)}, stored)
			f.raw(record{Kind: kindEnd, Row0: uint32(at)}, nil)
		},
		"factors without blocks, of absurd shape": func(f *forge) {
			f.json(kindHeader, 0, header(func(h *Header) {
				h.Model.Heads, h.Model.KVHeads, h.Model.HeadDim, h.Model.ValueDim, h.Plan.Values = maxHeads, maxHeads, maxDim, maxDim, true
			}))
			f.json(kindPrompt, 0, prompt(huge, 0, huge, 0, "factors"))
		},
		"rows without blocks, of absurd shape": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			f.json(kindPrompt, 0, prompt(huge, huge, huge, 0, "rows"))
		},
		"rows that claim many and store one": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			f.zstd(record{Kind: kindWeights, NH: 1, Rows: 1, Keys: 1, Row0: 1 << 31, Key0: 1 << 31, Enc: encF32}, make([]byte, 4))
			f.json(kindPrompt, 0, prompt(huge, 0, 1, 1, "rows"))
		},
		"windows without end": func(f *forge) {
			f.json(kindHeader, 0, header(func(h *Header) { h.Plan.PromptWindows, h.Plan.PromptWindowSize = maxTokens, 1 }))
			for i := range 1000 {
				f.zstd(record{Kind: kindWindow, NH: 2, Row0: uint32(i), Rows: 1, Keys: 1, Enc: encF32}, make([]byte, 8))
			}
			f.json(kindPrompt, 0, prompt(1000, 0, 0, 1000, "rows"))
		},
		"logits of a vocabulary without end": func(f *forge) {
			f.json(kindHeader, 0, header(func(h *Header) { h.Model.Vocab, h.Plan.Logits = maxVocab, true }))
			f.zstd(record{Kind: kindLogits, NH: 1, Rows: 1, Keys: 1, Enc: encF32}, make([]byte, 4))
			f.json(kindPrompt, 0, prompt(20, 1000, 0, 1, "rows"))
		},
		"vocabulary past the limit": func(f *forge) {
			f.json(kindHeader, 0, header(func(h *Header) { h.Model.Vocab = 1 << 40 }))
		},
		"a negative picture": func(f *forge) {
			f.json(kindHeader, 0, header(func(h *Header) { h.Plan.Overview = -4 }))
		},
		"a million layers":            func(f *forge) { f.json(kindHeader, 0, header(func(h *Header) { h.Model.Layers = 1 << 20 })) },
		"kv heads that do not divide": func(f *forge) { f.json(kindHeader, 0, header(func(h *Header) { h.Model.KVHeads = 3 })) },
		"no kv heads":                 func(f *forge) { f.json(kindHeader, 0, header(func(h *Header) { h.Model.KVHeads = 0 })) },
		"layers twice":                func(f *forge) { f.json(kindHeader, 0, header(func(h *Header) { h.Plan.Layers = []int{1, 1} })) },
		"heads that are not there":    func(f *forge) { f.json(kindHeader, 0, header(func(h *Header) { h.Plan.Heads = []int{0, 7} })) },
		"tokens that do not add up": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			p := prompt(20, 0, 0, 0, "rows")
			p.PromptTokens = maxTokens
			f.json(kindPrompt, 0, p)
		},
		"a block of another shape": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			f.zstd(record{Kind: kindSums, NH: 1 << 20, Rows: 1 << 20, Keys: 1 << 20, Enc: encF32}, make([]byte, 8))
			f.json(kindPrompt, 0, prompt(20, 0, 0, 1, "rows"))
		},
		"a block of bytes": func(f *forge) {
			f.json(kindHeader, 0, header(same))
			f.zstd(record{Kind: kindSums, NH: 2, Rows: 1, Keys: 20, Enc: encBytes}, make([]byte, 40))
			f.json(kindPrompt, 0, prompt(20, 0, 0, 1, "rows"))
		},
	} {
		for _, index := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/index=%v", name, index), func(t *testing.T) {
				var file forge
				f(&file)
				path := file.save(t, index)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := readAll(path)
				runtime.ReadMemStats(&after)
				if err == nil {
					t.Fatal("nothing is wrong with it")
				}
				if !errors.Is(err, ErrCorrupt) && !strings.Contains(err.Error(), "too many to hold") {
					t.Errorf("%v", err)
				}
				// The file is opened twice; an end of 2^18 tokens is much JSON.
				if took := after.TotalAlloc - before.TotalAlloc; took > 2*maxPrompts(int64(file.b.Len()))+512<<20 {
					t.Errorf("%d MB were taken for a file of %d bytes (%v)", took>>20, file.b.Len(), err)
				}
			})
		}
	}
}

// TestIndexLies: Verify finds an index that lists other blocks than the file has, even
// if its checksum is correct, and no block is read as something that it is not.
func TestIndexLies(t *testing.T) {
	build := func(change func(list []record) []record) string {
		var f forge
		h := faultHeader()
		h.Version, h.Plan.WindowRows = 1, 0
		f.json(kindHeader, 0, h)
		for i := range 2 {
			for layer := range 2 {
				x := make([]float32, 40)
				for j := range x {
					x[j] = 1
				}
				x[0], x[1] = 1+float32(i+layer)/10, 1-float32(i+layer)/10
				f.zstd(record{Kind: kindSums, Prompt: uint32(i), Layer: uint32(layer), NH: 2, Rows: 1, Keys: 20, Enc: encF32}, planesF32(x, 23))
			}
			f.json(kindPrompt, uint32(i), Prompt{ID: fmt.Sprint("p", i), PromptTokens: 20, Store: StoreRows, Blocks: 2, Tokens: make([]int32, 20)})
		}
		f.list = change(f.list)
		return f.save(t, true)
	}
	if ok, err := Verify(t.Context(), build(func(l []record) []record { return l }), nil, func(p Problem) { t.Error(p) }); !ok || err != nil {
		t.Fatalf("an honest one: %v %v", ok, err)
	}
	for name, change := range map[string]func(list []record) []record{
		"a block is missing":            func(l []record) []record { return append(l[:1:1], l[2:]...) },
		"a prompt is missing":           func(l []record) []record { return append(l[:1:1], l[4:]...) },
		"a prompt is listed twice":      func(l []record) []record { return append(l, l[1:4]...) },
		"another layer":                 func(l []record) []record { l[1].Layer, l[2].Layer = 1, 0; return l },
		"another place":                 func(l []record) []record { l[1].at++; return l },
		"blocks of two prompts swapped": func(l []record) []record { l[1], l[4] = l[4], l[1]; return l },
		"no header":                     func(l []record) []record { return l[1:] },
		"the header twice":              func(l []record) []record { return append(l[:1:1], l...) },
	} {
		t.Run(name, func(t *testing.T) {
			path := build(change)
			found := 0
			if ok, err := Verify(t.Context(), path, nil, func(Problem) { found++ }); err != nil || ok || found == 0 {
				t.Errorf("verify: %v, %v, %d problems", ok, err, found)
			}
		})
	}
}

// TestWriterKeepsItsLimits: a block that no reader would accept is an error when it is
// written, not hours later when it is read.
func TestWriterKeepsItsLimits(t *testing.T) {
	h := faultHeader()
	h.Model.Heads, h.Model.KVHeads, h.Plan.Heads = 64, 64, nil
	for i := range 64 {
		h.Plan.Heads = append(h.Plan.Heads, i)
	}
	w, err := Create(filepath.Join(t.TempDir(), "x.attn"), h, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	pw, err := w.Begin(Prompt{ID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := pw.send(record{Kind: kindOverview, NH: 64, Rows: 2049, Keys: 2049}, nil, 10); err == nil {
		t.Error("values that are not there were taken")
	}
	r := record{Kind: kindOverview, NH: 64, Rows: 2049, Keys: 2049, Enc: encF32, Raw: 64 * 2049 * 2049 * 4}
	if err := r.limits(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a block past the limit: %v", err)
	}
}

// TestBeyondFourGigabytes reads blocks that lie after the first four gigabytes of a
// sparse file, with and without its index.
func TestBeyondFourGigabytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	h := faultHeader()
	h.Version, h.Plan.WindowRows = 1, 0
	var at int64
	var list []record
	put := func(r record, stored []byte, hole uint64) {
		t.Helper()
		r.Stored = uint64(len(stored)) + hole
		head := r.marshal(nil)
		if _, err := out.WriteAt(append(head, stored...), at); err != nil {
			t.Fatal(err)
		}
		r.at = at + frameBytes
		at = r.at + int64(r.Stored)
		list = append(list, r)
	}
	text := func(k kind, prompt uint32, v any) {
		raw, _ := json.Marshal(v)
		stored := encoder.EncodeAll(raw, nil)
		put(record{Kind: k, Prompt: prompt, Raw: uint64(len(raw)), Sum: checksum(stored)}, stored, 0)
	}
	text(kindHeader, 0, h)
	for layer := range 5 { // a hole of nearly a gigabyte each, never read here
		skip := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, skippable), 1<<30-1000)
		put(record{Kind: kindOverview, Layer: uint32(layer), NH: 1, Rows: 1, Keys: 1, Enc: encF32, Raw: 4}, skip, 1<<30-1000)
	}
	text(kindPrompt, 0, Prompt{ID: "large", PromptTokens: 20, Store: StoreRows, Blocks: 5, Tokens: make([]int32, 20)})
	x := make([]float32, 40)
	for i := range x {
		x[i] = float32(i) / 7
	}
	stored := encoder.EncodeAll(planesF32(x, 23), nil)
	put(record{Kind: kindSums, Prompt: 1, Layer: 1, NH: 2, Rows: 1, Keys: 20, Enc: encF32, Raw: 160, Sum: checksum(stored)}, stored, 0)
	text(kindPrompt, 1, Prompt{ID: "beyond", PromptTokens: 20, Store: StoreRows, Blocks: 1, Tokens: make([]int32, 20)})
	check := func(complete bool) {
		t.Helper()
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Complete() != complete || len(r.prompts) != 2 || r.prompts[1].ID != "beyond" {
			t.Fatalf("complete %v, %d prompts, warnings %q", r.Complete(), len(r.prompts), r.Warnings())
		}
		got, err := r.Sums(1, 1)
		if err != nil || len(got) != len(x) || got[39] != x[39] {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if at < 5<<30-10000 {
		t.Fatalf("the file has %d bytes", at)
	}
	check(false)
	index, end := marshalIndex(list), at
	sealed := seal(record{Kind: kindIndex}, index)
	put(sealed.r, sealed.payload, 0)
	put(record{Kind: kindEnd, Row0: uint32(end), Rows: uint32(end >> 32)}, nil, 0)
	check(true)
}

// TestAMillionBlocks writes and reads a million blocks; with the index, opening is fast.
func TestAMillionBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a million blocks take ten seconds")
	}
	const rows, prompts = 10_000, 100
	path := filepath.Join(t.TempDir(), "x.attn")
	h := faultHeader()
	h.Plan.Layers, h.Plan.Heads, h.Plan.WindowRows = []int{0}, []int{0}, rows
	w, err := Create(path, h, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]int32, rows)
	one := []float32{1}
	for n := range prompts {
		p := Prompt{ID: fmt.Sprint("p", n), PromptTokens: rows, WindowRows: rows, Store: StoreRows, Tokens: tokens}
		pw, err := w.Begin(p)
		if err != nil {
			t.Fatal(err)
		}
		for row := range rows {
			if err := pw.Rows(Rows{
				Layer: 0, Head: 0, Phase: Prefill,
				Row0: row, Rows: 1, Key0: (row + n) % (row + 1), Keys: 1,
				Weights: one,
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := pw.Finish(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(complete bool) {
		t.Helper()
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Complete() != complete || len(r.prompts) != prompts {
			t.Fatalf("complete %v, %d prompts, warnings %q", r.Complete(), len(r.prompts), r.Warnings())
		}
		l, err := r.LayerOf(77, 0)
		if err != nil {
			t.Fatal(err)
		}
		row := make([]float32, rows)
		if err := l.Rows(row, Prefill, 0, 1234, 1); err != nil {
			t.Fatal(err)
		}
		for j, v := range row {
			if want := j == (1234+77)%1235; (v == 1) != want || v != 0 && v != 1 {
				t.Fatalf("key %d: weight %g", j, v)
			}
		}
	}
	check(true)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fi.Size()-1); err != nil {
		t.Fatal(err)
	}
	check(false)
	if done, err := Repair(t.Context(), path, nil); err != nil || done.Prompts != prompts {
		t.Fatalf("%+v %v", done, err)
	}
	check(true)
}
