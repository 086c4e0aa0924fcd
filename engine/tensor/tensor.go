// Package tensor describes the arrays of a checkpoint as they are stored in its file,
// and decodes their dtypes to float32, including the quantized types of GGUF:
//
//	x, err := t.Float32()     // all elements
//	err = t.Row(dst, 17)      // row 17 of a matrix
//
// Quantized values follow the reference implementation of GGUF bit for bit.
package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Tensor is an array in a file. The weight of a linear layer is [out, in].
type Tensor struct {
	Name  string
	DType DType
	Shape []int // outermost first
	// Data is little-endian and row-major, quantized types in blocks along the last axis.
	// It is nil if only the header of the file was read, and if the tensor is coded.
	Data []byte
	// Coded computes the elements of a tensor that the checkpoint holds as integers or
	// small floats with scales in other tensors. It is nil if Data holds the elements.
	Coded Coded
}

// Elements returns the number of elements, the product of the shape.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// HeaderOnly reports whether only the header of the tensor's file was read.
func (t Tensor) HeaderOnly() bool { return t.Data == nil && t.Coded == nil }

// CheckLength returns an error if the data are shorter or longer than the shape says.
func (t Tensor) CheckLength() error {
	want, err := t.DType.Bytes(t.Elements())
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	if len(t.Data) != want {
		return fmt.Errorf("tensor %s: %d bytes, but %v of %s take %d", t.Name, len(t.Data), t.Shape, t.DType, want)
	}
	return nil
}

// Rows returns the number of rows of the tensor seen as a matrix whose rows run along
// the last axis.
func (t Tensor) Rows() int {
	if c := t.Cols(); c > 0 {
		return t.Elements() / c
	}
	return 0
}

// Cols returns the length of the last axis, or 1 for a scalar.
func (t Tensor) Cols() int {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[len(t.Shape)-1]
}

// Float32 returns all elements as float32.
func (t Tensor) Float32() ([]float32, error) {
	out := make([]float32, t.Elements())
	if t.Coded != nil {
		for i := range t.Rows() {
			if err := t.Row(out[i*t.Cols():], i); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if err := t.decode(out, t.Data); err != nil {
		return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return out, nil
}

// Row decodes row i of the tensor as a matrix to the first Cols values of dst.
func (t Tensor) Row(dst []float32, i int) error {
	if t.Coded != nil {
		return t.codedRow(dst[:t.Cols()], i)
	}
	size, err := t.DType.Bytes(t.Cols())
	if err == nil && (i < 0 || (i+1)*size > len(t.Data)) {
		err = fmt.Errorf("row %d of %d", i, t.Rows())
	}
	if err == nil {
		err = t.decode(dst[:t.Cols()], t.Data[i*size:(i+1)*size])
	}
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return nil
}

// Part decodes len(dst) values of row i from column k0 on to dst.
func (t Tensor) Part(dst []float32, i, k0 int) error {
	size, err := t.DType.Bytes(t.Cols())
	lo, err1 := t.DType.Bytes(k0)
	n, err2 := t.DType.Bytes(len(dst))
	wholeBlocks := err == nil && err1 == nil && err2 == nil
	if t.Coded != nil || !wholeBlocks || k0 < 0 || k0+len(dst) > t.Cols() || i < 0 || (i+1)*size > len(t.Data) {
		row := make([]float32, t.Cols())
		if err := t.Row(row, i); err != nil {
			return err
		}
		copy(dst, row[k0:])
		return nil
	}
	if err := t.decode(dst, t.Data[i*size+lo:i*size+lo+n]); err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return nil
}

// Slice returns rows [lo, hi) of the tensor as a matrix. It copies no data.
func (t Tensor) Slice(lo, hi int) (Tensor, error) {
	size, err := t.DType.Bytes(t.Cols())
	if err != nil || lo < 0 || lo > hi || hi > t.Rows() || t.Data != nil && hi*size > len(t.Data) {
		return Tensor{}, fmt.Errorf("tensor %s: rows %d to %d of %d", t.Name, lo, hi, t.Rows())
	}
	part := Tensor{Name: t.Name, DType: t.DType, Shape: []int{hi - lo, t.Cols()}}
	if t.Coded != nil {
		part.Coded = codedPart{t.Coded, lo}
	}
	if t.Data != nil {
		part.Data = t.Data[lo*size : hi*size]
	}
	return part, nil
}

// FromFloat32 returns an F32 tensor with the values of x.
func FromFloat32(name string, x []float32, shape ...int) Tensor {
	data := make([]byte, 4*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return Tensor{Name: name, DType: F32, Shape: shape, Data: data}
}

// FromInt32 returns an I32 tensor with the values of x.
func FromInt32(name string, x []int32, shape ...int) Tensor {
	data := make([]byte, 4*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint32(data[4*i:], uint32(v))
	}
	return Tensor{Name: name, DType: I32, Shape: shape, Data: data}
}

// Int32 returns the elements of an I32 or I64 tensor.
func (t Tensor) Int32() ([]int32, error) {
	if t.DType != I32 && t.DType != I64 {
		return nil, fmt.Errorf("tensor %s: dtype %s, want I32 or I64", t.Name, t.DType)
	}
	out := make([]int32, t.Elements())
	err := Guard(func() error {
		for i := range out {
			if t.DType == I32 {
				out[i] = int32(binary.LittleEndian.Uint32(t.Data[4*i:]))
			} else {
				out[i] = int32(binary.LittleEndian.Uint64(t.Data[8*i:]))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return out, nil
}
