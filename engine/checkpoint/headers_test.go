package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/internal/hubtest"
)

// TestHeadersOfShards: of a model in parts, only the headers are read, one of them longer
// than what is read first.
func TestHeadersOfShards(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const body = 2 << 20
	header := `{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`
	long := fmt.Sprintf(header, body/4, body) + strings.Repeat(" ", 3*firstBytes)
	write("config.json", []byte(`{}`))
	write(indexFile, []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`))
	write("model-00001-of-00002.safetensors", safetensors(long, body))
	write("model-00002-of-00002.safetensors", safetensors(strings.Replace(fmt.Sprintf(header, body/4, body), `"a"`, `"b"`, 1), body))
	hub := hubtest.Serve(t, map[string]string{"some/parts": dir})
	place, err := Locate(t.Context(), "some/parts", ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ck, err := place.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, ok := ck.Tensor("b")
	if !ok || b.Elements() != body/4 || b.Data != nil || len(ck.Names()) != 2 {
		t.Errorf("tensor %v, data of %d bytes, in %v", b.Shape, len(b.Data), ck.Names())
	}
	if n := hub.Sent("model-00001-of-00002.safetensors"); n != growth*firstBytes {
		t.Errorf("%d bytes of the first part were sent, want %d", n, growth*firstBytes)
	}
	if n := hub.Sent("model-00002-of-00002.safetensors"); n != firstBytes {
		t.Errorf("%d bytes of the second part were sent, want %d", n, firstBytes)
	}
	sum, err := ck.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	if err := place.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := place.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	if got, err := whole.SHA256(); err != nil || got != sum || whole.HeadersOnly() {
		t.Errorf("fetched: hash %s (%v), want %s of the hub's list", got, err, sum)
	}
}

// TestLongGGUFHeader: the header of a GGUF file is read in steps, up to its end.
func TestLongGGUFHeader(t *testing.T) {
	dir := t.TempDir()
	var data []byte
	u32 := func(v uint32) { data = binary.LittleEndian.AppendUint32(data, v) }
	u64 := func(v uint64) { data = binary.LittleEndian.AppendUint64(data, v) }
	text := func(s string) {
		u64(uint64(len(s)))
		data = append(data, s...)
	}
	data = append(data, "GGUF"...)
	u32(3)
	u64(1) // tensors
	u64(1) // metadata
	text("words")
	u32(9)
	u32(8)
	const words = 20_000
	u64(words)
	for i := range words {
		text(fmt.Sprintf("word %05d", i))
	}
	header := len(data)
	text("a")
	u32(1)
	u64(1 << 20)
	u32(0)
	u64(0)
	data = append(data, make([]byte, 32+4<<20)...)
	if err := os.WriteFile(filepath.Join(dir, "m.gguf"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	hub := hubtest.Serve(t, map[string]string{"some/gguf": dir})
	place, err := Locate(t.Context(), "some/gguf:m.gguf", ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ck, err := place.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, _ := ck.Config()["words"].([]any)
	if a, ok := ck.Tensor("a"); len(list) != words || list[words-1] != "word 19999" || !ok || a.Elements() != 1<<20 {
		t.Errorf("%d words, tensor %v", len(list), a.Shape)
	}
	if n := hub.Sent("m.gguf"); n < int64(header) || n > growth*int64(header) {
		t.Errorf("%d bytes were sent, want the header of %d and not the file of %d", n, header, len(data))
	}
}

// TestHostileHeaders: a header that claims to be huge is refused before it is read.
func TestHostileHeaders(t *testing.T) {
	long := binary.LittleEndian.AppendUint64(nil, maxHeader+1)
	var gguf []byte
	gguf = append(gguf, "GGUF\x03\x00\x00\x00"...)
	for _, v := range []uint64{1, 1, maxGGUFText + 1} { // tensors, metadata, bytes of the first key
		gguf = binary.LittleEndian.AppendUint64(gguf, v)
	}
	for name, c := range map[string]struct {
		head []byte
		want string
	}{
		"safetensors": {long, "at most 104857600 are read"},
		"GGUF":        {gguf, "strings of more than 268435456 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			parse := (&File{}).parse
			if name == "GGUF" {
				parse = (&Checkpoint{}).parseGGUF
			}
			head := append(c.head, make([]byte, firstBytes-len(c.head))...)
			if err := parse(head, maxGGUFText+1<<20); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestEveryPartOfAFile: a header in any number of first bytes is read whole, or more bytes
// are asked for.
func TestEveryPartOfAFile(t *testing.T) {
	whole := &Checkpoint{}
	gguf := tinyGGUF()
	if err := whole.parseGGUF(gguf, uint64(len(gguf))); err != nil {
		t.Fatal(err)
	}
	tensors := safetensors(`{"a":{"dtype":"F32","shape":[64],"data_offsets":[0,256]}}`, 256)
	for name, c := range map[string]struct {
		data  []byte
		parse func(head []byte, size uint64) (names []string, err error)
		want  []string
	}{
		"GGUF": {gguf, func(head []byte, size uint64) ([]string, error) {
			ck := &Checkpoint{}
			err := ck.parseGGUF(head, size)
			return ck.Names(), err
		}, whole.Names()},
		"safetensors": {tensors, func(head []byte, size uint64) ([]string, error) {
			f := &File{}
			err := f.parse(head, size)
			return f.Names(), err
		}, []string{"a"}},
	} {
		read := 0
		for n := 8; n < len(c.data); n++ {
			names, err := c.parse(c.data[:n], uint64(len(c.data)))
			var more *moreError
			switch {
			case errors.As(err, &more) && read == 0 && more.bytes > uint64(n) && more.bytes <= uint64(len(c.data)):
			case err == nil && slices.Equal(names, c.want):
				read++
			default:
				t.Errorf("%s: of the first %d bytes: %v, %v, want %v", name, n, names, err, c.want)
			}
		}
		if read < 16 { // the data after the header
			t.Errorf("%s: the header was read from %d parts", name, read)
		}
	}
}
