package tensor

import "fmt"

// GPTQ is a weight as GPTQ stores it: integers packed along the inputs.
type GPTQ struct {
	Codes  Tensor // I32 [in*bits/32, out]
	Zeros  Tensor // I32 [groups, out*bits/32]
	Scales Tensor // floats [groups, out]
	// Groups is I32 [in], the group of each input; nil: the inputs are in order.
	Groups *Tensor
	Bits   int
	// LessOne says that the file has zero points less one, as in the first version of the
	// format.
	LessOne bool

	group []int32 // of each input
}

// Parts implements Coded.
func (g *GPTQ) Parts() []Tensor {
	list := []Tensor{g.Codes, g.Zeros, g.Scales}
	if g.Groups != nil {
		list = append(list, *g.Groups)
	}
	return list
}

func (g *GPTQ) String() string { return fmt.Sprintf("gptq %d-bit", g.Bits) }

// Tensor returns the weight [out, in], of the type of the scales.
func (g *GPTQ) Tensor(name string) (Tensor, error) {
	if g.Codes.DType != I32 || len(g.Codes.Shape) != 2 || g.Codes.Shape[0]*32%g.Bits != 0 {
		return Tensor{}, misfit(g.Codes, fmt.Sprintf("I32 [in*%d/32, out]", g.Bits))
	}
	in := g.Codes.Shape[0] * 32 / g.Bits
	out := g.Codes.Shape[1]
	if !g.Scales.isFloat() || len(g.Scales.Shape) != 2 || g.Scales.Shape[1] != out || g.Scales.Shape[0] == 0 {
		return Tensor{}, misfit(g.Scales, fmt.Sprintf("floats [groups, %d]", out))
	}
	groups := g.Scales.Shape[0]
	if !g.Zeros.has(I32, groups, out*g.Bits/32) || out*g.Bits%32 != 0 {
		return Tensor{}, misfit(g.Zeros, fmt.Sprintf("I32 of shape [%d, %d]", groups, out*g.Bits/32))
	}
	if g.Groups != nil && (g.Groups.Elements() != in || g.Groups.DType != I32 && g.Groups.DType != I64) {
		return Tensor{}, misfit(*g.Groups, fmt.Sprintf("I32 of shape [%d]", in))
	}
	if g.Groups == nil && in%groups != 0 {
		return Tensor{}, misfit(g.Scales, fmt.Sprintf("a number of groups that divides %d inputs", in))
	}
	t := Tensor{Name: name, DType: g.Scales.DType, Shape: []int{out, in}, Coded: g}
	if g.Codes.Data == nil {
		return t, nil
	}
	var err error
	g.group, err = groupsOf(g.Groups, in, groups)
	return t, err
}

// groupsOf returns the group of each input: what list says, or else equal groups in
// order.
func groupsOf(list *Tensor, in, groups int) ([]int32, error) {
	if list == nil {
		order := make([]int32, in)
		for x := range order {
			order[x] = int32(x / (in / groups))
		}
		return order, nil
	}
	order, err := list.Int32()
	if err != nil {
		return nil, err
	}
	for x, g := range order {
		if g < 0 || int(g) >= groups {
			return nil, fmt.Errorf("tensor %s: element %d is %d, want a group below %d", list.Name, x, g, groups)
		}
	}
	return order, nil
}

// Row implements Coded.
func (g *GPTQ) Row(dst []float32, i int) error {
	out := g.Codes.Cols()
	groups := g.Scales.Rows()
	zeros := make([]float32, groups)
	scales := make([]float32, groups)
	words := g.Zeros.Cols()
	for at := range groups {
		z := bitField(func(w int) uint32 { return g.Zeros.word(at*words + w) }, g.Bits, i)
		if g.LessOne {
			z = (z + 1) & (1<<g.Bits - 1)
		}
		zeros[at] = float32(z)
		scales[at] = g.Scales.at(at*out + i)
	}
	u := unpacker{words: g.Codes.Data[4*i:], stride: 4 * out, bits: g.Bits}
	u.unpack(dst)
	for x, q := range dst {
		at := g.group[x]
		dst[x] = (q - zeros[at]) * scales[at]
	}
	g.Scales.DType.roundAll(dst)
	return nil
}

// awqPlace is the place, among the 8 integers of a word, of each of 8 columns.
var awqPlace = [8]int{0, 4, 1, 5, 2, 6, 3, 7}

// AWQ is a weight as AWQ stores it for its GEMM kernel: integers of 4 bits packed along
// the outputs, in the order of awqPlace.
type AWQ struct {
	Codes  Tensor  // I32 [in, out/8]
	Zeros  *Tensor // I32 [groups, out/8]; nil: zero points of 0
	Scales Tensor  // floats [groups, out]
}

// Parts implements Coded.
func (a *AWQ) Parts() []Tensor {
	if a.Zeros == nil {
		return []Tensor{a.Codes, a.Scales}
	}
	return []Tensor{a.Codes, a.Scales, *a.Zeros}
}

func (a *AWQ) String() string { return "awq 4-bit" }

// Tensor returns the weight [out, in], of the type of the scales.
func (a *AWQ) Tensor(name string) (Tensor, error) {
	if a.Codes.DType != I32 || len(a.Codes.Shape) != 2 {
		return Tensor{}, misfit(a.Codes, "I32 [in, out/8]")
	}
	in := a.Codes.Shape[0]
	out := a.Codes.Shape[1] * 8
	if !a.Scales.isFloat() || len(a.Scales.Shape) != 2 || a.Scales.Shape[1] != out ||
		a.Scales.Shape[0] == 0 || in%a.Scales.Shape[0] != 0 {
		return Tensor{}, misfit(a.Scales,
			fmt.Sprintf("floats [groups, %d] with a number of groups that divides %d", out, in))
	}
	if a.Zeros != nil && !a.Zeros.has(I32, a.Scales.Shape[0], out/8) {
		return Tensor{}, misfit(*a.Zeros, fmt.Sprintf("I32 of shape [%d, %d]", a.Scales.Shape[0], out/8))
	}
	return Tensor{Name: name, DType: a.Scales.DType, Shape: []int{out, in}, Coded: a}, nil
}

// Row implements Coded.
func (a *AWQ) Row(dst []float32, i int) error {
	words := a.Codes.Cols()
	out := words * 8
	shift := 4 * awqPlace[i%8]
	groups := a.Scales.Rows()
	size := len(dst) / groups
	for g := range groups {
		scale := a.Scales.at(g*out + i)
		zero := float32(0)
		if a.Zeros != nil {
			zero = float32(a.Zeros.word(g*words+i/8) >> shift & 15)
		}
		for x := g * size; x < (g+1)*size; x++ {
			dst[x] = (float32(a.Codes.word(x*words+i/8)>>shift&15) - zero) * scale
		}
	}
	a.Scales.DType.roundAll(dst)
	return nil
}

// PackedRows is a weight as compressed-tensors stores integers of fewer than 8 bits:
// packed along the inputs of each output, plus 2^(bits-1).
type PackedRows struct {
	Codes  Tensor // I32 [out, ceil(in*bits/32)]
	Scales Tensor // floats [out, groups], or one for all
	// Zeros is I32 [ceil(out*bits/32), groups], packed along the outputs, or I8 in the
	// shape of Scales; nil: none.
	Zeros  *Tensor
	Groups *Tensor // as in GPTQ
	Bits   int
	In     int // 0: as many inputs as the words of a row hold

	group []int32
}

// Parts implements Coded.
func (p *PackedRows) Parts() []Tensor {
	list := []Tensor{p.Codes, p.Scales}
	for _, more := range []*Tensor{p.Zeros, p.Groups} {
		if more != nil {
			list = append(list, *more)
		}
	}
	return list
}

func (p *PackedRows) String() string { return fmt.Sprintf("packed %d-bit", p.Bits) }

// Tensor returns the weight [out, in], of the type of the scales.
func (p *PackedRows) Tensor(name string) (Tensor, error) {
	if p.Codes.DType != I32 || len(p.Codes.Shape) != 2 {
		return Tensor{}, misfit(p.Codes, fmt.Sprintf("I32 [out, in*%d/32]", p.Bits))
	}
	out := p.Codes.Shape[0]
	in := p.In
	if in == 0 {
		in = p.Codes.Shape[1] * 32 / p.Bits
	}
	if (in*p.Bits+31)/32 != p.Codes.Shape[1] {
		return Tensor{}, misfit(p.Codes, fmt.Sprintf("I32 of shape [%d, %d]", out, (in*p.Bits+31)/32))
	}
	groups := p.Scales.Cols()
	if p.Scales.Elements() == 1 {
		groups = 1
	}
	whole := p.Scales.Elements() == 1 || len(p.Scales.Shape) == 2 && p.Scales.Shape[0] == out
	if !p.Scales.isFloat() || !whole || groups == 0 || p.Groups == nil && in%groups != 0 {
		return Tensor{}, misfit(p.Scales,
			fmt.Sprintf("floats [%d, groups] with a number of groups that divides %d", out, in))
	}
	bytes := p.Zeros != nil && p.Zeros.DType == I8 && p.Zeros.Elements() == p.Scales.Elements()
	if z := p.Zeros; z != nil && !bytes && !z.has(I32, (out*p.Bits+31)/32, groups) {
		return Tensor{}, misfit(*z, fmt.Sprintf("I32 of shape [%d, %d]", (out*p.Bits+31)/32, groups))
	}
	if p.Groups != nil && p.Groups.Elements() != in {
		return Tensor{}, misfit(*p.Groups, fmt.Sprintf("I32 of shape [%d]", in))
	}
	t := Tensor{Name: name, DType: p.Scales.DType, Shape: []int{out, in}, Coded: p}
	if p.Codes.Data == nil {
		return t, nil
	}
	var err error
	p.group, err = groupsOf(p.Groups, in, groups)
	return t, err
}

// Row implements Coded.
func (p *PackedRows) Row(dst []float32, i int) error {
	groups := p.Scales.Cols()
	if p.Scales.Elements() == 1 {
		groups = 1
	}
	scales := make([]float32, groups)
	zeros := make([]float32, groups)
	for at := range groups {
		place := (i*groups + at) % p.Scales.Elements() // one scale may be that of all
		scales[at] = p.Scales.at(place)
		zeros[at] = float32(int(1) << (p.Bits - 1))
		if p.Zeros != nil {
			zeros[at] += p.zero(i, at, place)
		}
	}
	u := unpacker{words: p.Codes.Data[4*i*p.Codes.Cols():], stride: 4, bits: p.Bits}
	u.unpack(dst)
	for x, q := range dst {
		at := p.group[x]
		dst[x] = (q - zeros[at]) * scales[at]
	}
	p.Scales.DType.roundAll(dst)
	return nil
}

// zero returns the zero point of a group of output i; scale is the place of its scale.
func (p *PackedRows) zero(i, group, scale int) float32 {
	if p.Zeros.DType == I8 {
		return p.Zeros.at(scale)
	}
	across := p.Zeros.Cols()
	z := bitField(func(w int) uint32 { return p.Zeros.word(w*across + group) }, p.Bits, i)
	return float32(z) - float32(int(1)<<(p.Bits-1))
}

// NF4 is a weight as bitsandbytes stores 4 bits: codes in the order of the elements,
// the first of two in the higher half of a byte, and a scale for each block of them.
type NF4 struct {
	Codes  Tensor // any type; two codes per byte
	Values Tensor // F32 [16]: the values of the codes
	// Scales is F32 [blocks], or U8 [blocks] of codes whose values are ScaleValues times
	// the element of ScaleScales for each ScaleBlock of them, plus Offset.
	Scales      Tensor
	ScaleValues *Tensor // F32 [256]
	ScaleScales *Tensor // F32
	ScaleBlock  int
	Offset      float32
	Block       int
	Round       DType
	Shape       []int // of the weight; nil: it is not known, because only headers were read
	Kind        string
}

// Parts implements Coded.
func (f *NF4) Parts() []Tensor {
	list := []Tensor{f.Codes, f.Values, f.Scales}
	if f.ScaleValues != nil {
		list = append(list, *f.ScaleValues, *f.ScaleScales)
	}
	return list
}

func (f *NF4) String() string { return "bitsandbytes " + f.Kind }

// Tensor returns the weight. If its shape is not known, it is a matrix of 64 columns.
func (f *NF4) Tensor(name string) (Tensor, error) {
	elements := 2 * int(f.Codes.StoredBytes())
	shape := f.Shape
	if shape == nil {
		shape = []int{elements / 64, 64}
	}
	t := Tensor{Name: name, DType: f.Round, Shape: shape, Coded: f}
	if f.Block <= 0 || t.Elements() != elements {
		return Tensor{}, misfit(f.Codes, fmt.Sprintf("two codes per byte of a weight %v, in blocks above 0", shape))
	}
	if f.Values.DType != F32 || f.Values.Elements() != 16 {
		return Tensor{}, misfit(f.Values, "F32 of shape [16]")
	}
	blocks := (elements + f.Block - 1) / f.Block
	if f.ScaleValues == nil {
		if f.Scales.DType != F32 || f.Scales.Elements() != blocks {
			return Tensor{}, misfit(f.Scales, fmt.Sprintf("F32 of shape [%d]", blocks))
		}
		return t, nil
	}
	if f.Scales.DType != U8 || f.Scales.Elements() != blocks {
		return Tensor{}, misfit(f.Scales, fmt.Sprintf("U8 of shape [%d]", blocks))
	}
	if f.ScaleValues.DType != F32 || f.ScaleValues.Elements() != 256 {
		return Tensor{}, misfit(*f.ScaleValues, "F32 of shape [256]")
	}
	if f.ScaleBlock <= 0 || f.ScaleScales.DType != F32 ||
		f.ScaleScales.Elements() != (blocks+f.ScaleBlock-1)/f.ScaleBlock {
		return Tensor{}, misfit(*f.ScaleScales, fmt.Sprintf("F32, one for each %d of %d blocks", f.ScaleBlock, blocks))
	}
	return t, nil
}

// Row implements Coded.
func (f *NF4) Row(dst []float32, i int) error {
	var values [16]float32
	for c := range values {
		values[c] = f.Values.at(c)
	}
	var scale float32
	for x := range dst {
		n := i*len(dst) + x
		if x == 0 || n%f.Block == 0 {
			scale = f.scale(n / f.Block)
		}
		dst[x] = values[f.Codes.Data[n/2]>>(4*(1-n%2))&15] * scale
	}
	f.Round.roundAll(dst)
	return nil
}

// scale returns the scale of a block.
func (f *NF4) scale(block int) float32 {
	if f.ScaleValues == nil {
		return f.Scales.at(block)
	}
	v := f.ScaleValues.at(int(f.Scales.Data[block])) * f.ScaleScales.at(block/f.ScaleBlock)
	return float32(v) + f.Offset
}
