package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

const pointer = "version https://git-lfs.github.com/spec/v1\n" +
	"oid sha256:5f1a3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818\nsize 269060552\n"

// oneWeight is a safetensors file with the tensor a.
func oneWeight() string {
	return string(safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
}

// namedWeight is a safetensors file with one tensor.
func namedWeight(name string) string {
	return string(safetensors(`{"`+name+`":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
}

// folder writes files to a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFoldersThatAreNoModel: what people have instead of a model is refused with a line
// that says what to do.
func TestFoldersThatAreNoModel(t *testing.T) {
	const index = `{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"LFS pointer of the weights": {
			map[string]string{"config.json": "{}", "model.safetensors": pointer},
			[]string{"model.safetensors: it is a Git LFS pointer", "269060552 bytes", "git lfs pull"},
		},
		"LFS pointer of a shard": {
			map[string]string{
				"config.json": "{}", "model.safetensors.index.json": index,
				"model-00001-of-00002.safetensors": oneWeight(), "model-00002-of-00002.safetensors": pointer,
			},
			[]string{"00002-of-00002.safetensors: it is a Git LFS pointer"},
		},
		"LFS pointer of config.json": {
			map[string]string{"config.json": pointer, "model.safetensors": oneWeight()},
			[]string{"config.json: it is a Git LFS pointer"},
		},
		"LFS pointer of the index": {
			map[string]string{"config.json": "{}", "model.safetensors.index.json": pointer},
			[]string{"index.json: it is a Git LFS pointer"},
		},
		"LFS pointer of a GGUF file": {
			map[string]string{"m.gguf": pointer},
			[]string{"m.gguf: it is a Git LFS pointer"},
		},
		"pickled weights": {
			map[string]string{"config.json": "{}", "pytorch_model.bin": "PK"},
			[]string{"pytorch_model.bin", "pickle is a program", "save_pretrained(d + '-safetensors')"},
		},
		"parts without an index": {
			map[string]string{"config.json": "{}", "model-00001-of-00002.safetensors": oneWeight()},
			[]string{"no model.safetensors.index.json"},
		},
		"an adapter": {
			map[string]string{"config.json": "{}", "adapter_model.safetensors": oneWeight()},
			[]string{"adapter", "merge_and_unload"},
		},
		"another name": {
			map[string]string{"config.json": "{}", "weights.safetensors": oneWeight()},
			[]string{"weights.safetensors", "rename"},
		},
		"nothing": {
			map[string]string{"config.json": "{}"},
			[]string{"no model.safetensors and no model.safetensors.index.json"},
		},
		"shards of different models": {
			map[string]string{
				"config.json": "{}", "model.safetensors.index.json": index,
				"model-00001-of-00002.safetensors": oneWeight(), "model-00002-of-00002.safetensors": oneWeight(),
			},
			[]string{"tensor a is in model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors", "different models"},
		},
		"an index of another model": {
			map[string]string{
				"config.json": "{}", "model.safetensors.index.json": index,
				"model-00001-of-00002.safetensors": oneWeight(), "model-00002-of-00002.safetensors": namedWeight("c"),
			},
			[]string{"tensor b is not in model-00002-of-00002.safetensors", "different models"},
		},
		"several GGUF models": {
			map[string]string{"m.Q4_0.gguf": string(tinyGGUF()), "m.Q8_0.gguf": string(tinyGGUF()), "mmproj-m.gguf": "x"},
			[]string{"2 GGUF models (m.Q4_0.gguf, m.Q8_0.gguf)", "name the file"},
		},
		"two split models": {
			map[string]string{"m-00001-of-00002.gguf": "x", "m-00001-of-00003.gguf": "x"},
			[]string{"m-*-of-00002.gguf, m-*-of-00003.gguf"},
		},
	} {
		dir := folder(t, c.files)
		ck, err := Open(dir)
		if err == nil {
			ck.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want one line with %q and the folder", name, err, want)
			}
		}
	}
	for suffix, want := range map[string]string{".safetensors": "want the folder", ".bin": "pickle is a program", ".txt": "or a .gguf file"} {
		if _, err := Open(file(t, "model"+suffix, []byte("x"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", suffix, err, want)
		}
	}
}

// TestFolderOfGGUF: a folder with one GGUF model, whole or in parts, is that model, also
// if the hub's config.json lies beside it.
func TestFolderOfGGUF(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"one file": {"m.gguf": string(tinyGGUF()), "mmproj-m.gguf": "x", "config.json": "{}"},
		"parts":    {"m-00001-of-00002.gguf": string(splitGGUF(0, 2, "v")), "m-00002-of-00002.gguf": string(splitGGUF(1, 2, "w"))},
	} {
		dir := folder(t, files)
		path, err := Resolve(t.Context(), dir, ResolveOptions{Offline: true})
		if err != nil || filepath.Ext(path) != ".gguf" {
			t.Errorf("%s: Resolve returns %q, %v", name, path, err)
		}
		ck, err := Open(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if names := ck.Names(); !slices.Contains(names, "w") || ck.Format() != "gguf" || ck.Path() != path {
			t.Errorf("%s: tensors %v, format %s, path %s", name, names, ck.Format(), ck.Path())
		}
		ck.Close()
	}
	// Weights in safetensors take precedence.
	dir := folder(t, map[string]string{"config.json": "{}", "model.safetensors": oneWeight(), "m.gguf": "x"})
	ck, err := Open(dir)
	if err != nil || ck.Format() != "safetensors" {
		t.Fatalf("safetensors beside a GGUF file: %v", err)
	}
	ck.Close()
}

// TestPartsOfDifferentModels: parts of a GGUF model that do not belong together.
func TestPartsOfDifferentModels(t *testing.T) {
	first := string(splitGGUF(0, 2, "a"))
	for name, c := range map[string]struct{ second, want string }{
		"of another split": {string(splitGGUF(1, 3, "b")), "part 2 of 3, want part 2 of 2"},
		"the first twice":  {first, "part 1 of 2, want part 2 of 2"},
		"same tensor":      {string(splitGGUF(1, 2, "a")), "tensor a is in an earlier part"},
		"whole model":      {string(tinyGGUF()), "want part 2 of 2"},
	} {
		dir := folder(t, map[string]string{"m-00001-of-00002.gguf": first, "m-00002-of-00002.gguf": c.second})
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
	g := ggufFile{meta: []any{"split.no", uint16(0), "split.count", uint16(2), "split.tensors.count", int32(3), "general.name", "one"}}
	h := ggufFile{meta: []any{"split.no", uint16(1), "split.count", uint16(2), "general.name", "two"}}
	dir := folder(t, map[string]string{"m-00001-of-00002.gguf": string(g.bytes()), "m-00002-of-00002.gguf": string(h.bytes())})
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "general.name differs") {
		t.Errorf("different names: %v", err)
	}
	h.meta = h.meta[:4]
	os.WriteFile(filepath.Join(dir, "m-00002-of-00002.gguf"), h.bytes(), 0o644)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "have 0 tensors, the first says 3") {
		t.Errorf("too few tensors: %v", err)
	}
}

// ggufFile makes GGUF files without tensors. meta holds keys and values in turn.
type ggufFile struct {
	order binary.AppendByteOrder // nil: little-endian
	meta  []any
}

func (g ggufFile) bytes() []byte {
	le := g.order
	if le == nil {
		le = binary.LittleEndian
	}
	b := le.AppendUint64(le.AppendUint64(le.AppendUint32([]byte("GGUF"), 3), 0), uint64(len(g.meta)/2))
	text := func(s string) { b = append(le.AppendUint64(b, uint64(len(s))), s...) }
	for i := 0; i < len(g.meta); i += 2 {
		text(g.meta[i].(string))
		switch v := g.meta[i+1].(type) {
		case uint16:
			b = le.AppendUint16(le.AppendUint32(b, 2), v)
		case uint32:
			b = le.AppendUint32(le.AppendUint32(b, 4), v)
		case int32:
			b = le.AppendUint32(le.AppendUint32(b, 5), uint32(v))
		case string:
			b = le.AppendUint32(b, 8)
			text(v)
		}
	}
	return b
}

func TestGGUFHeadersThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		g    ggufFile
		want string
	}{
		"big-endian": {ggufFile{order: binary.BigEndian}, "a big-endian GGUF file of version 3"},
		"a key twice": {
			ggufFile{meta: []any{"llama.block_count", uint32(2), "llama.block_count", uint32(3)}},
			`"llama.block_count" occurs twice`,
		},
		"alignment": {ggufFile{meta: []any{"general.alignment", uint32(33)}}, "general.alignment is 33"},
	} {
		if _, err := Open(file(t, "m.gguf", c.g.bytes())); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}

// TestSafetensorsHeadersThatAreRefused: what readers could read in two ways.
func TestSafetensorsHeadersThatAreRefused(t *testing.T) {
	const one = `{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`
	for name, c := range map[string]struct{ header, want string }{
		"a tensor twice":   {`{"a":` + one + `,"a":` + one + `}`, "tensor a: the name occurs twice"},
		"a field twice":    {`{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}`, "tensor a: dtype occurs twice"},
		"metadata twice":   {`{"__metadata__":{},"__metadata__":{},"a":` + one + `}`, "__metadata__ occurs twice"},
		"a metadata key":   {`{"__metadata__":{"k":"1","k":"2"},"a":` + one + `}`, `key "k" occurs twice`},
		"unknown field":    {`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"scale":"x"}}`, `field "scale" is not known`},
		"missing field":    {`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, "tensor a: no shape"},
		"text after it":    {`{"a":` + one + `}{}`, "want nothing after the last }"},
		"one offset":       {`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}`, "data_offsets has 1 numbers"},
		"negative":         {`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, "want a whole number"},
		"above 64 bits":    {`{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}`, "above 2^64"},
		"missing comma":    {`{"a":` + one + `"b":` + one + `}`, "want ','"},
		"unfinished":       {`{"a":{"dtype":"F32`, "ends at byte"},
		"escaped twice":    {`{"a":` + one + `,"\u0061":` + one + `}`, "tensor a: the name occurs twice"},
		"a bad escape":     {`{"\q":` + one + `}`, "invalid"},
		"metadata numbers": {`{"__metadata__":{"k":1}}`, "want a string"},
	} {
		if _, err := ReadSafetensors(file(t, "x.safetensors", safetensors(c.header, 4))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}

// TestHugeHeadersAreBounded: headers with millions of elements are refused with one
// line, and take memory in proportion to their stated bounds.
func TestHugeHeadersAreBounded(t *testing.T) {
	text := func(b []byte, s string) []byte {
		return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	gguf := func(tensors, entries uint64) []byte {
		le := binary.LittleEndian
		return le.AppendUint64(le.AppendUint64(le.AppendUint32([]byte("GGUF"), 3), tensors), entries)
	}
	array := func(key string, kind uint32, n uint64) []byte {
		le := binary.LittleEndian
		b := le.AppendUint32(text(gguf(0, 1), key), 9)
		return le.AppendUint64(le.AppendUint32(b, kind), n)
	}
	fields := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`)
		for i := range n {
			fmt.Fprintf(&b, `,"%x":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}`, i)
		}
		return b.String() + "}"
	}
	for name, c := range map[string]struct {
		path string
		want string
	}{
		"too many tensors":          {file(t, "x.safetensors", safetensors(fields(maxTensors+5), 4)), "at most so many are read"},
		"a shape of 20 million":     {file(t, "x.safetensors", safetensors(`{"a":{"shape":[`+strings.Repeat("0,", 20<<20)+`0]}}`, 0)), "more than 64 numbers"},
		"a long name":               {file(t, "x.safetensors", safetensors(`{"`+strings.Repeat("n", 50<<20)+`":{"dtype":"F9","shape":[],"data_offsets":[0,0]}}`, 0)), `dtype "F9"`},
		"an array":                  {file(t, "m.gguf", append(array("a", 0, 20<<20), make([]byte, 20<<20)...)), "at most 4194304 are read of all arrays"},
		"as many strings as may be": {file(t, "m.gguf", append(array("a", 8, maxGGUFElements), make([]byte, 8*maxGGUFElements)...)), ""},
		"entries":                   {file(t, "m.gguf", append(gguf(0, 1<<20), make([]byte, 40<<20)...)), "at most 262144 and 65536 are read"},
		"tensors":                   {file(t, "m.gguf", append(gguf(1<<19, 0), make([]byte, 64<<20)...)), "at most 262144 and 65536 are read"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := ReadSafetensors(c.path)
		if filepath.Ext(c.path) == ".gguf" {
			_, err = Open(c.path)
		}
		runtime.ReadMemStats(&after)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 800 {
			t.Errorf("%s: %.300v, want a line with %q", name, err, c.want)
		}
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 1200 {
			t.Errorf("%s: %d MiB were allocated", name, mib)
		}
		os.Remove(c.path)
	}
}

// TestFileThatShrinks: what is left of a file that becomes shorter is an error on every
// goroutine, and not a signal that ends the program.
func TestFileThatShrinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: files are read, not mapped, on this system")
	}
	const n = 1 << 18
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := WriteSafetensors(path, []tensor.Tensor{tensor.FromFloat32("a", make([]float32, n), n/64, 64)}, nil); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	os.Rename(path, filepath.Join(dir, wholeFile))
	os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644)
	ck, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	a, _ := ck.Tensor("a")
	if err := ck.Unchanged(); err != nil {
		t.Errorf("before the change: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, wholeFile), 8192); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := a.Float32(); err == nil || !strings.Contains(err.Error(), "tensor a: its data cannot be read any more") {
				t.Errorf("all elements: %v", err)
			}
			if err := a.Row(make([]float32, 64), n/64-1); err == nil {
				t.Error("the last row: no error")
			}
			if err := a.Part(make([]float32, 8), n/64-1, 8); err == nil {
				t.Error("a part of the last row: no error")
			}
		})
	}
	group.Wait()
	if err := ck.Unchanged(); err == nil || !strings.Contains(err.Error(), "and has 8192 now") {
		t.Errorf("after the change: %v", err)
	}
	if err := tensor.Guard(func() error { return nil }); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Guard hides other panics")
		}
	}()
	tensor.Guard(func() error { panic("other") })
}

// TestFileThatIsWrittenTo: a file of the same size but other content.
func TestFileThatIsWrittenTo(t *testing.T) {
	path := file(t, "m.gguf", tinyGGUF())
	ck, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	data := bytes.Clone(tinyGGUF())
	data[len(data)-1]++
	past, _ := os.Stat(path)
	os.WriteFile(path, data, 0o644)
	os.Chtimes(path, past.ModTime(), past.ModTime().Add(1e9))
	if err := ck.Unchanged(); runtime.GOOS != "windows" && (err == nil || !strings.Contains(err.Error(), "written to while it was in use")) {
		t.Errorf("%v", err)
	}
}
