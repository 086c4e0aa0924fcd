package simd

import "unsafe"

//go:generate sh -c "go run ./gen arm64 > kernels_arm64.s"

// The parameters of assembler functions are flat: assembler reads them from the stack
// by their offsets. Strides are in elements; acc is 1 to add to C or y, otherwise 0. The
// number at the end of a product's name is its number of rows.

//go:noescape
func mulNEONx6(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulNEONx4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulNEONx3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulNEONx2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulNEONx1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16NEONx4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16NEONx3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16NEONx2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF16NEONx1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16NEONx4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16NEONx3(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16NEONx2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulF16NEONx1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16NEONx6(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16NEONx4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16NEONx2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func dotBF16NEONx1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func scaleNEON(n int, x *float32, s float32)

//go:noescape
func axpyNEON(n int, dst, x *float32, s float32)

//go:noescape
func mulScaledNEON(n int, dst, x, y *float32, s float32)

//go:noescape
func addFixedNEON(n int, dst *int64, x *float32)

//go:noescape
func addWideNEON(n int, dst *float64, x *float32)

//go:noescape
func addDoublesNEON(n int, dst, x *float64)

//go:noescape
func narrowScaledNEON(n int, dst *float32, x *float64, s float64)

//go:noescape
func sumSquaresNEON(n int, x *float32, sum *float64)

//go:noescape
func sumWhereNEON(n int, x, y *float32, t float32, sum *float64)

//go:noescape
func sumRowsNEON(n int, dst, x *float32, stride, rows int)

//go:noescape
func expSumNEON(n int, x *float32, m float32, sum *float32)

//go:noescape
func maxNEON(n int, x *float32, max *float32)

//go:noescape
func siluMulNEON(n int, dst, gate, up *float32)

//go:noescape
func rowSumsNEON(n int, x *float32, out *[3]float64)

//go:noescape
func peakNEON(n int)

//go:noescape
func joinPlanesNEON(n int, dst *float32, p0, p1, p2, p3 *byte)

//go:noescape
func joinHalvesNEON(n int, dst *float32, p0, p1 *byte)

//go:noescape
func pack8NEON(k int, panel, b *float32, ldb int)

//go:noescape
func betweenNEON(n int, x *float32, lo, hi float32, bits *uint16)

//go:noescape
func countNotBelowNEON(n int, x *float32, t float32, count *int64)

//go:noescape
func countBothNEON(n int, x, y *float32, tx, ty float32, count *int64)

//go:noescape
func roundBF16NEON(n int, dst *uint16, x *float32)

//go:noescape
func gemvQ4F16NEON(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ4F16NEON(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvQ4F32NEON(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ4F32NEON(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvQ8F16NEON(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ8F16NEON(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func gemvQ8F32NEON(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)

//go:noescape
func unpackQ8F32NEON(groups, size int, b unsafe.Pointer, dst *float32)

//go:noescape
func intsQ4NEON(size int, b unsafe.Pointer, dst *float32)

//go:noescape
func intsQ8NEON(size int, b unsafe.Pointer, dst *float32)

//go:noescape
func addGroupF16NEON(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32)

//go:noescape
func addGroupF32NEON(rows int, sums, xs *float32, stride int, b unsafe.Pointer, y *float32)

//go:noescape
func widenBF16NEON(n int, dst *float32, x *uint16)

//go:noescape
func widenF16NEON(n int, dst *float32, x *uint16)

//go:noescape
func pauseNEON(n int)
