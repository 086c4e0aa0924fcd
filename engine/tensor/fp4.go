package tensor

import (
	"fmt"
	"math"
)

// FP4 is a weight of floats of 4 bits (E2M1) with a scale for each group of inputs, as
// compressed-tensors and ModelOpt store it: two codes per byte, the even column in the
// lower half.
type FP4 struct {
	Codes Tensor // U8 [out, in/2]
	// Scales are F8_E4M3 [out, in/16], of NVFP4, or exponents U8 [out, in/32], of MXFP4.
	Scales Tensor
	// Global is F32 [1]: the scales are divided by it or, with Times, multiplied; nil: none.
	Global *Tensor
	Times  bool
	Method string // the name of the code
}

// Parts implements Coded.
func (f *FP4) Parts() []Tensor {
	if f.Global == nil {
		return []Tensor{f.Codes, f.Scales}
	}
	return []Tensor{f.Codes, f.Scales, *f.Global}
}

func (f *FP4) String() string { return f.Method }

// group is the number of inputs that share a scale.
func (f *FP4) group() int {
	if f.Scales.DType == U8 {
		return 32
	}
	return 16
}

// Tensor returns the weight [out, in], rounded to bfloat16.
func (f *FP4) Tensor(name string) (Tensor, error) {
	if f.Codes.DType != U8 || len(f.Codes.Shape) != 2 || f.Codes.Cols()*2%f.group() != 0 {
		return Tensor{}, misfit(f.Codes, fmt.Sprintf("U8 [out, in/2], where %d divides in", f.group()))
	}
	out := f.Codes.Shape[0]
	in := 2 * f.Codes.Shape[1]
	if f.Scales.DType != U8 && f.Scales.DType != F8_E4M3 || !f.Scales.has(f.Scales.DType, out, in/f.group()) {
		return Tensor{}, misfit(f.Scales, fmt.Sprintf("F8_E4M3 of shape [%d, %d] or U8 of shape [%d, %d]", out, in/16, out, in/32))
	}
	if f.Global != nil && (f.Global.DType != F32 || f.Global.Elements() != 1) {
		return Tensor{}, misfit(*f.Global, "F32 of shape [1]")
	}
	return Tensor{Name: name, DType: BF16, Shape: []int{out, in}, Coded: f}, nil
}

// Row implements Coded.
func (f *FP4) Row(dst []float32, i int) error {
	group := f.group()
	groups := len(dst) / group
	codes := f.Codes.Data[i*len(dst)/2:][:len(dst)/2]
	for g := range groups {
		scale := f.scale(i*groups + g)
		for x, b := range codes[g*group/2 : (g+1)*group/2] {
			at := g*group + 2*x
			dst[at] = float32(e2m1[b&15]) * scale
			dst[at+1] = float32(e2m1[b>>4]) * scale
		}
	}
	BF16.roundAll(dst)
	return nil
}

// scale returns scale number at, with the global one.
func (f *FP4) scale(at int) float32 {
	if f.Scales.DType == U8 {
		return float32(math.Ldexp(1, int(f.Scales.Data[at])-127))
	}
	s := f.Scales.at(at)
	switch {
	case f.Global == nil:
		return s
	case f.Times:
		return s * f.Global.at(0)
	}
	return s / f.Global.at(0)
}
