//go:build cuda

package cuda

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"gorgonia.org/cu"
)

// emulated skips where the card is a real one.
func emulated(t *testing.T) {
	list, why := Devices()
	if why != "" {
		t.Skipf("SKIPPED: failures have not been injected: %s", why)
	}
	if !strings.Contains(list[0].Name, "emulator") {
		t.Skip("SKIPPED: failures are injected into the emulated card only")
	}
}

// A failed kernel spoils a context, so each failure has a process of its own.
func TestFailuresNameTheKernel(t *testing.T) {
	emulated(t)
	for _, c := range []struct{ env, run, want string }{
		{"ATTNSCOPE_EMU_FAIL=cuLaunchKernel:3", "TestElements$", "kernel scale_cap: "},
		{"ATTNSCOPE_EMU_FAIL=cuLaunchKernel:2:719", "TestElements$", "kernel add_scaled: "},
		{"ATTNSCOPE_EMU_FAIL=cuFuncSetAttribute:1", "TestElements$", "bytes of shared memory: cuFuncSetAttribute"},
		{"ATTNSCOPE_EMU_FAIL=cuModuleGetFunction:5", "TestElements$", "kernel "},
		{"ATTNSCOPE_EMU_FAIL=cuModuleLoadDataEx:1", "TestElements$", "OutOfMemory"},
		{"ATTNSCOPE_EMU_MEM=4000", "TestElements$", "OutOfMemory"},
		{"ATTNSCOPE_TEST_CHILD=read", "TestChild$", "IllegalAddress"},
		{"ATTNSCOPE_TEST_CHILD=write", "TestChild$", "past the end"},
		{"ATTNSCOPE_TEST_CHILD=guard", "TestChild$", "IllegalAddress"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run", c.run)
		cmd.Env = append(os.Environ(), "ATTNSCOPE_EMU_RECORD=", c.env)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: %s passes", c.env, c.run)
		}
		if !strings.Contains(string(out), c.want) || strings.Contains(string(out), "goroutine ") {
			t.Errorf("%s: want %q and no panic in\n%s", c.env, c.want, out)
		}
	}
}

// TestChild makes a mistake that the emulated card must see.
func TestChild(t *testing.T) {
	mistake := os.Getenv("ATTNSCOPE_TEST_CHILD")
	if mistake == "" {
		return // it runs in the processes of TestFailuresNameTheKernel
	}
	b := onCard(t)
	const n = 1000
	x, y := room[float32](b, n), room[float32](b, n)
	switch mistake {
	case "read": // from the end of the memory into the guard page
		b.must(b.addScaled(x, y+4*n, 1, n))
	case "write": // one number past the end, before the guard
		b.must(b.addScaled(x, x, 1, n+1))
	case "guard":
		b.must(b.addScaled(x, x, 1, n+1000))
	}
	b.must(b.stream.Synchronize())
}

func TestPTXOfOtherParametersIsRefused(t *testing.T) {
	emulated(t)
	onCard(t)
	m, err := kernelImages()
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{".param .u32 add_scaled_param_3", ".param .u64 add_scaled_param_3"},
		{".entry add_scaled(", ".entry add_scaled2("},
		{".version", ".verzion"},
	} {
		ptx := strings.Replace(m.ptx, change[0], change[1], 1)
		if ptx == m.ptx {
			t.Fatalf("the PTX has no %q", change[0])
		}
		if _, err := cu.LoadData(ptx); err == nil {
			t.Errorf("PTX with %q is loaded", change[1])
		}
	}
}

func TestLaunchersRefuse(t *testing.T) {
	b := onCard(t)
	for name, err := range map[string]error{
		"head size":  b.attend(attention{cache: cache{T: f32, KeyDim: 257, ValueDim: 8, Heads: 1, Stores: 1, Scale: 1}, N: 1}),
		"factor":     b.attend(attention{cache: cache{T: f32, KeyDim: 8, ValueDim: 8, Heads: 1, Stores: 1}, N: 1}),
		"cut cache":  b.attendSums(attention{cache: cache{T: f32, KeyDim: 8, ValueDim: 8, Heads: 1, Stores: 1, Pos: 8, Scale: 1}, N: 1}, attentionSumsOut{}),
		"pooling":    b.snapPool(0, 0, 4, "avgpool", 1, 1),
		"group":      b.snapMerge(0, 0, 1, "median", 1, 1),
		"experts":    b.route(0, 0, 0, 1, 2000, 2, false),
		"big number": b.launch("add_scaled", dims{x: 1, threads: 32}, cu.DevicePtr(0), cu.DevicePtr(0), float32(1), 1<<40),
		"no kernel":  b.launch("no_such", dims{x: 1, threads: 32}),
		"wide grid":  b.launch("add_scaled", dims{x: 1, y: 70000, threads: 32}),
		"types":      b.activate(activated{T: f16, From: bf16, LdX: 1, Rows: 1, Channels: 1}),
		"blocks":     b.gemvQuant(product{T: f32, M: 1, N: 1, K: 33}, sourceNames[3]),
		"address":    b.gemvQuant(product{T: f32, M: 1, N: 1, K: 32, A: 8}, sourceNames[3]),
		"stride":     b.gemvQuant(product{T: f16, M: 2, N: 1, K: 32, Lda: 36}, sourceNames[3]),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Nothing to do is no error, and launches nothing: these pointers lead nowhere.
func TestNothingToDo(t *testing.T) {
	b := onCard(t)
	c := cache{T: f16, Heads: 2, Stores: 1, KeyDim: 8, ValueDim: 8, Keys: 4, Room: 4, Scale: 1}
	pass := attention{cache: c, N: 4}
	for _, err := range []error{
		b.attend(attention{cache: c}), b.decode(decode{attention: attention{cache: c}}),
		b.attendRows(pass, attentionRowsOut{Rows: 4, Width: 4}), b.attendRows(pass, attentionRowsOut{Listed: 1, Width: 4}),
		b.attendSums(pass, attentionSumsOut{Rows: 4}), b.attendSums(pass, attentionSumsOut{Listed: 1}),
		b.gemm(product{T: f32, N: 4, K: 4}), b.gemm(product{T: bf16, M: 4, K: 4}), b.gemv(product{T: f32, N: 4, K: 4}),
		b.rmsNorm(norm{T: f32, Dim: 4}), b.activate(activated{LdX: 8, Channels: 4}), b.biasAdd(0, 4, 0, 0, 4), b.addScaled(0, 0, 1, 0),
		b.heads(heads{T: f32, Heads: 2, Dim: 4}), b.embed(0, 0, sourceNames[0], 0, 1, 0, 8), b.dequant(0, f32, 0, sourceNames[0], 0),
		b.gatherRows(0, 0, 0, 8, 0), b.scatterAdd(0, 0, 0, 0, 0, 8), b.gatherSlots(gather{Stores: 1, SrcStores: 1}), b.gatherPos(gather{Count: 3}),
		b.snapVote(0, voting{LdHead: 1, Ld: 1, N: 1, Window: 1, Heads: 2}), b.snapTopK(0, 1, 0, 4, 2, 0, 0),
	} {
		b.must(err)
	}
	b.must(b.stream.Synchronize())
}
