package simd

import "unsafe"

//go:generate sh -c "go run ./gen amd64 > kernels_amd64.s"

// The parameters of assembler functions are flat: assembler reads them from the stack
// by their offsets. Strides are in elements; acc is 1 to add to C or y, otherwise 0.

// Products with panels of float32: see type kernel. The numbers in a name are the
// width of a register in bits and the rows.

//go:noescape
func mul512x14(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x8(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x6(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

// Arithmetic on vectors: see type vectors.

//go:noescape
func expSum512(n int, x *float32, m float32, sum *float32)

//go:noescape
func max512(n int, x *float32, max *float32)

//go:noescape
func scale512(n int, x *float32, s float32)

//go:noescape
func axpy512(n int, dst, x *float32, s float32)

//go:noescape
func sumRows512(n int, dst, x *float32, stride, rows int)

//go:noescape
func siluMul512(n int, dst, gate, up *float32)

//go:noescape
func sumSquares512(n int, x *float32, sum *float64)

//go:noescape
func mulScaled512(n int, dst, x, y *float32, s float32)

//go:noescape
func addWide512(n int, dst *float64, x *float32)

//go:noescape
func rowSums512(n int, x *float32, out *[3]float64)

//go:noescape
func expSum256(n int, x *float32, m float32, sum *float32)

//go:noescape
func max256(n int, x *float32, max *float32)

//go:noescape
func scale256(n int, x *float32, s float32)

//go:noescape
func axpy256(n int, dst, x *float32, s float32)

//go:noescape
func sumRows256(n int, dst, x *float32, stride, rows int)

//go:noescape
func siluMul256(n int, dst, gate, up *float32)

//go:noescape
func sumSquares256(n int, x *float32, sum *float64)

//go:noescape
func mulScaled256(n int, dst, x, y *float32, s float32)

//go:noescape
func addWide256(n int, dst *float64, x *float32)

//go:noescape
func rowSums256(n int, x *float32, out *[3]float64)

//go:noescape
func peak512(n int)

//go:noescape
func peak256(n int)

//go:noescape
func addFixed512(n int, dst *int64, x *float32)

// Products with panels of half precision, widened in registers.

//go:noescape
func mulBF16512x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16512x3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16512x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16512x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func widenBF16512(n int, dst *float32, x *uint16)

//go:noescape
func mulBF16256x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16256x3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16256x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16256x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func widenBF16256(n int, dst *float32, x *uint16)

//go:noescape
func mulF16512x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16512x3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16512x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16512x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func widenF16512(n int, dst *float32, x *uint16)

//go:noescape
func mulF16256x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16256x3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16256x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16256x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func widenF16256(n int, dst *float32, x *uint16)

// Quantized panels: see type Quant.

//go:noescape
func gemvQ4F16_512(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func gemvQ4F16_256(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ4F16_512(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func unpackQ4F16_256(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvQ4F32_512(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func gemvQ4F32_256(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ4F32_512(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func unpackQ4F32_256(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvQ8F16_512(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func gemvQ8F16_256(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ8F16_512(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func unpackQ8F16_256(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvQ8F32_512(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func gemvQ8F32_256(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ8F32_512(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func unpackQ8F32_256(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvRowsQ4F16_512x4(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ4F16_512x2(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ4F32_512x4(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ4F32_512x2(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ8F16_512x4(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ8F16_512x2(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ8F32_512x4(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func gemvRowsQ8F32_512x2(groups, size int, x *float32, ldx int, xs *float32, ldxs int, b unsafe.Pointer, y *float32)

//go:noescape
func intsQ4_256(size int, b unsafe.Pointer, dst *float32)

//go:noescape
func intsQ8_256(size int, b unsafe.Pointer, dst *float32)

//go:noescape
func addGroupF16_256(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32)

//go:noescape
func addGroupF32_256(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32)

//go:noescape
func cpuid(leaf, sub uint32) (a, b, c, d uint32)

//go:noescape
func pause(n int)

// Products over words of narrow values: see dots.go.

//go:noescape
func dotBF16512x14(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16512x8(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16512x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16512x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16512x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func roundBF16_512(n int, dst *uint16, x *float32)

// Operations that move or compare, for both sets: see type moves.

//go:noescape
func joinPlanes(n int, dst *float32, p0, p1, p2, p3 *byte)

//go:noescape
func joinHalves(n int, dst *float32, p0, p1 *byte)

//go:noescape
func pack8(k int, panel, b *float32, ldb int)

//go:noescape
func countNotBelow(n int, x *float32, t float32, count *int64)

//go:noescape
func addDoubles(n int, dst, x *float64)

//go:noescape
func narrowScaled(n int, dst *float32, x *float64, s float64)

//go:noescape
func between(n int, x *float32, lo, hi float32, bits *uint16)

//go:noescape
func countBoth(n int, x, y *float32, tx, ty float32, count *int64)

//go:noescape
func sumWhere(n int, x, y *float32, t float32, sum *float64)

// Products by tiles and the packing of their operands: see tiles.go.

//go:noescape
func tiles32x1x1(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)

//go:noescape
func tiles16x1x1(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)

//go:noescape
func tiles32x3x1(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)

//go:noescape
func tiles16x3x1(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)

//go:noescape
func tiles32x3x3(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)

//go:noescape
func tiles16x3x3(steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int, config *byte)

//go:noescape
func scaledTiles32x3x1(steps int, a, b *uint16, scales, c *float32, ldc int, buf *float32, config *byte)

//go:noescape
func scaledTiles16x3x1(steps int, a, b *uint16, scales, c *float32, ldc int, buf *float32, config *byte)

//go:noescape
func tileGroupsQ4F16_256(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32)

//go:noescape
func tileGroupsQ4F32_256(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32)

//go:noescape
func tileGroupsQ8F16_256(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32)

//go:noescape
func tileGroupsQ8F32_256(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32)

//go:noescape
func splitRow1(steps int, dst *uint16, x *float32)

//go:noescape
func splitRow3(steps int, dst *uint16, x *float32)

//go:noescape
func splitPairs3(pairs int, dst *uint16, x *float32)

//go:noescape
func joinPairs(pairs int, dst *uint16, x *uint16)
