package simd

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// Quant is the format of a panel of quantized weights, weight = scale*q + offset with
// unsigned integers q. For each group of inputs a panel has 32 scales, 32 offsets and
// the integers of 32 outputs.
type Quant struct {
	Bits  int  // 4: words of 8 inputs, [Group/8][32]; 8: bytes, [Group][32]
	Group int  // inputs that share a scale, a multiple of 8
	Half  bool // scales and offsets are float16, otherwise float32
}

// GroupBytes returns the size of one group of a panel in bytes.
func (q Quant) GroupBytes() int { return q.head() + q.Bits*q.Group*Width/8 }

// head returns the size of a group's scales and offsets in bytes.
func (q Quant) head() int {
	if q.Half {
		return 2 * Width * 2
	}
	return 2 * Width * 4
}

// PutScale writes the scale and the offset of output r to a group. It returns false if
// q.Half is set and float16 cannot represent them exactly.
func (q Quant) PutScale(group []byte, r int, scale, offset float32) bool {
	for part, v := range [2]float32{scale, offset} {
		if !q.Half {
			binary.LittleEndian.PutUint32(group[(part*Width+r)*4:], math.Float32bits(v))
			continue
		}
		h, exact := toHalf(v)
		if !exact {
			return false
		}
		binary.LittleEndian.PutUint16(group[(part*Width+r)*2:], h)
	}
	return true
}

// Put writes the integers of output r to a group; their bits must be zero before.
func (q Quant) Put(group []byte, r int, values []uint8) {
	data := group[q.head():]
	for k, v := range values {
		if q.Bits == 4 {
			data[(k/8*Width+r)*4+k%8/2] |= v << (k % 2 * 4)
		} else {
			data[k*Width+r] = v
		}
	}
}

// Unpack writes the first groups of a panel as float32 to dst, [groups*Group][32].
func (q Quant) Unpack(dst []float32, panel []byte, groups int) {
	if groups == 0 {
		return
	}
	_ = dst[groups*q.Group*Width-1]
	_ = panel[groups*q.GroupBytes()-1]
	if f := active.unpack[q.index()]; f != nil {
		f(groups, q.Group, unsafe.Pointer(&panel[0]), &dst[0])
		return
	}
	for range groups {
		var scale, offset [Width]float32
		for r := range Width {
			scale[r] = q.scale(panel, r)
			offset[r] = q.scale(panel, Width+r)
		}
		data := panel[q.head():]
		for k := range q.Group {
			row := dst[k*Width : (k+1)*Width]
			for r := range row {
				row[r] = float32(scale[r]*float32(q.integer(data, k, r))) + offset[r]
			}
		}
		dst, panel = dst[q.Group*Width:], panel[q.GroupBytes():]
	}
}

// integer reads the integer of input k and output r from the integers of a group.
func (q Quant) integer(data []byte, k, r int) byte {
	if q.Bits == 4 {
		return data[(k/8*Width+r)*4+k%8/2] >> (k % 2 * 4) & 15
	}
	return data[k*Width+r]
}

// scale reads a scale of a group or, if at is Width or more, an offset.
func (q Quant) scale(group []byte, at int) float32 {
	if q.Half {
		return fromHalf(binary.LittleEndian.Uint16(group[2*at:]))
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(group[4*at:]))
}

// index returns the index of the format in the tables of kernels.
func (q Quant) index() int {
	at := 0
	if q.Bits == 8 {
		at = 2
	}
	if !q.Half {
		at++
	}
	return at
}

// MulRow computes y = x·panel, or y += x·panel with acc, for one row x of
// len(sums)*Group inputs; sums holds the sum of x over each group. MulRow returns false
// if the active set has no kernel for this format; the caller must then unpack the
// panel.
func (q Quant) MulRow(y *[Width]float32, x, sums []float32, panel []byte, acc bool) bool {
	f := active.gemv[q.index()]
	groups := len(sums)
	if f == nil || groups == 0 {
		return false
	}
	_ = x[groups*q.Group-1]
	_ = panel[groups*q.GroupBytes()-1]
	flag := 0
	if acc {
		flag = 1
	}
	f(groups, q.Group, &x[0], &sums[0], unsafe.Pointer(&panel[0]), &y[0], flag)
	return true
}

// MulRows is MulRow for several rows x, bit for bit: y[i] += x[i]·panel, with the integers
// unpacked once for all rows, or for four rows at a time. y is [x.Rows][Width], sums
// [x.Rows, groups], and buf has (Group + x.Rows)*Width floats. MulRows returns false if
// MulRow is as fast for so few rows, or if the active set has no kernels for it.
func (q Quant) MulRows(y []float32, x, sums Mat[float32], panel []byte, buf []float32) bool {
	if len(active.gemvRows[q.index()]) > 0 && x.Rows > 1 {
		q.mulRowsInRegisters(y, x, sums, panel)
		return true
	}
	ints := active.ints[q.index()]
	add := active.addGroup[q.index()]
	if ints == nil || add == nil || x.Rows < 3 {
		return false
	}
	_ = y[x.Rows*Width-1]
	_ = sums.Data[(x.Rows-1)*sums.Stride+sums.Cols-1]
	unpacked := buf[:q.Group*Width]
	part := Dense(buf[q.Group*Width:], x.Rows, Width)
	for g := range sums.Cols {
		data := panel[g*q.GroupBytes() : (g+1)*q.GroupBytes()]
		ints(q.Group, unsafe.Pointer(&data[q.head()]), &unpacked[0])
		MulPanel(part, x.Sub(0, g*q.Group, x.Rows, q.Group), unpacked, false)
		add(x.Rows, &part.Data[0], &sums.Data[g], sums.Stride, unsafe.Pointer(&data[0]), &y[0])
	}
	return true
}

// mulRowsInRegisters computes MulRows with the kernels for several rows, and the last row
// alone if their number is odd.
func (q Quant) mulRowsInRegisters(y []float32, x, sums Mat[float32], panel []byte) {
	groups := sums.Cols
	_ = y[x.Rows*Width-1]
	_ = x.Data[(x.Rows-1)*x.Stride+groups*q.Group-1]
	_ = sums.Data[(x.Rows-1)*sums.Stride+groups-1]
	_ = panel[groups*q.GroupBytes()-1]
	row := 0
	for _, k := range active.gemvRows[q.index()] {
		for ; row+k.rows <= x.Rows; row += k.rows {
			k.mul(groups, q.Group, &x.Data[row*x.Stride], x.Stride, &sums.Data[row*sums.Stride], sums.Stride,
				unsafe.Pointer(&panel[0]), &y[row*Width])
		}
	}
	if row < x.Rows {
		last := (*[Width]float32)(y[row*Width:])
		q.MulRow(last, x.Data[row*x.Stride:], sums.Data[row*sums.Stride:][:groups], panel, true)
	}
}

// GroupSums writes the sum of each group of x to dst. It adds up four groups at a time,
// because their sums do not depend on each other.
func GroupSums(dst, x []float32, group int) {
	for len(dst) >= 4 {
		var s0, s1, s2, s3 float32
		x1 := x[group:][:group]
		x2 := x[2*group:][:group]
		x3 := x[3*group:][:group]
		for k, v := range x[:group] {
			s0 += v
			s1 += x1[k]
			s2 += x2[k]
			s3 += x3[k]
		}
		dst[0], dst[1], dst[2], dst[3] = s0, s1, s2, s3
		dst, x = dst[4:], x[4*group:]
	}
	for i := range dst {
		var s float32
		for _, v := range x[i*group : (i+1)*group] {
			s += v
		}
		dst[i] = s
	}
}

// WidenBF16 writes bfloat16 values as float32 to the first len(x) values of dst.
func WidenBF16(dst []float32, x []uint16) { widen(active.widenBF16, dst, x, bf16) }

// WidenF16 is WidenBF16 for IEEE half precision.
func WidenF16(dst []float32, x []uint16) { widen(active.widenF16, dst, x, fromHalf) }

// widen uses the kernel f if there is one, and widenOne for the rest.
func widen(f func(n int, dst *float32, x *uint16), dst []float32, x []uint16, widenOne func(uint16) float32) {
	dst = dst[:len(x)]
	if n := len(x) &^ 15; n > 0 && f != nil {
		f(n, &dst[0], &x[0])
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		dst[i] = widenOne(v)
	}
}

// fromHalf widens IEEE half precision.
func fromHalf(h uint16) float32 {
	sign := uint32(h>>15) << 31
	e := uint32(h >> 10 & 31)
	f := uint32(h & 1023)
	switch {
	case e == 31:
		return math.Float32frombits(sign | 0x7f800000 | f<<13)
	case e > 0:
		return math.Float32frombits(sign | (e+112)<<23 | f<<13)
	}
	v := float32(f) / (1 << 24)
	return math.Float32frombits(sign | math.Float32bits(v))
}

// toHalf narrows v to IEEE half precision; exact says whether the result represents v
// exactly.
func toHalf(v float32) (h uint16, exact bool) {
	u := math.Float32bits(v)
	sign := uint16(u>>31) << 15
	e := int(u>>23&255) - 127
	f := u & 0x7fffff
	switch {
	case u<<1 == 0:
		return sign, true
	case e > 15 || e < -24:
		return 0, false
	case e >= -14:
		return sign | uint16(e+15)<<10 | uint16(f>>13), f&0x1fff == 0
	}
	shift := uint(13 + -14 - e)
	f |= 0x800000
	return sign | uint16(f>>shift), f&(1<<shift-1) == 0
}

// Pause waits for a moment without releasing the processor, for loops that poll a
// word that another thread is about to write.
func Pause() {
	if active.pause != nil {
		active.pause(16)
	}
}

// Peak runs n rounds of multiply-adds in registers and returns the number of
// floating-point operations: their rate is the upper bound for any product. It
// returns 0 if the set has no such loop.
func Peak(n int) float64 {
	if active.peak == nil || n < 1 {
		return 0
	}
	active.peak(n)
	return 2 * float64(n) * float64(active.peakOps)
}
