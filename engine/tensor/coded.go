package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Coded computes the elements of a tensor from other tensors of its checkpoint. The
// formulas are those of the libraries that write such checkpoints, with their
// intermediate roundings, and the result is rounded to the type that the library
// returns, which is the tensor's DType.
type Coded interface {
	// Row writes row i of the tensor as a matrix to dst, which has the row's length.
	Row(dst []float32, i int) error
	// Parts returns the tensors of the checkpoint that the elements are computed from.
	Parts() []Tensor
	// String returns a short name of the code, such as "gptq 4-bit".
	String() string
}

// codedPart is a coded tensor from a row on.
type codedPart struct {
	Coded
	first int
}

func (p codedPart) Row(dst []float32, i int) error { return p.Coded.Row(dst, p.first+i) }

// codedRow computes a row of a coded tensor.
func (t Tensor) codedRow(dst []float32, i int) error {
	if i < 0 || i >= t.Rows() {
		return fmt.Errorf("tensor %s: row %d of %d", t.Name, i, t.Rows())
	}
	if t.Coded.Parts()[0].Data == nil {
		return fmt.Errorf("tensor %s: only the header of its file was read", t.Name)
	}
	if err := Guard(func() error { return t.Coded.Row(dst, i) }); err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return nil
}

// Plain returns a coded tensor with its elements in Data, as numbers of its type. Other
// tensors are returned as they are.
func (t Tensor) Plain() (Tensor, error) {
	if t.Coded == nil {
		return t, nil
	}
	size, err := t.DType.Bytes(1)
	if err != nil {
		return t, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	if t.Coded.Parts()[0].Data == nil {
		t.Coded = nil
		return t, nil
	}
	cols := t.Cols()
	row := make([]float32, cols)
	data := make([]byte, t.Elements()*size)
	for i := range t.Rows() {
		if err := t.Row(row, i); err != nil {
			return t, err
		}
		t.DType.encode(data[i*cols*size:], row)
	}
	t.Data = data
	t.Coded = nil
	return t, nil
}

// encode writes numbers as a type of floats.
func (d DType) encode(data []byte, row []float32) {
	for x, v := range row {
		switch d {
		case F16:
			binary.LittleEndian.PutUint16(data[2*x:], F32ToF16(v))
		case BF16:
			binary.LittleEndian.PutUint16(data[2*x:], F32ToBF16(v))
		default:
			binary.LittleEndian.PutUint32(data[4*x:], math.Float32bits(v))
		}
	}
}

// StoredBytes returns the size of the tensor in its file, with all scales.
func (t Tensor) StoredBytes() int64 {
	if t.Coded == nil {
		row, err := t.DType.Bytes(t.Cols())
		if err != nil { // the file has no such tensor: its header was checked
			return 0
		}
		return int64(row) * int64(t.Rows())
	}
	var n int64
	for _, p := range t.Coded.Parts() {
		n += p.StoredBytes()
	}
	return n
}

// Kind returns the name of the type that the elements have in the file.
func (t Tensor) Kind() string {
	if t.Coded != nil {
		return t.Coded.String()
	}
	return t.DType.String()
}

// isFloat reports whether a tensor has floats that scales can have.
func (t Tensor) isFloat() bool { return t.DType == F32 || t.DType == F16 || t.DType == BF16 }

// at returns element i of a tensor of floats, of small floats or of integers of 8 bits.
func (t Tensor) at(i int) float32 {
	switch t.DType {
	case F32:
		return math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
	case F16:
		return half(t.Data[2*i:])
	case BF16:
		return BF16ToF32(binary.LittleEndian.Uint16(t.Data[2*i:]))
	case F8_E4M3:
		return e4m3[t.Data[i]]
	case F8_E5M2:
		return e5m2[t.Data[i]]
	case I8:
		return float32(int8(t.Data[i]))
	}
	return float32(t.Data[i])
}

// word returns word i of a tensor of integers of 32 bits.
func (t Tensor) word(i int) uint32 { return binary.LittleEndian.Uint32(t.Data[4*i:]) }

// bitField returns integer n of a row of integers of some bits, which follow one
// another from the lowest bit of the first word on. word returns a word of the row.
func bitField(word func(i int) uint32, bits, n int) uint32 {
	first := n * bits
	shift := first % 32
	v := word(first/32) >> shift
	if shift+bits > 32 {
		v |= word(first/32+1) << (32 - shift)
	}
	return v & (1<<bits - 1)
}

// unpacker reads a row of integers that bitField would read one by one, from words that
// lie stride bytes apart.
type unpacker struct {
	words  []byte
	stride int
	bits   int
}

// unpack writes the first len(dst) integers.
func (u unpacker) unpack(dst []float32) {
	var held uint64 // bits that were read and not used
	have := 0       // their number
	at := 0
	mask := uint64(1)<<u.bits - 1
	for x := range dst {
		if have < u.bits {
			held |= uint64(binary.LittleEndian.Uint32(u.words[at:])) << have
			have += 32
			at += u.stride
		}
		dst[x] = float32(held & mask)
		held >>= u.bits
		have -= u.bits
	}
}

// misfit returns the error of a tensor that does not fit the others of a weight.
func misfit(t Tensor, want string) error {
	return fmt.Errorf("tensor %s: %s of shape %v, want %s", t.Name, t.DType, t.Shape, want)
}

// has reports whether a tensor has the type and the shape.
func (t Tensor) has(d DType, shape ...int) bool {
	if t.DType != d || len(t.Shape) != len(shape) {
		return false
	}
	for i, n := range shape {
		if t.Shape[i] != n {
			return false
		}
	}
	return true
}
