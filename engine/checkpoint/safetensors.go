package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/attnscope/attnscope/engine/tensor"
)

// maxHeader is the largest header of a safetensors file that is read, in bytes. The
// reference implementation has the same limit.
const maxHeader = 100 << 20

// File is one safetensors file, memory-mapped.
type File struct {
	Path     string
	Metadata map[string]string
	tensors  map[string]tensor.Tensor
	close    func() error
}

// Names returns the names of the tensors in alphabetical order.
func (f *File) Names() []string {
	list := make([]string, 0, len(f.tensors))
	for n := range f.tensors {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// Tensor returns a view of a tensor, which is valid until Close.
func (f *File) Tensor(name string) (tensor.Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Close unmaps the file.
func (f *File) Close() error { return f.close() }

// ReadSafetensors maps a file and checks its header: the dtypes are known, the data of
// each tensor has the size of its shape, and together they cover the file without holes
// or overlaps.
func ReadSafetensors(path string) (*File, error) {
	h, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	fi, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("%s: is a folder, want a safetensors file", path)
	}
	data, closer, err := mapFile(h, fi.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &File{Path: path, close: closer}
	if err := f.parse(data); err != nil {
		closer()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// placed is the range of a tensor's data.
type placed struct {
	lo, hi uint64
	name   string
}

// parse reads the header and the tensors of a file.
func (f *File) parse(data []byte) error {
	if len(data) < 8 {
		return fmt.Errorf("%d bytes, too short for a safetensors file: it is empty or truncated", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return fmt.Errorf("header of %d bytes, at most %d are read: not a safetensors file", n, maxHeader)
	}
	if n > uint64(len(data)-8) {
		return fmt.Errorf("header of %d bytes in a file of %d: the file is truncated", n, len(data))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	body := data[8+n:]
	f.tensors = make(map[string]tensor.Tensor, len(header))
	var places []placed
	for name, raw := range header {
		if name == "__metadata__" {
			if err := json.Unmarshal(raw, &f.Metadata); err != nil {
				return fmt.Errorf("__metadata__: %w", err)
			}
			continue
		}
		t, lo, hi, err := tensorEntry(name, raw, body)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		f.tensors[name] = t
		places = append(places, placed{lo, hi, name})
	}
	return checkCover(places, uint64(len(body)))
}

// checkCover checks that tensors cover size bytes without holes or overlaps.
func checkCover(places []placed, size uint64) error {
	sort.Slice(places, func(i, j int) bool {
		a, b := places[i], places[j]
		return a.lo < b.lo || a.lo == b.lo && (a.hi < b.hi || a.hi == b.hi && a.name < b.name)
	})
	var at uint64
	for _, p := range places {
		if p.lo != at {
			return fmt.Errorf("tensor %s begins at byte %d of the data, want %d: hole or overlap", p.name, p.lo, at)
		}
		at = p.hi
	}
	if at != size {
		return fmt.Errorf("%d bytes after the last tensor", size-at)
	}
	return nil
}

// tensorEntry reads the header's entry of a tensor. The tensor is body[lo:hi].
func tensorEntry(name string, raw json.RawMessage, body []byte) (t tensor.Tensor, lo, hi uint64, err error) {
	var e struct {
		DType   string    `json:"dtype"`
		Shape   []uint64  `json:"shape"`
		Offsets [2]uint64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return t, 0, 0, err
	}
	d := tensor.ParseDType(e.DType)
	one, err := d.Bytes(1)
	if err != nil {
		return t, 0, 0, fmt.Errorf("dtype %q, want F32, F16, BF16, F64, BOOL or an integer type", e.DType)
	}
	size := uint64(one)
	shape := make([]int, len(e.Shape))
	for i, dim := range e.Shape {
		over, low := bits.Mul64(size, dim)
		if over != 0 || dim > math.MaxInt32<<16 {
			return t, 0, 0, fmt.Errorf("shape %v is too large", e.Shape)
		}
		size = low
		shape[i] = int(dim)
	}
	lo, hi = e.Offsets[0], e.Offsets[1]
	switch {
	case lo > hi:
		return t, 0, 0, fmt.Errorf("data_offsets [%d, %d] run backwards", lo, hi)
	case hi > uint64(len(body)):
		return t, 0, 0, fmt.Errorf("ends at byte %d of the data, the file has %d: the file is truncated; fetch it again",
			hi, len(body))
	case hi-lo != size:
		return t, 0, 0, fmt.Errorf("%d bytes of data for shape %v of %s, want %d", hi-lo, e.Shape, e.DType, size)
	}
	return tensor.Tensor{Name: name, DType: d, Shape: shape, Data: body[lo:hi:hi]}, lo, hi, nil
}

// openShards opens model.safetensors, or the shards that an index names.
func openShards(dir string) ([]*File, map[string]tensor.Tensor, error) {
	index := filepath.Join(dir, "model.safetensors.index.json")
	text, err := os.ReadFile(index)
	if errors.Is(err, fs.ErrNotExist) {
		f, err := ReadSafetensors(filepath.Join(dir, "model.safetensors"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("%s: it has no model.safetensors and no model.safetensors.index.json", dir)
		} else if err != nil {
			return nil, nil, err
		}
		return []*File{f}, f.tensors, nil
	} else if err != nil {
		return nil, nil, err
	}
	var ix struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &ix); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", index, err)
	}
	shards := map[string]*File{}
	var files []*File
	fail := func(err error) ([]*File, map[string]tensor.Tensor, error) {
		for _, f := range files {
			f.Close()
		}
		return nil, nil, err
	}
	var names []string
	for _, shard := range ix.WeightMap {
		if !slices.Contains(names, shard) {
			names = append(names, shard)
		}
	}
	slices.Sort(names)
	for _, shard := range names {
		if filepath.Base(shard) != shard || shard == ".." || shard == "." {
			return fail(fmt.Errorf("%s: shard name %q, want a plain file name", index, shard))
		}
		f, err := ReadSafetensors(filepath.Join(dir, shard))
		if err != nil {
			return fail(err)
		}
		shards[shard] = f
		files = append(files, f)
	}
	all := make(map[string]tensor.Tensor, len(ix.WeightMap))
	for name, shard := range ix.WeightMap {
		t, ok := shards[shard].tensors[name]
		if !ok {
			return fail(fmt.Errorf("%s: tensor %s is not in %s, where the index places it", index, name, shard))
		}
		all[name] = t
	}
	return files, all, nil
}
