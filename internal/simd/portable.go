package simd

import "unsafe"

// portable is the set of kernels in plain Go. A product of two float32 is exact in
// float64, so that a sum is the same whether the compiler fuses the multiplication with
// the addition or not.
var portable = kernels{
	name: "portable",
	f32:  []kernel{{4, Width, mulPortable4}, {1, Width, mulPortable1}},
	bf16: []kernel{{1, Width, mulPortableBF16}},
	f16:  []kernel{{1, Width, mulPortableF16}},
}

func mulPortableBF16(k int, a *float32, _ int, b unsafe.Pointer, c *float32, _ int, acc int) {
	mulPortableHalf(k, a, b, c, acc, bf16)
}

func mulPortableF16(k int, a *float32, _ int, b unsafe.Pointer, c *float32, _ int, acc int) {
	mulPortableHalf(k, a, b, c, acc, fromHalf)
}

func mulPortable4(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int) {
	for r := range 4 {
		mulPortable1(k, at(a, r*lda), lda, b, at(c, r*ldc), ldc, acc)
	}
}

func mulPortable1(k int, a *float32, _ int, b unsafe.Pointer, c *float32, _ int, acc int) {
	var sum [Width]float64
	av := unsafe.Slice(a, k)
	bv := unsafe.Slice((*float32)(b), k*Width)
	for x, v := range av {
		row := bv[x*Width : x*Width+Width : x*Width+Width]
		for j, w := range row {
			sum[j] += float64(v) * float64(w) // an exact product
		}
	}
	store(c, &sum, acc)
}

func mulPortableHalf(k int, a *float32, b unsafe.Pointer, c *float32, acc int, widen func(uint16) float32) {
	var sum [Width]float64
	av := unsafe.Slice(a, k)
	bv := unsafe.Slice((*uint16)(b), k*Width)
	for x, v := range av {
		for j, w := range bv[x*Width : x*Width+Width] {
			sum[j] += float64(v) * float64(widen(w)) // an exact product
		}
	}
	store(c, &sum, acc)
}

// bf16 widens a bfloat16.
func bf16(w uint16) float32 {
	u := uint32(w) << 16
	return *(*float32)(unsafe.Pointer(&u))
}

// store writes sums to c, or adds them if acc is not 0. They are rounded once.
func store(c *float32, sum *[Width]float64, acc int) {
	cv := unsafe.Slice(c, Width)
	for j, v := range sum {
		if acc != 0 {
			v += float64(cv[j])
		}
		cv[j] = float32(v)
	}
}

// at returns the address of p[i].
func at(p *float32, i int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*i)) }
