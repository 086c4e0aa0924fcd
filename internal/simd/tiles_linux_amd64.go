package simd

import (
	"golang.org/x/sys/unix"

	"github.com/attnscope/attnscope/internal/simd/amx"
)

// permitTiles asks Linux for the registers of tiles, once per process: arch_prctl with
// ARCH_REQ_XCOMP_PERM for XFEATURE_XTILEDATA.
func permitTiles() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, 0x1023, 18, 0)
	return errno == 0
}

// tileConfig is the configuration of palette 1: eight tiles of 16 rows of 64 bytes.
var tileConfig = func() (c [64]byte) {
	c[0] = 1
	for t := range 8 {
		c[16+2*t] = 64
		c[48+t] = amx.Rows
	}
	return c
}()

// runHardwareTiles runs a program on the processor. The calls are direct, so that the
// operands may lie on the stack.
func runHardwareTiles(p *amx.Program, steps, panels int, a, b *uint16, skip int, c *float32, ldc, acc int) {
	config := &tileConfig[0]
	switch p.Name {
	case "tiles32x1x1":
		tiles32x1x1(steps, panels, a, b, skip, c, ldc, acc, config)
	case "tiles16x1x1":
		tiles16x1x1(steps, panels, a, b, skip, c, ldc, acc, config)
	case "tiles32x3x1":
		tiles32x3x1(steps, panels, a, b, skip, c, ldc, acc, config)
	case "tiles16x3x1":
		tiles16x3x1(steps, panels, a, b, skip, c, ldc, acc, config)
	case "tiles32x3x3":
		tiles32x3x3(steps, panels, a, b, skip, c, ldc, acc, config)
	case "tiles16x3x3":
		tiles16x3x3(steps, panels, a, b, skip, c, ldc, acc, config)
	default:
		panic("simd: no kernel for program " + p.Name)
	}
}

// runScaledHardwareTiles runs a scaled program on the processor.
func runScaledHardwareTiles(p *amx.Program, steps int, a, b *uint16, scales, c *float32, ldc int, buf *float32) {
	if p.RowTiles == 2 {
		scaledTiles32x3x1(steps, a, b, scales, c, ldc, buf, &tileConfig[0])
	} else {
		scaledTiles16x3x1(steps, a, b, scales, c, ldc, buf, &tileConfig[0])
	}
}
