//go:build !linux || !amd64

package simd

import "github.com/attnscope/attnscope/internal/simd/amx"

func permitTiles() bool { return false }

func runHardwareTiles(*amx.Program, int, int, *uint16, *uint16, int, *float32, int, int) {
	panic("simd: this system has no tiles")
}

func runScaledHardwareTiles(*amx.Program, int, *uint16, *uint16, *float32, *float32, int, *float32) {
	panic("simd: this system has no tiles")
}
