package simd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernels for AVX-512 are tested on processors without it, like those of tiles: a
// traced child runs the tests of all sets of kernels with this set, each of its
// instructions traps as illegal, and the parent computes it. Only the instructions that
// the kernels use are known; any other one is an error.

func init() {
	if os.Getenv(trapChild) == "avx512" {
		onlyPath = "avx512"
		avx512.dotBF16 = dots512
	}
}

func TestAVX512OfATracedProcess(t *testing.T) {
	list := paths()
	if os.Getenv(trapChild) != "" || len(list) != 2 {
		t.Skip("SKIPPED: this processor has AVX-512, with which the other tests run, or it has no AVX2")
	}
	_, text := traceTest(t, "avx512", "-test.skip=Trace|Child|Tile", "-test.v")
	if n := bytes.Count(text, []byte("--- PASS: Test")); n < 15 {
		t.Errorf("%d tests passed, want at least 15: %s", n, text)
	}
	if n := bytes.Count(text, []byte("/avx512")); n < 15*2 {
		t.Errorf("the output names the set %d times: %s", n, text)
	}
}

// zmm is a register of 512 bits.
type zmm [64]byte

func (z *zmm) u32(i int) uint32      { return binary.LittleEndian.Uint32(z[4*i:]) }
func (z *zmm) set32(i int, v uint32) { binary.LittleEndian.PutUint32(z[4*i:], v) }
func (z *zmm) f32(i int) float32     { return math.Float32frombits(z.u32(i)) }
func (z *zmm) setF32(i int, v float32) {
	z.set32(i, math.Float32bits(v))
}

func (z *zmm) f64(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(z[8*i:])) }

func (z *zmm) setF64(i int, v float64) {
	binary.LittleEndian.PutUint64(z[8*i:], math.Float64bits(v))
}

// vectorState is what AVX-512 adds to the registers of a thread. The lower halves of
// registers 0 to 15 are those of AVX, which the processor has.
type vectorState struct {
	z    [32]zmm
	mask [8]uint16
}

// xsave is the part of the kernel's copy of a thread's registers that AVX needs: the
// lower 128 bits of 16 registers from byte 160 on, their other halves from byte 576 on.
type xsave [4096]byte

const (
	xsaveFeatures = 512
	xsaveLow      = 160
	xsaveHigh     = 576
)

func (x *xsave) transfer(pid int, request int) (int, error) {
	vec := unix.Iovec{Base: &x[0], Len: uint64(len(x))}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), 0x202, uintptr(unsafe.Pointer(&vec)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(vec.Len), nil
}

// executeVector computes the instructions of AVX-512 at which a thread stopped, up to the
// first instruction of another kind.
func (tr *tracer) executeVector(pid int, regs *syscall.PtraceRegs) error {
	var x xsave
	if _, err := x.transfer(pid, unix.PTRACE_GETREGSET); err != nil {
		return err
	}
	state := tr.vectors[pid]
	if state == nil {
		state = &vectorState{}
		tr.vectors[pid] = state
	}
	for i := range 16 {
		copy(state.z[i][:16], x[xsaveLow+16*i:])
		copy(state.z[i][16:32], x[xsaveHigh+16*i:])
	}
	code := make([]byte, 16)
	for {
		if err := tr.move(unix.ProcessVMReadv, code, regs.Rip, len(code), 0, 1); err != nil {
			return err
		}
		if code[0] != 0x62 {
			break
		}
		length, err := tr.vector(state, code, regs)
		if err != nil {
			return fmt.Errorf("instruction % x: %w", code, err)
		}
		regs.Rip += uint64(length)
	}
	for i := range 16 {
		copy(x[xsaveLow+16*i:xsaveLow+16*i+16], state.z[i][:16])
		copy(x[xsaveHigh+16*i:xsaveHigh+16*i+16], state.z[i][16:32])
	}
	x[xsaveFeatures] |= 6 // SSE and AVX hold values
	if _, err := x.transfer(pid, unix.PTRACE_SETREGSET); err != nil {
		return err
	}
	return syscall.PtraceSetRegs(pid, regs)
}

// evex is a decoded instruction.
type evex struct {
	space, prefix int // opcode map, mandatory prefix (0 none, 1 66, 2 F3, 3 F2)
	opcode        byte
	wide          bool
	length        int // of vectors in bytes
	broadcast     bool
	zeroing       bool
	mask          int
	reg, third    int
	rm            int // register, or -1: memory
	address       uint64
	immediate     byte
	bytes         int // of the instruction
}

// decode reads an instruction. Displacements of one byte count in units that depend on
// the instruction.
func (e *evex) decode(code []byte, regs *syscall.PtraceRegs) {
	not := func(b byte, bit int) int { return int(^b >> bit & 1) }
	p0, p1, p2 := code[1], code[2], code[3]
	e.space = int(p0 & 7)
	e.prefix = int(p1 & 3)
	e.wide = p1>>7 == 1
	e.length = 16 << (p2 >> 5 & 3)
	e.broadcast = p2>>4&1 == 1
	e.zeroing = p2>>7 == 1
	e.mask = int(p2 & 7)
	e.opcode = code[4]
	modrm := code[5]
	e.reg = int(modrm>>3&7) | not(p0, 7)<<3 | not(p0, 4)<<4
	e.third = int(^p1>>3&15) | not(p2, 3)<<4
	at := 6
	if modrm>>6 == 3 {
		e.rm = int(modrm&7) | not(p0, 5)<<3 | not(p0, 6)<<4
	} else {
		e.rm = -1
		general := [16]uint64{
			regs.Rax, regs.Rcx, regs.Rdx, regs.Rbx, regs.Rsp, regs.Rbp, regs.Rsi, regs.Rdi,
			regs.R8, regs.R9, regs.R10, regs.R11, regs.R12, regs.R13, regs.R14, regs.R15,
		}
		base := int(modrm & 7)
		relative := modrm>>6 == 0 && base == 5
		if base == 4 {
			sib := code[at]
			at++
			base = int(sib & 7)
			if index := int(sib>>3&7) | not(p0, 6)<<3; index != 4 {
				e.address += general[index] << (sib >> 6)
			}
		}
		if !relative {
			e.address += general[base|not(p0, 5)<<3]
		}
		switch {
		case modrm>>6 == 1:
			e.address += uint64(int64(int8(code[at])) * int64(e.unit()))
			at++
		case modrm>>6 == 2 || relative:
			e.address += uint64(int64(int32(binary.LittleEndian.Uint32(code[at:]))))
			at += 4
		}
		e.immediate = code[at]
		if e.hasImmediate() {
			at++
		}
		if relative {
			e.address += regs.Rip + uint64(at)
		}
		e.bytes = at
		return
	}
	e.immediate = code[at]
	if e.hasImmediate() {
		at++
	}
	e.bytes = at
}

func (e *evex) hasImmediate() bool {
	return e.space == 3 || e.space == 1 && (e.opcode == 0xc2 || e.opcode == 0x72)
}

// unit returns the number of bytes that the instruction reads or writes in memory.
func (e *evex) unit() int {
	switch [2]int{e.space, int(e.opcode)} {
	case [2]int{2, 0x18}, [2]int{2, 0x58}: // VBROADCASTSS, VPBROADCASTD
		return 4
	case [2]int{2, 0x19}: // VBROADCASTSD
		return 8
	case [2]int{2, 0x13}, [2]int{2, 0x33}, [2]int{1, 0x5a}, [2]int{1, 0x7a}, [2]int{3, 0x1b}:
		if e.broadcast {
			return 4
		}
		return e.length / 2 // conversions from or to half the size; a half that is extracted
	case [2]int{2, 0x31}: // VPMOVZXBD, VPMOVDB
		return e.length / 4
	}
	if e.broadcast && e.wide {
		return 8
	}
	if e.broadcast {
		return 4
	}
	return e.length
}

// vector computes one instruction and returns its length.
func (tr *tracer) vector(state *vectorState, code []byte, regs *syscall.PtraceRegs) (int, error) {
	var e evex
	e.decode(code, regs)
	store := e.space == 1 && (e.opcode == 0x11 || e.opcode == 0x29 || e.opcode == 0x7f) ||
		e.space == 2 && e.prefix == 2 && (e.opcode == 0x31 || e.opcode == 0x33) || e.space == 3
	var in zmm // the operand that may be memory
	switch {
	case e.rm >= 0:
		in = state.z[e.rm]
	case !store:
		n := e.unit()
		if err := tr.move(unix.ProcessVMReadv, in[:n], e.address, n, 0, 1); err != nil {
			return 0, err
		}
		for at := n; e.broadcast && at < len(in); at += n {
			copy(in[at:at+n], in[:n])
		}
	}
	old := state.z[e.reg]
	out, lanes, err := e.compute(&in, &state.z[e.third], &old, state)
	if err != nil {
		return 0, err
	}
	if lanes == 0 { // the destination is a mask
		return e.bytes, nil
	}
	for i := range lanes {
		size := e.length / lanes
		if e.mask == 0 || state.mask[e.mask]>>i&1 == 1 {
			continue
		}
		clear(out[i*size : (i+1)*size])
		if !e.zeroing {
			copy(out[i*size:(i+1)*size], old[i*size:])
		}
	}
	switch {
	case store && e.rm < 0:
		n := e.unit()
		return e.bytes, tr.move(unix.ProcessVMWritev, out[:n], e.address, n, 0, 1)
	case store:
		state.z[e.rm] = out
	case e.space == 1 && e.opcode == 0x72: // shifts have their destination in the third operand
		state.z[e.third] = out
	default:
		state.z[e.reg] = out
	}
	return e.bytes, nil
}

// compute returns the result and its number of lanes. x is the operand that may be
// memory, y the third operand, z the old value of the destination, or the source of a
// store.
func (e *evex) compute(x, y, z *zmm, state *vectorState) (out zmm, lanes int, err error) {
	n := e.length / 4
	if e.wide {
		n = e.length / 8
	}
	floats := func(f func(i int) float32) (zmm, int, error) {
		for i := range n {
			out.setF32(i, f(i))
		}
		return out, n, nil
	}
	doubles := func(f func(i int) float64) (zmm, int, error) {
		for i := range e.length / 8 {
			out.setF64(i, f(i))
		}
		return out, e.length / 8, nil
	}
	words := func(f func(i int) uint32) (zmm, int, error) {
		for i := range n {
			out.set32(i, f(i))
		}
		return out, n, nil
	}
	switch key := e.space<<12 | e.prefix<<8 | int(e.opcode); key {
	case 0x1010, 0x1028, 0x126f: // loads
		copy(out[:e.length], x[:])
		return out, n, nil
	case 0x1011, 0x1029, 0x127f: // stores
		copy(out[:e.length], z[:])
		return out, n, nil
	case 0x1058: // VADDPS
		return floats(func(i int) float32 { return y.f32(i) + x.f32(i) })
	case 0x1158: // VADDPD
		return doubles(func(i int) float64 { return y.f64(i) + x.f64(i) })
	case 0x1059: // VMULPS
		return floats(func(i int) float32 { return y.f32(i) * x.f32(i) })
	case 0x105c: // VSUBPS
		return floats(func(i int) float32 { return y.f32(i) - x.f32(i) })
	case 0x105e: // VDIVPS
		return floats(func(i int) float32 { return y.f32(i) / x.f32(i) })
	case 0x105d: // VMINPS
		return floats(func(i int) float32 {
			if y.f32(i) < x.f32(i) {
				return y.f32(i)
			}
			return x.f32(i)
		})
	case 0x105f: // VMAXPS
		return floats(func(i int) float32 {
			if y.f32(i) > x.f32(i) {
				return y.f32(i)
			}
			return x.f32(i)
		})
	case 0x105a: // VCVTPS2PD
		return doubles(func(i int) float64 { return float64(x.f32(i)) })
	case 0x117a: // VCVTTPS2QQ
		for i := range e.length / 8 {
			binary.LittleEndian.PutUint64(out[8*i:], uint64(int64(x.f32(i))))
		}
		return out, e.length / 8, nil
	case 0x105b: // VCVTDQ2PS
		return floats(func(i int) float32 { return float32(int32(x.u32(i))) })
	case 0x11ef, 0x1057: // VPXORD, VXORPS
		return words(func(i int) uint32 { return y.u32(i) ^ x.u32(i) })
	case 0x11db: // VPANDD
		return words(func(i int) uint32 { return y.u32(i) & x.u32(i) })
	case 0x11fe: // VPADDD
		return words(func(i int) uint32 { return y.u32(i) + x.u32(i) })
	case 0x11fa: // VPSUBD
		return words(func(i int) uint32 { return y.u32(i) - x.u32(i) })
	case 0x11d4: // VPADDQ
		for i := range e.length / 8 {
			sum := binary.LittleEndian.Uint64(y[8*i:]) + binary.LittleEndian.Uint64(x[8*i:])
			binary.LittleEndian.PutUint64(out[8*i:], sum)
		}
		return out, e.length / 8, nil
	case 0x1172: // shifts by an immediate
		switch e.reg & 7 {
		case 2:
			return words(func(i int) uint32 { return x.u32(i) >> e.immediate })
		case 4:
			return words(func(i int) uint32 { return uint32(int32(x.u32(i)) >> e.immediate) })
		case 6:
			return words(func(i int) uint32 { return x.u32(i) << e.immediate })
		}
	case 0x10c2: // VCMPPS, not less than: true for numbers that cannot be compared
		if e.immediate != 5 {
			break
		}
		mask := uint16(0)
		for i := range n {
			if !(y.f32(i) < x.f32(i)) {
				mask |= 1 << i
			}
		}
		state.mask[e.reg&7] = mask
		return out, 0, nil
	case 0x2118, 0x2158: // VBROADCASTSS, VPBROADCASTD
		return words(func(int) uint32 { return x.u32(0) })
	case 0x2119: // VBROADCASTSD
		return doubles(func(int) float64 { return x.f64(0) })
	case 0x2113: // VCVTPH2PS
		return floats(func(i int) float32 { return fromHalf(binary.LittleEndian.Uint16(x[2*i:])) })
	case 0x2131: // VPMOVZXBD
		return words(func(i int) uint32 { return uint32(x[i]) })
	case 0x2133: // VPMOVZXWD
		return words(func(i int) uint32 { return uint32(binary.LittleEndian.Uint16(x[2*i:])) })
	case 0x2233: // VPMOVDW
		for i := range n {
			binary.LittleEndian.PutUint16(out[2*i:], uint16(z.u32(i)))
		}
		return out, n, nil
	case 0x2116: // VPERMPS
		return words(func(i int) uint32 { return x.u32(int(y.u32(i)) & (n - 1)) })
	case 0x21b8: // VFMADD231PS, VFMADD231PD
		if e.wide {
			return doubles(func(i int) float64 { return math.FMA(y.f64(i), x.f64(i), z.f64(i)) })
		}
		return floats(func(i int) float32 { return fused(y.f32(i), x.f32(i), z.f32(i)) })
	case 0x21a8: // VFMADD213PS
		return floats(func(i int) float32 { return fused(y.f32(i), z.f32(i), x.f32(i)) })
	case 0x21bc: // VFNMADD231PS
		return floats(func(i int) float32 { return fused(-y.f32(i), x.f32(i), z.f32(i)) })
	case 0x2252: // VDPBF16PS
		return floats(func(i int) float32 {
			sum := z.f32(i)
			for half := 1; half >= 0; half-- { // of the pair, the second product comes first
				a := bf16(binary.LittleEndian.Uint16(y[4*i+2*half:]))
				b := bf16(binary.LittleEndian.Uint16(x[4*i+2*half:]))
				sum = fused(a, b, sum)
			}
			return sum
		})
	case 0x311b: // VEXTRACTF64X4
		copy(out[:32], z[int(e.immediate&1)*32:])
		return out, n, nil
	}
	return out, 0, fmt.Errorf("unknown: map %d, prefix %d, opcode %#x, wide %v", e.space, e.prefix, e.opcode, e.wide)
}

// fused returns x*y + z, rounded once. The sum in float64 is rounded to odd, so that its
// rounding to float32 is that of the exact sum.
func fused(x, y, z float32) float32 {
	product := float64(x) * float64(y)
	wide := float64(z)
	sum := product + wide
	other := sum - product
	rest := (product - (sum - other)) + (wide - other)
	if rest != 0 && !math.IsInf(sum, 0) && math.Float64bits(sum)&1 == 0 {
		towards := math.Inf(1)
		if rest < 0 {
			towards = math.Inf(-1)
		}
		sum = math.Nextafter(sum, towards)
	}
	return float32(sum)
}
