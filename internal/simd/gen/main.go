// Command gen writes kernels_amd64.s and kernels_arm64.s, the kernels of package simd in
// Go assembler. For amd64, main.go contains the micro-kernels of matrix products and
// other files the rest; the files for arm64 begin with neon.
//
//	go run ./gen amd64 > kernels_amd64.s
//	go run ./gen arm64 > kernels_arm64.s
//
// A micro-kernel multiplies rows of A, which is row-major and not packed, by one panel
// of B, [k][32], and stores or adds the products to rows of C. It addresses the rows of
// A with one base register for every three rows and one index register.
package main

import (
	"fmt"
	"os"
	"strings"
)

// out is the assembler file.
var out strings.Builder

// ins writes an instruction.
func ins(f string, a ...any) { fmt.Fprintf(&out, "\t"+f+"\n", a...) }

// line writes any other line: a label, a directive or a comment.
func line(f string, a ...any) { fmt.Fprintf(&out, f+"\n", a...) }

// bases lists the registers that hold the addresses of rows 0, 3, 6, 9, 12 of A.
var bases = []string{"SI", "R10", "R11", "R12", "R13"}

// rowAddr returns the operand for the address of A[row][disp/4].
func rowAddr(row, disp int) string {
	switch base := bases[row/3]; row % 3 {
	case 1:
		return fmt.Sprintf("%d(%s)(R9*1)", disp, base)
	case 2:
		return fmt.Sprintf("%d(%s)(R9*2)", disp, base)
	default:
		return fmt.Sprintf("%d(%s)", disp, base)
	}
}

// prologue loads the arguments of func(k, a, lda, b, c, ldc, acc).
func prologue(name string, rows int) {
	line("// func %s(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)", name)
	line("TEXT ·%s(SB), NOSPLIT, $0-56", name)
	ins("MOVQ k+0(FP), CX")
	ins("MOVQ a+8(FP), SI")
	ins("MOVQ lda+16(FP), R9")
	ins("SHLQ $2, R9")
	ins("MOVQ b+24(FP), DI")
	ins("MOVQ c+32(FP), DX")
	ins("MOVQ ldc+40(FP), R8")
	ins("SHLQ $2, R8")
	ins("MOVQ acc+48(FP), AX")
	for i := 1; i*3 < rows; i++ {
		ins("LEAQ (%s)(R9*2), %s", bases[i-1], bases[i])
		ins("ADDQ R9, %s", bases[i])
	}
}

// loop writes a loop over k, unrolled four times, and one for the remainder. A row of
// the panel has the given number of bytes; body(u) writes the step from k to k+1 at
// offset u.
func loop(name string, rows, bytes int, body func(u int)) {
	advance := func(n int) {
		ins("ADDQ $%d, DI", n*bytes)
		for i := 0; i*3 < rows; i++ {
			ins("ADDQ $%d, %s", 4*n, bases[i])
		}
	}
	ins("MOVQ CX, BX")
	ins("SHRQ $2, BX")
	ins("JZ %s_tail", name)
	line("%s_loop:", name)
	for u := range 4 {
		body(u)
	}
	advance(4)
	ins("DECQ BX")
	ins("JNZ %s_loop", name)
	line("%s_tail:", name)
	ins("ANDQ $3, CX")
	ins("JZ %s_done", name)
	line("%s_one:", name)
	body(0)
	advance(1)
	ins("DECQ CX")
	ins("JNZ %s_one", name)
	line("%s_done:", name)
}

// prefetchC asks for the lines of C at the beginning of a long sum, so that they are in
// the first-level cache at its end. A row has 32 elements.
func prefetchC(name string, rows int) {
	ins("CMPQ CX, $128")
	ins("JLT %s_begin", name)
	ins("MOVQ DX, BX")
	for range rows {
		ins("PREFETCHT0 0(BX)")
		ins("PREFETCHT0 64(BX)")
		ins("ADDQ R8, BX")
	}
	line("%s_begin:", name)
}

// epilogue adds C if acc is set, stores the sums to C and returns. A row has regs registers
// of step bytes each.
func epilogue(name string, rows int, reg string, step, regs int) {
	ins("TESTQ AX, AX")
	ins("JZ %s_store", name)
	ins("MOVQ DX, BX")
	for i := range rows {
		for j := range regs {
			r := regs*i + j
			ins("VADDPS %d(BX), %s%d, %s%d", j*step, reg, r, reg, r)
		}
		ins("ADDQ R8, BX")
	}
	line("%s_store:", name)
	for i := range rows {
		for j := range regs {
			ins("VMOVUPS %s%d, %d(DX)", reg, regs*i+j, j*step)
		}
		ins("ADDQ R8, DX")
	}
	ins("VZEROUPPER")
	ins("RET")
	line("")
}

// avx512 writes a kernel of rows x 32 elements. kind is the element type of the panel:
// empty for float32, or BF16 or F16, which are widened in registers.
func avx512(rows int, kind string) {
	name := fmt.Sprintf("mul%s512x%d", kind, rows)
	bytes := 128
	if kind != "" {
		bytes = 64
	}
	prologue(name, rows)
	for i := range 2 * rows {
		ins("VPXORD Z%d, Z%d, Z%d", i, i, i)
	}
	if rows >= 8 {
		prefetchC(name, rows)
	}
	const ahead = 4096 // for weights in memory, and panels in the third-level cache
	loop(name, rows, bytes, func(u int) {
		ins("PREFETCHT0 %d(DI)", ahead+u*bytes)
		if kind != "" {
			widenLoad(kind, fmt.Sprintf("%d(DI)", u*64), "Z30")
			widenLoad(kind, fmt.Sprintf("%d(DI)", u*64+32), "Z31")
		} else {
			ins("PREFETCHT0 %d(DI)", ahead+u*bytes+64)
			ins("VMOVUPS %d(DI), Z30", u*128)
			ins("VMOVUPS %d(DI), Z31", u*128+64)
		}
		for i := range rows {
			r := 28 + i%2
			ins("VBROADCASTSS %s, Z%d", rowAddr(i, 4*u), r)
			ins("VFMADD231PS Z30, Z%d, Z%d", r, 2*i)
			ins("VFMADD231PS Z31, Z%d, Z%d", r, 2*i+1)
		}
	})
	epilogue(name, rows, "Z", 64, 2)
}

// avx2Wide writes a kernel of at most three rows x 32 elements. It reads a panel from its
// beginning to its end, at the speed of memory; kernels of 16 columns read it twice, every
// other cache line at a time.
func avx2Wide(rows int, kind string) {
	name := fmt.Sprintf("mul%s256x%d", kind, rows)
	bytes := 128
	if kind != "" {
		bytes = 64
	}
	prologue(name, rows)
	for i := range 4 * rows {
		ins("VXORPS Y%d, Y%d, Y%d", i, i, i)
	}
	loop(name, rows, bytes, func(u int) {
		for at := 0; at < bytes; at += 64 {
			ins("PREFETCHT0 %d(DI)", 1024+u*bytes+at)
		}
		for i := range rows {
			ins("VBROADCASTSS %s, Y%d", rowAddr(i, 4*u), 12+i)
		}
		for j := range 4 {
			from := fmt.Sprintf("%d(DI)", u*bytes+j*bytes/4)
			if kind != "" {
				widenLoad(kind, from, "Y15")
			} else {
				ins("VMOVUPS %s, Y15", from)
			}
			for i := range rows {
				ins("VFMADD231PS Y15, Y%d, Y%d", 12+i, 4*i+j)
			}
		}
	})
	epilogue(name, rows, "Y", 32, 4)
}

// avx2 writes a kernel of rows x 16 elements: half the columns of a panel.
func avx2(rows int, kind string) {
	name := fmt.Sprintf("mul%s256x%d", kind, rows)
	bytes := 128
	if kind != "" {
		bytes = 64
	}
	prologue(name, rows)
	for i := range 2 * rows {
		ins("VXORPS Y%d, Y%d, Y%d", i, i, i)
	}
	loop(name, rows, bytes, func(u int) {
		ins("PREFETCHT0 %d(DI)", 1024+u*bytes)
		if kind != "" {
			widenLoad(kind, fmt.Sprintf("%d(DI)", u*64), "Y12")
			widenLoad(kind, fmt.Sprintf("%d(DI)", u*64+16), "Y13")
		} else {
			ins("VMOVUPS %d(DI), Y12", u*128)
			ins("VMOVUPS %d(DI), Y13", u*128+32)
		}
		for i := range rows {
			r := 14 + i%2
			ins("VBROADCASTSS %s, Y%d", rowAddr(i, 4*u), r)
			ins("VFMADD231PS Y12, Y%d, Y%d", r, 2*i)
			ins("VFMADD231PS Y13, Y%d, Y%d", r, 2*i+1)
		}
	})
	epilogue(name, rows, "Y", 32, 2)
}

func main() {
	if len(os.Args) != 2 || files[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: gen amd64|arm64")
		os.Exit(2)
	}
	os.Stdout.WriteString(files[os.Args[1]]())
}

// files lists the function that returns the assembler file of each processor.
var files = map[string]func() string{"amd64": generateAMD64, "arm64": generateARM64}

// generateAMD64 returns the assembler file for amd64.
func generateAMD64() string {
	out.Reset()
	line("// Code generated by gen/main.go. DO NOT EDIT.")
	line("")
	line(`#include "textflag.h"`)
	line("")
	for _, rows := range []int{14, 8, 4, 3, 2, 1} {
		avx512(rows, "")
	}
	avx2(6, "")
	avx2(4, "")
	for _, rows := range []int{3, 2, 1} {
		avx2Wide(rows, "")
	}
	for _, kind := range []string{"BF16", "F16"} { // for few rows; for many, panels are widened first
		for _, rows := range []int{4, 3, 2, 1} {
			avx512(rows, kind)
			if rows == 4 {
				avx2(rows, kind)
			} else {
				avx2Wide(rows, kind)
			}
		}
	}
	vectors()
	moves()
	quantized()
	dotKernels()
	tiles()
	return out.String()
}
