package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/bits"
	"path/filepath"
	"slices"
	"sort"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/jsonerr"
)

// File is one safetensors file, memory-mapped, or only its header.
type File struct {
	Path     string
	Metadata map[string]string
	tensors  map[string]tensor.Tensor
	mapped   *mapped // nil: only the header
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
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	return f.mapped.close()
}

// ReadSafetensors maps a file and checks its header: the dtypes are known, the data of
// each tensor has the size of its shape, and together they cover the file without holes
// or overlaps.
func ReadSafetensors(path string) (*File, error) {
	m, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, mapped: m}
	if err := m.parse(func(data []byte) error { return f.parse(data, uint64(len(data))) }); err != nil {
		m.close()
		return nil, err
	}
	return f, nil
}

// placed is the range of a tensor's data.
type placed struct {
	lo, hi uint64
	name   string
}

// parse reads the header and the tensors of a file of size bytes, of which data are the
// first. Without the rest, the tensors have no data.
func (f *File) parse(data []byte, size uint64) error {
	if len(data) < 8 {
		return fmt.Errorf("%d bytes, too short for a safetensors file: it is empty or truncated", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return fmt.Errorf("header of %d bytes, at most %d are read: not a safetensors file", n, maxHeader)
	}
	if n > size-8 {
		return fmt.Errorf("header of %d bytes in a file of %d: the file is truncated", n, size)
	}
	if n > uint64(len(data)-8) {
		return &moreError{bytes: 8 + n}
	}
	body := dataOf{size: size - 8 - n}
	if uint64(len(data)) == size {
		body.bytes = data[8+n:]
	}
	f.tensors = map[string]tensor.Tensor{}
	var places []placed
	header := headerReader{text: data[8 : 8+n]}
	var err error
	f.Metadata, err = header.read(func(name string, e headerEntry) error {
		if _, twice := f.tensors[name]; twice {
			return errors.New("the name occurs twice in the header")
		}
		t, err := e.tensor(name, body)
		if err != nil {
			return err
		}
		f.tensors[name] = t
		places = append(places, placed{e.offsets[0], e.offsets[1], name})
		return nil
	})
	if err != nil {
		return err
	}
	return checkCover(places, body.size)
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

// dataOf is a part of a file; bytes is nil if only the header of the file is there.
type dataOf struct {
	bytes []byte
	size  uint64
}

// part returns the bytes from lo to hi, or nil if they are not there.
func (d *dataOf) part(lo, hi uint64) []byte {
	if d.bytes == nil {
		return nil
	}
	return d.bytes[lo:hi:hi]
}

// tensor returns the tensor of an entry; body is the data of all tensors.
func (e *headerEntry) tensor(name string, body dataOf) (t tensor.Tensor, err error) {
	d := tensor.ParseDType(e.dtype)
	one, err := d.Bytes(1)
	if err != nil {
		return t, fmt.Errorf("dtype %q, want F32, F16, BF16, F64, BOOL or an integer type", shortName(e.dtype))
	}
	size := uint64(one)
	shape := make([]int, len(e.shape))
	for i, dim := range e.shape {
		over, low := bits.Mul64(size, dim)
		if over != 0 || dim > math.MaxInt32<<16 {
			return t, fmt.Errorf("shape %v is too large", e.shape)
		}
		size = low
		shape[i] = int(dim)
	}
	lo, hi := e.offsets[0], e.offsets[1]
	switch {
	case lo > hi:
		return t, fmt.Errorf("data_offsets [%d, %d] run backwards", lo, hi)
	case hi > body.size:
		return t, fmt.Errorf("ends at byte %d of the data, the file has %d: the file is truncated; fetch it again",
			hi, body.size)
	case hi-lo != size:
		return t, fmt.Errorf("%d bytes of data for shape %v of %s, want %d", hi-lo, e.shape, e.dtype, size)
	}
	return tensor.Tensor{Name: name, DType: d, Shape: shape, Data: body.part(lo, hi)}, nil
}

// maxIndex is the largest index of shards that is read, in bytes.
const maxIndex = 32 << 20

// openShards opens model.safetensors, or else the shards that an index names, as the
// reference does. open opens a file of the folder.
func openShards(dir string, open func(name string) (*File, error)) ([]*File, map[string]tensor.Tensor, error) {
	f, err := open(wholeFile)
	if err == nil {
		return []*File{f}, f.tensors, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	placement, err := readIndex(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, noWeights(dir)
	} else if err != nil {
		return nil, nil, err
	}
	var files []*File
	all, err := readShards(dir, placement, open, &files)
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, nil, err
	}
	return files, all, nil
}

// readIndex reads an index: the file of each tensor.
func readIndex(index string) (map[string]string, error) {
	text, err := ReadFile(index, maxIndex)
	if err != nil {
		return nil, err
	}
	var ix struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &ix); err != nil {
		return nil, fmt.Errorf("%s: %w", index, jsonerr.Plain(text, err))
	}
	if len(ix.WeightMap) == 0 {
		return nil, fmt.Errorf("%s: no weight_map, which names the file of each tensor", index)
	}
	return ix.WeightMap, nil
}

// readShards opens the shards of an index in the order of their names, adds them to
// files, and returns their tensors. A tensor in two shards is an error: they are parts
// of different models.
func readShards(
	dir string, placement map[string]string, open func(name string) (*File, error), files *[]*File,
) (map[string]tensor.Tensor, error) {
	index := filepath.Join(dir, indexFile)
	where := map[string]string{} // of every tensor that a shard has
	all := make(map[string]tensor.Tensor, len(placement))
	names := slices.Sorted(maps.Values(placement))
	for _, shard := range slices.Compact(names) {
		if filepath.Base(shard) != shard || shard == ".." || shard == "." {
			return nil, fmt.Errorf("%s: shard name %q, want a plain file name", index, shard)
		}
		f, err := open(shard)
		if err != nil {
			return nil, err
		}
		*files = append(*files, f)
		for name, t := range f.tensors {
			if other, twice := where[name]; twice {
				return nil, fmt.Errorf("%s: tensor %s is in %s and in %s: these are parts of different models; fetch the model again",
					dir, name, other, shard)
			}
			where[name] = shard
			all[name] = t // the reference loads tensors that the index does not list, too
		}
	}
	for name, shard := range placement {
		if where[name] != shard {
			return nil, fmt.Errorf("%s: tensor %s is not in %s, where the index places it: "+
				"the index and the file are parts of different models; fetch the model again", index, name, shard)
		}
	}
	return all, nil
}
