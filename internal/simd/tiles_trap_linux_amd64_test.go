package simd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The assembler of products by tiles is tested on processors without AMX: a child runs
// it, every AMX instruction traps as illegal, and the parent, which traces the child,
// computes what the instruction would do to the child's memory and to the tiles.

const trapChild = "ATTNSCOPE_TEST_TILE_CHILD"

// TestTileChild is the child.
func TestTileChild(t *testing.T) {
	if os.Getenv(trapChild) == "" {
		t.Skip("runs as the child of TestTilesOfATracedProcess")
	}
	differ, report := checkHardwareTiles()
	if differ > 0 {
		t.Fatalf("%d values differ, the last: %s", differ, report)
	}
	fmt.Println("programs agree")
}

func TestTilesOfATracedProcess(t *testing.T) {
	if activeTiles == hardwareTiles {
		t.Skip("SKIPPED: this processor has AMX, and TestTilesOfTheProcessor runs")
	}
	tracer, text := traceTest(t, "tiles", "-test.run=^TestTileChild$")
	if !bytes.Contains(text, []byte("programs agree")) {
		t.Errorf("the child did not compare the programs: %s", text)
	}
	if tracer.dots != 4752 { // per step 60 of three panels and 18 of scaled programs; 4 steps, with and without acc, 3 scales
		t.Errorf("%d products of tiles, want 4752", tracer.dots)
	}
}

// traceTest runs this program in a traced process, with a value of trapChild and flags.
// It returns what the tests print.
func traceTest(t *testing.T, value string, flags ...string) (*tracer, []byte) {
	runtime.LockOSThread() // all requests of a tracer must come from one thread
	defer runtime.UnlockOSThread()
	output, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], append(flags, "-test.count=1")...)
	child.Env = append(os.Environ(), trapChild+"="+value)
	child.Stdout = output
	child.Stderr = output
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := child.Start(); err != nil {
		t.Skipf("SKIPPED: processes cannot be traced here: %v", err)
	}
	tracer := &tracer{pid: child.Process.Pid, tiles: map[int]*[8]trapTile{}, vectors: map[int]*vectorState{}}
	status, err := tracer.run()
	text, _ := os.ReadFile(output.Name())
	if err != nil {
		syscall.Kill(child.Process.Pid, syscall.SIGKILL)
		t.Fatalf("%v; output of the child: %s", err, text)
	}
	if status != 0 {
		t.Errorf("the child ended with %d: %s", status, text)
	}
	return tracer, text
}

// trapTile is a tile: 16 rows of 64 bytes.
type trapTile [16][64]byte

// tracer executes the instructions of AMX and AVX-512 of a process.
type tracer struct {
	pid     int
	tiles   map[int]*[8]trapTile // by thread; nil: not configured
	vectors map[int]*vectorState // by thread
	dots    int
}

// run traces the child until it ends and returns its exit status.
func (tr *tracer) run() (int, error) {
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(tr.pid, &ws, 0, nil); err != nil {
		return 0, err
	}
	if err := syscall.PtraceSetOptions(tr.pid, syscall.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, err
	}
	pid := tr.pid
	signal := 0
	for {
		if err := syscall.PtraceCont(pid, signal); err != nil && err != syscall.ESRCH {
			return 0, err
		}
		for {
			var err error
			if pid, err = syscall.Wait4(-1, &ws, syscall.WALL, nil); err != nil {
				return 0, err
			}
			if ws.Stopped() {
				break
			}
			if pid == tr.pid && ws.Exited() {
				return ws.ExitStatus(), nil
			}
			if pid == tr.pid && ws.Signaled() {
				return 0, fmt.Errorf("the child died of %v", ws.Signal())
			}
		}
		signal = 0
		switch stop := ws.StopSignal(); stop {
		case syscall.SIGILL:
			if err := tr.execute(pid); err != nil {
				return 0, err
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a thread was started
		default:
			signal = int(stop)
		}
	}
}

// execute computes the instruction at which a thread stopped, and steps over it.
func (tr *tracer) execute(pid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
		return err
	}
	code := make([]byte, 10)
	if err := tr.move(unix.ProcessVMReadv, code, uint64(regs.Rip), 10, 0, 1); err != nil {
		return err
	}
	if code[0] == 0x62 {
		return tr.executeVector(pid, &regs)
	}
	if code[0] != 0xc4 || code[1] != 0xe2 {
		return fmt.Errorf("illegal instruction % x", code)
	}
	pp := code[2] & 3
	third := int(^code[2]>>3) & 15
	modrm := code[4]
	reg := int(modrm >> 3 & 7)
	tiles := tr.tiles[pid]
	length := 5
	if tiles == nil && (code[3] != 0x49 || pp != 0 || modrm != 0) {
		return fmt.Errorf("instruction % x without a configuration", code)
	}
	switch {
	case code[3] == 0x49 && pp == 0 && modrm == 0: // LDTILECFG (AX)
		config := make([]byte, 64)
		if err := tr.move(unix.ProcessVMReadv, config, regs.Rax, 64, 0, 1); err != nil {
			return err
		}
		for t := range 8 {
			if config[0] != 1 || config[1] != 0 || binary.LittleEndian.Uint16(config[16+2*t:]) != 64 || config[48+t] != 16 {
				return fmt.Errorf("configuration % x", config)
			}
		}
		tr.tiles[pid] = &[8]trapTile{}
	case code[3] == 0x49 && pp == 0 && modrm == 0xc0: // TILERELEASE
		delete(tr.tiles, pid)
	case code[3] == 0x49 && pp == 3 && modrm&0xc7 == 0xc0: // TILEZERO
		tiles[reg] = trapTile{}
	case code[3] == 0x4b && modrm&0xc7 == 0x84: // TILELOADD, TILESTORED with index and disp32
		values := []uint64{regs.Rax, regs.Rcx, regs.Rdx, regs.Rbx, regs.Rsp, regs.Rbp, regs.Rsi, regs.Rdi}
		stride := values[code[5]>>3&7]
		address := values[code[5]&7] + uint64(int64(int32(binary.LittleEndian.Uint32(code[6:]))))
		length = 10
		memory := unsafe.Slice(&tiles[reg][0][0], 16*64)
		transfer := unix.ProcessVMReadv
		if pp == 2 {
			transfer = unix.ProcessVMWritev
		}
		if err := tr.move(transfer, memory, address, 64, stride, 16); err != nil {
			return err
		}
	case code[3] == 0x5c && pp == 2 && modrm >= 0xc0: // TDPBF16PS
		trapDot(&tiles[reg], &tiles[modrm&7], &tiles[third])
		tr.dots++
	default:
		return fmt.Errorf("unknown instruction % x", code)
	}
	regs.Rip += uint64(length)
	return syscall.PtraceSetRegs(pid, &regs)
}

// move copies rows of the child's memory from or to a local buffer.
func (tr *tracer) move(
	transfer func(pid int, local []unix.Iovec, remote []unix.RemoteIovec, flags uint) (int, error),
	local []byte, address uint64, length int, stride uint64, rows int,
) error {
	own := []unix.Iovec{{Base: &local[0], Len: uint64(length * rows)}}
	remote := make([]unix.RemoteIovec, rows)
	for r := range remote {
		remote[r] = unix.RemoteIovec{Base: uintptr(address + uint64(r)*stride), Len: length}
	}
	n, err := transfer(tr.pid, own, remote, 0)
	if err != nil || n != length*rows {
		return fmt.Errorf("%d rows of %d bytes at %#x: %d bytes, %v", rows, length, address, n, err)
	}
	return nil
}

// trapDot is TDPBF16PS on bytes.
func trapDot(c, a, b *trapTile) {
	value := func(t *trapTile, row, at int) float64 {
		return float64(normalOrZero(math.Float32frombits(uint32(binary.LittleEndian.Uint16(t[row][2*at:])) << 16)))
	}
	for m := range 16 {
		for n := range 16 {
			var sums [2]float32
			for k := range 16 {
				for side := range 2 {
					product := value(a, m, 2*k+side) * value(b, k, 2*n+side)
					sums[side] = normalOrZero(float32(product + float64(sums[side])))
				}
			}
			old := math.Float32frombits(binary.LittleEndian.Uint32(c[m][4*n:]))
			sum := normalOrZero(normalOrZero(old) + normalOrZero(sums[0]+sums[1]))
			binary.LittleEndian.PutUint32(c[m][4*n:], math.Float32bits(sum))
		}
	}
}

// normalOrZero replaces a subnormal number by a zero of its sign.
func normalOrZero(x float32) float32 {
	if math.Abs(float64(x)) < 0x1p-126 {
		return float32(math.Copysign(0, float64(x)))
	}
	return x
}
