package simd

import "unsafe"

//go:generate sh -c "go run ./gen > kernels_amd64.s"

//go:noescape
func mul512x14(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x8(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul512x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF512x14(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF512x8(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF512x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF512x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF512x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x6(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mul256x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF256x6(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF256x4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF256x2(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

//go:noescape
func mulBF256x1(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)

// expSum512 and expSum256 replace n values, a multiple of 16, by exp(x-m) and
// store their sum.
//
//go:noescape
func expSum512(n int, x *float32, m float32, sum *float32)

//go:noescape
func expSum256(n int, x *float32, m float32, sum *float32)

//go:noescape
func max512(n int, x *float32, max *float32)
