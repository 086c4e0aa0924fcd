//go:build !amd64 && !arm64

package simd

func paths() []string { return []string{"portable"} }

func byName(string) kernels { return portable }
