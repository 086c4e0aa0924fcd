package tensor

import (
	"fmt"
	"math"
)

// scaled is a matrix of small floats or integers of 8 bits with a scale for each block.
type scaled struct {
	codes, scales Tensor
	zeros         *Tensor // of integers, in the shape of scales; nil: none
	rows, cols    int     // of a block
	across        int     // blocks in a row
	down          int     // rows of a matrix, of which a stack has several
	round         DType
	method        string
}

func (s *scaled) Parts() []Tensor {
	if s.zeros != nil {
		return []Tensor{s.codes, s.scales, *s.zeros}
	}
	return []Tensor{s.codes, s.scales}
}

func (s *scaled) String() string { return s.method + " " + s.codes.DType.String() }

func (s *scaled) Row(dst []float32, i int) error {
	blocks := (s.down + s.rows - 1) / s.rows
	first := (i/s.down*blocks + i%s.down/s.rows) * s.across
	n := len(dst)
	codes := s.codes.Data[i*n : (i+1)*n]
	if s.codes.DType == I8 {
		for x, code := range codes {
			dst[x] = float32(int8(code))
		}
	} else if err := decode(dst, s.codes.DType, codes); err != nil {
		return err
	}
	for block := range s.across {
		scale := s.scales.at(first + block)
		zero := float32(0)
		if s.zeros != nil {
			zero = s.zeros.at(first + block)
		}
		part := dst[block*s.cols : min(n, (block+1)*s.cols)]
		for x, v := range part {
			part[x] = (v - zero) * scale
		}
	}
	s.round.roundAll(dst)
	return nil
}

// A Block is the size of the blocks of a matrix that have a scale; 0 stands for the
// size that divides the matrix into as many parts as there are scales.
type Block struct{ Rows, Cols int }

// Scaled returns the tensor codes * scales, where codes are F8_E4M3, F8_E5M2 or I8 and
// scales are floats [blocks, blocks], one for each row, or one for all. zeros, if not
// nil, are subtracted from the codes. method is a name for the code.
func Scaled(method string, codes, scales Tensor, zeros *Tensor, b Block) (Tensor, error) {
	if codes.DType != F8_E4M3 && codes.DType != F8_E5M2 && codes.DType != I8 || len(codes.Shape) < 2 {
		return Tensor{}, misfit(codes, "a matrix of F8_E4M3, F8_E5M2 or I8")
	}
	if !scales.isFloat() {
		return Tensor{}, misfit(scales, "F32, F16 or BF16")
	}
	isInteger := zeros != nil && (zeros.DType == I8 || zeros.DType == U8)
	if zeros != nil && (!isInteger && zeros.DType != codes.DType || zeros.Elements() != scales.Elements()) {
		return Tensor{}, misfit(*zeros, fmt.Sprintf("I8 of shape %v", scales.Shape))
	}
	s := &scaled{codes: codes, scales: scales, zeros: zeros, round: scales.DType, method: method}
	rank := len(codes.Shape)
	s.down = codes.Shape[rank-2]
	stack := codes.Rows() / max(1, s.down)
	down, across := gridOf(scales, stack, rank)
	s.across = across
	s.rows = blockSize(s.down, down, b.Rows)
	s.cols = blockSize(codes.Cols(), across, b.Cols)
	if s.rows == 0 || s.cols == 0 || scales.Elements() != stack*down*across {
		return Tensor{}, misfit(scales, fmt.Sprintf("scales of blocks [%d, %d] of a matrix %v", b.Rows, b.Cols, codes.Shape))
	}
	return Tensor{Name: codes.Name, DType: scales.DType, Shape: codes.Shape, Coded: s}, nil
}

// gridOf returns the numbers of scales along the rows and the columns of each matrix of
// a stack; a list of scales has one for each row.
func gridOf(scales Tensor, stack, rank int) (down, across int) {
	n := scales.Elements() / max(1, stack)
	if len(scales.Shape) < 2 || len(scales.Shape) < rank && stack > 1 {
		return n, 1
	}
	across = scales.Cols()
	return n / max(1, across), across
}

// blockSize returns the size of n blocks of a dimension, or 0 if they do not cover it.
// size is the size that the configuration gives; the last block may be smaller.
func blockSize(dim, n, size int) int {
	switch {
	case n == 1:
		return max(1, dim)
	case size > 0 && (dim+size-1)/size == n:
		return size
	case n > 0 && dim%n == 0:
		return dim / n
	}
	return 0
}

// int8Rows is a matrix of bitsandbytes: integers of 8 bits and the largest magnitude of
// each row.
type int8Rows struct{ codes, most Tensor }

func (m *int8Rows) Parts() []Tensor { return []Tensor{m.codes, m.most} }

func (m *int8Rows) String() string { return "bitsandbytes int8" }

func (m *int8Rows) Row(dst []float32, i int) error {
	scale := m.most.at(i)
	for x, code := range m.codes.Data[i*len(dst):][:len(dst)] {
		v := float32(int8(code)) * scale
		dst[x] = v * 7.874015718698502e-3 // 1 / 127
	}
	return nil
}

// Int8Rows returns the weight of bitsandbytes with codes I8 [out, in] and the largest
// magnitudes of the rows, F32 [out].
func Int8Rows(codes, most Tensor) (Tensor, error) {
	if codes.DType != I8 || len(codes.Shape) != 2 {
		return Tensor{}, misfit(codes, "a matrix of I8")
	}
	if most.DType != F32 || most.Elements() != codes.Rows() {
		return Tensor{}, misfit(most, fmt.Sprintf("F32 of shape [%d]", codes.Rows()))
	}
	return Tensor{Name: codes.Name, DType: F32, Shape: codes.Shape, Coded: &int8Rows{codes, most}}, nil
}

// e2m1 holds the values of the 4-bit codes of MXFP4. Unlike those of GGUF, they are not
// doubled, and the zeros have signs.
var e2m1 = [16]float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, math.Copysign(0, -1), -0.5, -1, -1.5, -2, -3, -4, -6}

// mxfp4 is a stack of matrices of MXFP4 as published by OpenAI: two codes of 4 bits a
// byte, the even column in the lower half, and an exponent for each 32 columns.
type mxfp4 struct{ blocks, exponents Tensor }

func (m *mxfp4) Parts() []Tensor { return []Tensor{m.blocks, m.exponents} }

func (m *mxfp4) String() string { return "mxfp4" }

func (m *mxfp4) Row(dst []float32, i int) error {
	groups := len(dst) / 32
	for g := range groups {
		at := i*groups + g
		scale := math.Ldexp(1, int(m.exponents.Data[at])-127)
		for x, b := range m.blocks.Data[16*at : 16*at+16] {
			dst[32*g+2*x] = float32(scale * e2m1[b&15])
			dst[32*g+2*x+1] = float32(scale * e2m1[b>>4])
		}
	}
	BF16.roundAll(dst)
	return nil
}

// affineRow is AffineRow of a row.
func (m *mxfp4) affineRow(i int, q []uint8, scale, offset []float32) {
	groups := m.exponents.Cols()
	for g := range groups {
		at := i*groups + g
		d := mxfp4Scale(m.exponents.Data[at])
		scale[g] = d
		offset[g] = -12 * d
		for x, b := range m.blocks.Data[16*at : 16*at+16] {
			q[32*g+2*x] = uint8(12 + mxfp4Values[b&15])
			q[32*g+2*x+1] = uint8(12 + mxfp4Values[b>>4])
		}
	}
}

// MX returns the tensor [..., rows, 32*groups] of MXFP4 blocks U8 [..., rows, groups, 16]
// and exponents U8 [..., rows, groups], rounded to bfloat16.
func MX(name string, blocks, exponents Tensor) (Tensor, error) {
	rank := len(blocks.Shape)
	if blocks.DType != U8 || rank < 3 || blocks.Shape[rank-1] != 16 {
		return Tensor{}, misfit(blocks, "U8 [..., rows, groups, 16]")
	}
	if !exponents.has(U8, blocks.Shape[:rank-1]...) {
		return Tensor{}, misfit(exponents, fmt.Sprintf("U8 of shape %v", blocks.Shape[:rank-1]))
	}
	shape := append([]int{}, blocks.Shape[:rank-1]...)
	shape[rank-2] *= 32
	return Tensor{Name: name, DType: BF16, Shape: shape, Coded: &mxfp4{blocks, exponents}}, nil
}
