//go:build !amd64

package simd

func paths() []string { return []string{"portable"} }

func byName(string) kernels { return portable }

// roundBF16 and roundI8 are never called: they need AVX-512.
var (
	roundBF16 func(n int, dst *uint16, x *float32)
	roundI8   func(n int, dst *uint8, x *float32, inverse float32)
)
