//go:build cuda

package cuda

import (
	"fmt"

	"github.com/attnscope/attnscope/engine/tensor"
	"gorgonia.org/cu"
)

// Tiles of the kernels; kernels/gemm.cuh has the same numbers.
const (
	gemmTileF32   = 64
	gemmTile      = 128
	gemvRows      = 8 // rows for which the weights are read once
	gemvThreads   = 128
	gemmThreads   = 256
	gemmShared    = 3 * 2 * gemmTile * 32 * 2 // three stages of two tiles of 128 x 32
	gemmSharedF32 = 2 * 16 * (gemmTileF32 + 4) * 4
	gemmShared3   = 3 * (terms + 1) * gemmTile * 16 * 2 // three stages of four tiles of 128 x 16
)

// product describes c [m, n] = a [m, k] · w [n, k]ᵀ, or c += a · wᵀ with Add. c is float32;
// Ldc, Lda and Ldw are the numbers of elements between rows.
type product struct {
	C       cu.DevicePtr
	Ldc     int
	A       cu.DevicePtr // of type T
	T       dtype
	Lda     int
	W       cu.DevicePtr // of type T; for gemvQuant, rows of blocks
	Ldw     int          // gemvQuant ignores it
	M, N, K int
	Add     bool
	Mixed   bool // T is float32 and W bfloat16; gemm then reads A as the terms that split writes
}

// types names the types of A and W in the name of a kernel.
func (p *product) types() string {
	if p.Mixed {
		return "f32_bf16"
	}
	return p.T.String()
}

func (p *product) params() []any {
	return []any{p.C, p.Ldc, p.A, p.Lda, p.W, p.Ldw, p.M, p.N, p.K, flag(p.Add)}
}

// gemm is the product for many rows if there is no cuBLAS.
func (l launcher) gemm(p product) error {
	if l.tritonMultiplies(p) {
		return l.tritonGemm(p)
	}
	tile := gemmTile
	if p.T == f32 && !p.Mixed {
		tile = gemmTileF32
	}
	return l.launch("gemm_"+p.types(), grid(ceilDiv(p.N, tile), ceilDiv(p.M, tile), 1, gemmThreads), p.params()...)
}

// gemvGrid gives a warp one output for up to gemvRows rows.
func (p *product) gemvGrid() dims {
	return grid(ceilDiv(p.N, gemvThreads/32), ceilDiv(p.M, gemvRows), 1, gemvThreads)
}

// gemv is the product for few rows; groups of 8 rows read the weights once.
func (l launcher) gemv(p product) error {
	return l.launch("gemv_"+p.types(), p.gemvGrid(), p.params()...)
}

// split writes the terms of the rows of A, a bfloat16 array [3, M, K], to dst, and returns
// the product that reads them.
func (l launcher) split(dst cu.DevicePtr, p product) (product, error) {
	err := l.launch("split_f32", perRow(p.M, p.K), dst, p.A, p.Lda, p.M, p.K)
	p.A, p.Lda = dst, p.K
	return p, err
}

// gemvQuant is gemv with quantized weights in the layout of a GGUF file. Rows of A begin at
// multiples of 16 bytes.
func (l launcher) gemvQuant(p product, t tensor.DType) error {
	code, err := sourceType(t)
	if err != nil {
		return err
	}
	if _, err := t.Bytes(p.K); err != nil {
		return fmt.Errorf("product with %s: %w", t, err)
	}
	stride := int64(p.Lda) * p.T.bytes()
	if p.A%16 != 0 || stride%16 != 0 {
		return fmt.Errorf("product with %s: rows of activations begin at address %#x, %d bytes apart; want multiples of 16", t, uintptr(p.A), stride)
	}
	p.Ldw = code // in place of the stride, which follows from the type
	return l.launch("gemv_quant_"+p.T.String(), p.gemvGrid(), p.params()...)
}
