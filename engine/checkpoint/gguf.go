package checkpoint

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/tensor"
)

// ggufTypes maps the type numbers of GGUF files to dtypes.
var ggufTypes = map[uint32]tensor.DType{
	0: tensor.F32, 1: tensor.F16, 2: tensor.Q4_0, 3: tensor.Q4_1, 6: tensor.Q5_0, 7: tensor.Q5_1, 8: tensor.Q8_0,
	10: tensor.Q2_K, 11: tensor.Q3_K, 12: tensor.Q4_K, 13: tensor.Q5_K, 14: tensor.Q6_K,
	20: tensor.IQ4_NL, 23: tensor.IQ4_XS, 39: tensor.MXFP4, 34: tensor.TQ1_0, 35: tensor.TQ2_0,
	16: tensor.IQ2_XXS, 17: tensor.IQ2_XS, 18: tensor.IQ3_XXS, 19: tensor.IQ1_S, 21: tensor.IQ3_S, 22: tensor.IQ2_S, 29: tensor.IQ1_M,
	24: tensor.I8, 25: tensor.I16, 26: tensor.I32, 27: tensor.I64, 28: tensor.F64, 30: tensor.BF16,
}

// otherTypes names the types that are not supported.
var otherTypes = map[uint32]string{9: "Q8_1", 15: "Q8_K", 40: "NVFP4", 41: "Q1_0"}

// Limits of a GGUF header. Real files stay far below them.
const (
	maxGGUFEntries  = 1 << 16
	maxGGUFElements = 1 << 22   // of all arrays together
	maxGGUFText     = 256 << 20 // bytes of all strings together
	maxGGUFDims     = 8
)

// cursor reads a GGUF header. err is the first error; after it, nothing is read.
type cursor struct {
	data     []byte // the file, or its first bytes
	size     uint64 // of the file
	at       int
	err      error
	elements uint64 // of the arrays so far
	bytes    uint64 // of the strings so far
}

// take returns the next n bytes; what describes them in an error.
func (c *cursor) take(n uint64, what string) []byte {
	if c.err != nil {
		return nil
	}
	if left := c.size - uint64(c.at); n > left {
		c.err = fmt.Errorf("byte %d: %s of %d bytes, the file has %d left: the file is truncated", c.at, what, n, left)
		return nil
	}
	if n > uint64(len(c.data)-c.at) {
		c.err = &moreError{bytes: uint64(c.at) + n}
		return nil
	}
	b := c.data[c.at : c.at+int(n)]
	c.at += int(n)
	return b
}

func (c *cursor) u32() uint32 {
	if b := c.take(4, "number"); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8, "number"); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) text() string {
	n := c.u64()
	if c.err == nil && n <= c.size-uint64(c.at) && n > maxGGUFText-c.bytes { // if the file is shorter, take says so
		c.err = fmt.Errorf("byte %d: strings of more than %d bytes in all, at most so many are read", c.at, maxGGUFText)
	}
	text := c.take(n, "string")
	c.bytes += uint64(len(text))
	return string(text)
}

// value reads a metadata value of a GGUF type: integers as int64 or uint64, floats as
// float64, arrays as []any. depth is the number of enclosing arrays.
func (c *cursor) value(kind uint32, depth int) any {
	switch kind {
	case 0, 7:
		if b := c.take(1, "byte"); b != nil {
			if kind == 7 {
				return b[0] != 0
			}
			return uint64(b[0])
		}
	case 1:
		if b := c.take(1, "byte"); b != nil {
			return int64(int8(b[0]))
		}
	case 2, 3:
		if b := c.take(2, "number"); b != nil {
			v := binary.LittleEndian.Uint16(b)
			if kind == 3 {
				return int64(int16(v))
			}
			return uint64(v)
		}
	case 4:
		return uint64(c.u32())
	case 5:
		return int64(int32(c.u32()))
	case 6:
		return float64(math.Float32frombits(c.u32()))
	case 8:
		return c.text()
	case 9:
		return c.array(depth)
	case 10:
		return c.u64()
	case 11:
		return int64(c.u64())
	case 12:
		return math.Float64frombits(c.u64())
	default:
		if c.err == nil {
			c.err = fmt.Errorf("byte %d: metadata type %d, want 0 to 12", c.at, kind)
		}
	}
	return nil
}

// array reads a metadata array.
func (c *cursor) array(depth int) any {
	kind, n := c.u32(), c.u64()
	if c.err == nil && (n > c.size-uint64(c.at) || depth > 3) {
		c.err = fmt.Errorf("byte %d: array of %d elements: the file is truncated or damaged", c.at, n)
	}
	if c.err == nil && n > maxGGUFElements-c.elements {
		c.err = fmt.Errorf("byte %d: array of %d elements: at most %d are read of all arrays together", c.at, n, maxGGUFElements)
	}
	if c.err != nil {
		return nil
	}
	c.elements += n
	list := make([]any, 0, n)
	for range n {
		list = append(list, c.value(kind, depth+1))
		if c.err != nil {
			return nil
		}
	}
	return list
}

// openGGUF opens a GGUF file of version 2 or 3. If it is the first of several files of
// a model (NAME-00001-of-00003.gguf), it also opens the others. open opens one file.
func openGGUF(path string, open func(path string) (*Checkpoint, error)) (*Checkpoint, error) {
	ck, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := ck.openSplits(open); err != nil {
		ck.Close()
		return nil, err
	}
	return ck, nil
}

var splitName = regexp.MustCompile(`-(\d{5})-of-(\d{5})\.gguf$`)

// openSplits adds the other files of a model. open opens one of them.
func (ck *Checkpoint) openSplits(open func(path string) (*Checkpoint, error)) error {
	count := wholeNumber(ck.config["split.count"])
	no := wholeNumber(ck.config["split.no"])
	if count < 2 {
		return nil
	}
	name := splitName.FindStringSubmatch(ck.path)
	if name == nil || name[2] != fmt.Sprintf("%05d", count) {
		return fmt.Errorf("%s: it is one of %d parts of a model: want names that end in -00001-of-%05d.gguf",
			ck.path, count, count)
	}
	part := func(i int) string {
		return fmt.Sprintf("%s-%05d-of-%s.gguf", strings.TrimSuffix(ck.path, name[0]), i, name[2])
	}
	if no != 0 {
		return fmt.Errorf("%s: it is part %d of %d of a model: open the first, %s", ck.path, no+1, count, part(1))
	}
	for i := 2; i <= count; i++ {
		next, err := open(part(i))
		if err != nil {
			return fmt.Errorf("part %d of %d: %w", i, count, err)
		}
		ck.files = append(ck.files, next.files...)
		ck.mapped = append(ck.mapped, next.mapped...)
		if err := ck.add(next, i); err != nil {
			return err
		}
	}
	if want := wholeNumber(ck.config["split.tensors.count"]); want > 0 && want != len(ck.tensors) {
		return fmt.Errorf("%s: its %d parts have %d tensors, the first says %d: they are parts of different models",
			ck.path, count, len(ck.tensors), want)
	}
	return nil
}

// add adds the tensors of part number i of the model, if its metadata does not
// contradict the first part's.
func (ck *Checkpoint) add(part *Checkpoint, i int) error {
	count := wholeNumber(ck.config["split.count"])
	if n, of := wholeNumber(part.config["split.no"])+1, wholeNumber(part.config["split.count"]); n != i || of != count {
		return fmt.Errorf("%s: it says that it is part %d of %d, want part %d of %d of the model of %s",
			part.path, n, of, i, count, ck.path)
	}
	for _, key := range slices.Sorted(maps.Keys(part.config)) {
		mine, given := ck.config[key]
		if key != "split.no" && given && !reflect.DeepEqual(mine, part.config[key]) {
			return fmt.Errorf("%s: %s differs from that of %s: they are parts of different models", part.path, key, ck.path)
		}
	}
	for n, t := range part.tensors {
		if _, twice := ck.tensors[n]; twice {
			return fmt.Errorf("%s: tensor %s is in an earlier part, too: they are parts of different models", part.path, n)
		}
		ck.tensors[n] = t
	}
	return nil
}

// wholeNumber returns an integer of GGUF metadata, or 0.
func wholeNumber(v any) int {
	switch x := v.(type) {
	case uint64:
		return int(min(x, math.MaxInt32))
	case int64:
		return int(max(0, min(x, math.MaxInt32)))
	}
	return 0
}

// mapGGUF maps one file.
func mapGGUF(path string) (*Checkpoint, error) {
	m, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	ck := &Checkpoint{path: path, format: "gguf", files: []string{path}, mapped: []*mapped{m}}
	if err := m.parse(func(data []byte) error { return ck.parseGGUF(data, uint64(len(data))) }); err != nil {
		m.close()
		return nil, err
	}
	return ck, nil
}

// parseGGUF reads the header and the tensors of a file of size bytes, of which data are
// the first. Without the rest, the tensors have no data.
func (ck *Checkpoint) parseGGUF(data []byte, size uint64) error {
	c := &cursor{data: data, size: size}
	if magic := c.take(4, "magic"); c.err == nil && string(magic) != "GGUF" {
		return fmt.Errorf("begins with %q, want GGUF: not a GGUF file", magic)
	}
	version := c.u32()
	if swapped := bits.ReverseBytes32(version); c.err == nil && swapped >= 2 && swapped <= 3 {
		return fmt.Errorf("a big-endian GGUF file of version %d, only little-endian files are read: "+
			"convert it with python3 -m gguf.scripts.gguf_convert_endian FILE little", swapped)
	}
	if c.err == nil && version != 2 && version != 3 {
		return fmt.Errorf("GGUF version %d, want 2 or 3", version)
	}
	tensors := c.u64()
	entries := c.u64()
	if c.err == nil && (tensors > maxTensors || entries > maxGGUFEntries) {
		return fmt.Errorf("%d tensors and %d metadata entries: at most %d and %d are read",
			tensors, entries, maxTensors, maxGGUFEntries)
	}
	ck.config = map[string]any{}
	for range entries {
		key := c.text()
		if _, twice := ck.config[key]; twice && c.err == nil {
			return fmt.Errorf("metadata key %q occurs twice", shortName(key))
		}
		ck.config[key] = c.value(c.u32(), 0)
		if c.err != nil {
			return c.err
		}
	}
	var list []ggufTensor
	for range tensors {
		t, err := c.tensor()
		if err != nil {
			return err
		}
		list = append(list, t)
	}
	if c.err != nil {
		return c.err
	}
	file := dataOf{size: size}
	if uint64(len(data)) == size {
		file.bytes = data
	}
	return ck.addTensors(list, file, c.at)
}

// ggufTensor is a tensor of the header without its data, and the offset of its data
// from the end of the header.
type ggufTensor struct {
	tensor.Tensor
	offset uint64
}

// tensor reads the header's entry of a tensor.
func (c *cursor) tensor() (ggufTensor, error) {
	name := c.text()
	dims := c.u32()
	if c.err == nil && dims > maxGGUFDims {
		return ggufTensor{}, fmt.Errorf("tensor %s: %d dimensions, at most %d are read", name, dims, maxGGUFDims)
	}
	shape := make([]int, dims)
	total := uint64(1)
	for i := range shape {
		d := c.u64()
		over, low := bits.Mul64(total, d)
		if over != 0 || low > 1<<48 {
			return ggufTensor{}, fmt.Errorf("tensor %s: dimension %d is %d: too large", name, i, d)
		}
		total = low
		shape[len(shape)-1-i] = int(d) // the file has the innermost first
	}
	kind := c.u32()
	offset := c.u64()
	if c.err != nil {
		return ggufTensor{}, c.err
	}
	d, ok := ggufTypes[kind]
	if !ok {
		other, known := otherTypes[kind]
		if !known {
			other = fmt.Sprintf("number %d", kind)
		}
		return ggufTensor{}, fmt.Errorf("tensor %s: GGUF type %s is not supported; %s and %s are", name, other,
			strings.Join(tensor.FloatTypes(), ", "), strings.Join(tensor.BlockTypes(), ", "))
	}
	return ggufTensor{tensor.Tensor{Name: name, DType: d, Shape: shape}, offset}, nil
}

// addTensors adds the tensors of a file whose header ends at byte headerEnd, with their
// data.
func (ck *Checkpoint) addTensors(list []ggufTensor, file dataOf, headerEnd int) error {
	align := uint64(32)
	if v, given := ck.config["general.alignment"]; given {
		align = uint64(wholeNumber(v))
		if bits.OnesCount64(align) != 1 || align > 1<<20 {
			return fmt.Errorf("general.alignment is %v, want a power of two up to %d", v, 1<<20)
		}
	}
	base := (uint64(headerEnd) + align - 1) / align * align
	ck.tensors = make(map[string]tensor.Tensor, len(list))
	for _, t := range list {
		row, err := t.DType.Bytes(t.Cols())
		if err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		lo := base + t.offset
		hi := lo + uint64(row)*uint64(t.Rows())
		if t.offset > file.size || hi > file.size {
			return fmt.Errorf("tensor %s: ends at byte %d, the file has %d: the file is truncated; fetch it again",
				t.Name, hi, file.size)
		}
		t.Data = file.part(lo, hi)
		if _, twice := ck.tensors[t.Name]; twice {
			return fmt.Errorf("tensor %s occurs twice", t.Name)
		}
		ck.tensors[t.Name] = t.Tensor
	}
	return nil
}
