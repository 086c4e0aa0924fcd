package tensor

import (
	_ "embed" // the tables
	"encoding/binary"
	"math/bits"
)

// A grid is a table of short vectors: their values are elements of values by the
// indices that an entry packs.
type grid [][8]float32 // of IQ3, only four values

// gridFile is made by testdata/make_grids.py.
//
//go:embed grids.bin
var gridFile []byte

// The tables of the types IQ1 to IQ3, in the order of gridFile.
var (
	iq2Levels = []float32{8, 25, 43}

	gridIQ2XXS = newGrid(0, 256, 2, iq2Levels)
	gridIQ2XS  = newGrid(256, 512, 2, iq2Levels)
	gridIQ2S   = newGrid(768, 1024, 2, iq2Levels)
	gridIQ3XXS = newGrid(1792, 256, 4, []float32{4, 12, 20, 28, 36, 44, 52, 62})
	gridIQ3S   = newGrid(2048, 512, 4, []float32{1, 3, 5, 7, 9, 11, 13, 15})
	gridIQ1    = newGrid(2560, 2048, 2, []float32{-1, 0, 1})
)

// newGrid unpacks n entries of gridFile from entry first on, with indices of some bits.
func newGrid(first, n, width int, levels []float32) grid {
	g := make(grid, n)
	for i := range g {
		packed := binary.LittleEndian.Uint16(gridFile[2*(first+i):])
		for x := range 16 / width {
			g[i][x] = levels[packed>>(width*x)&(1<<width-1)]
		}
	}
	return g
}

// put writes the first len(dst) values of an entry, times scale; bit x of signs makes
// value x negative.
func (g grid) put(dst []float32, entry int, scale float32, signs byte) {
	for x := range dst {
		v := scale * g[entry][x]
		if signs>>x&1 != 0 {
			v = -v
		}
		dst[x] = v
	}
}

// evenSigns returns the 8 signs that 7 bits stand for: their number is even.
func evenSigns(seven uint32) byte {
	return byte(seven&127) | byte(bits.OnesCount32(seven&127)&1)<<7
}

// iq2Scale returns the scale of a group of IQ2.
func iq2Scale(d float32, s byte) float32 { return d * (0.5 + float32(s)) * 0.25 }

// decodeIQ2XXS decodes a block of a factor and, for each 32 values, four entries of 8
// bits, four times 7 signs and a scale of 4 bits.
func decodeIQ2XXS(dst []float32, b []byte) {
	d := half(b)
	for sub := range 8 {
		part := b[2+8*sub:]
		word := binary.LittleEndian.Uint32(part[4:])
		scale := iq2Scale(d, byte(word>>28))
		for l := range 4 {
			gridIQ2XXS.put(dst[32*sub+8*l:][:8], int(part[l]), scale, evenSigns(word>>(7*l)))
		}
	}
}

// decodeIQ2XS decodes a block of a factor, 32 entries of 9 bits with 7 signs each, and 16
// scales of 4 bits.
func decodeIQ2XS(dst []float32, b []byte) {
	d := half(b)
	for i := range 32 {
		q := binary.LittleEndian.Uint16(b[2+2*i:])
		scale := iq2Scale(d, b[66+i/4]>>(4*(i/2%2))&15)
		gridIQ2XS.put(dst[8*i:][:8], int(q&511), scale, evenSigns(uint32(q>>9)))
	}
}

// decodeIQ2S decodes a block of a factor, the low 8 bits of 32 entries, 256 signs, the
// high 2 bits of the entries, and 16 scales of 4 bits.
func decodeIQ2S(dst []float32, b []byte) {
	d := half(b)
	for i := range 32 {
		entry := int(b[2+i]) | int(b[66+i/4]>>(2*(i%4))&3)<<8
		scale := iq2Scale(d, b[74+i/4]>>(4*(i/2%2))&15)
		gridIQ2S.put(dst[8*i:][:8], entry, scale, b[34+i])
	}
}

// decodeIQ3XXS decodes a block of a factor, 64 entries of 8 bits and, for each 32 values,
// four times 7 signs and a scale of 4 bits.
func decodeIQ3XXS(dst []float32, b []byte) {
	d := half(b)
	for sub := range 8 {
		word := binary.LittleEndian.Uint32(b[66+4*sub:])
		scale := d * (0.5 + float32(word>>28)) * 0.5
		for l := range 8 {
			signs := evenSigns(word>>(7*(l/2))) >> (4 * (l % 2))
			gridIQ3XXS.put(dst[32*sub+4*l:][:4], int(b[2+8*sub+l]), scale, signs)
		}
	}
}

// decodeIQ3S decodes a block of a factor, the low 8 bits of 64 entries, their high bits,
// 256 signs and 8 scales of 4 bits.
func decodeIQ3S(dst []float32, b []byte) {
	d := half(b)
	for i := range 64 {
		entry := int(b[2+i]) | int(b[66+i/8]>>(i%8)&1)<<8
		scale := d * float32(1+2*(b[106+i/16]>>(4*(i/8%2))&15))
		gridIQ3S.put(dst[4*i:][:4], entry, scale, b[74+i/2]>>(4*(i%2)))
	}
}

// putIQ1 writes the values of an entry of IQ1, shifted by an eighth, times scale.
func putIQ1(dst []float32, entry int, scale float32, down bool) {
	shift := float32(0.125)
	if down {
		shift = -shift
	}
	for x := range dst {
		dst[x] = scale * (gridIQ1[entry][x] + shift)
	}
}

// decodeIQ1S decodes a block of a factor, the low 8 bits of 32 entries and, for each 32
// values, the high 3 bits of four entries, a scale of 3 bits and the sign of the shift.
func decodeIQ1S(dst []float32, b []byte) {
	d := half(b)
	for i := range 32 {
		high := binary.LittleEndian.Uint16(b[34+2*(i/4):])
		entry := int(b[2+i]) | int(high>>(3*(i%4))&7)<<8
		putIQ1(dst[8*i:][:8], entry, d*float32(2*(high>>12&7)+1), high&0x8000 != 0)
	}
}

// decodeIQ1M decodes a block of the low 8 bits of 32 entries, their high 3 bits with the
// sign of the shift, 16 scales of 3 bits, and a factor of which each quarter of the
// scales has 4 bits.
func decodeIQ1M(dst []float32, b []byte) {
	var factor uint16
	for i := range 4 {
		factor |= binary.LittleEndian.Uint16(b[48+2*i:]) >> 12 << (4 * i)
	}
	d := F16ToF32(factor)
	for i := range 32 {
		high := b[32+i/2] >> (4 * (i % 2))
		entry := int(b[i]) | int(high&7)<<8
		s := binary.LittleEndian.Uint16(b[48+2*(i/8):]) >> (3 * (i / 2 % 4)) & 7
		putIQ1(dst[8*i:][:8], entry, d*float32(2*s+1), high&8 != 0)
	}
}

// decodeTQ1 decodes a block of 52 bytes of digits in base 3, of which a byte holds five
// or, the last four bytes, four, and a factor.
func decodeTQ1(dst []float32, b []byte) {
	d := half(b[52:])
	at := 0
	for _, part := range []struct{ first, n, digits int }{{0, 32, 5}, {32, 16, 5}, {48, 4, 4}} {
		power := byte(1)
		for range part.digits {
			for _, q := range b[part.first : part.first+part.n] {
				dst[at] = d * float32(int(uint16(q*power)*3>>8)-1)
				at++
			}
			power *= 3
		}
	}
}
