//go:build cuda

package cuda

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var entryParams = regexp.MustCompile(`(?s)\.visible \.entry (\w+)\((.*?)\n\)`)

// ptxParams returns the sizes of the parameters of each kernel of a PTX module.
func ptxParams(ptx string) map[string][]int {
	out := map[string][]int{}
	for _, m := range entryParams.FindAllStringSubmatch(ptx, -1) {
		for line := range strings.Lines(m[2]) {
			switch {
			case strings.Contains(line, ".param .u64"):
				out[m[1]] = append(out[m[1]], 8)
			case strings.Contains(line, ".param"):
				out[m[1]] = append(out[m[1]], 4)
			}
		}
	}
	return out
}

// The attributes of a kernel in a cubin's section .nv.info, as cuobjdump names them.
const (
	attributeParam   = 0x17 // KPARAM_INFO: index, number, offset, size
	attributeThreads = 0x10 // REQNTID
)

// cubinKernel returns offset and size of each parameter of a kernel, and the threads of its blocks.
func cubinKernel(t *testing.T, f *elf.File, name string) (params [][2]int, threads int) {
	t.Helper()
	s := f.Section(".nv.info." + name)
	if s == nil || f.Section(".text."+name) == nil {
		t.Fatalf("there is no kernel %s", name)
	}
	b, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 4 {
		format, attribute, value := b[0], b[1], int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		if format != 4 { // the value itself
			continue
		}
		data := b[:value]
		b = b[value:]
		switch attribute {
		case attributeParam:
			size := binary.LittleEndian.Uint32(data[8:]) >> 18
			params = append(params, [2]int{int(binary.LittleEndian.Uint16(data[6:])), int(size)})
		case attributeThreads:
			threads = int(binary.LittleEndian.Uint32(data))
		}
	}
	slices.SortFunc(params, func(a, b [2]int) int { return a[0] - b[0] })
	return params, threads
}

// TestTritonCubins checks that the cubins, which no test can run without a card, take the same
// launches as the PTX, which the interpreter runs: the same kernels, parameters at the same
// places, and the threads of facts.tsv.
func TestTritonCubins(t *testing.T) {
	m, err := tritonImages()
	if err != nil {
		t.Fatal(err)
	}
	ptx := ptxParams(m.ptx)
	for _, capability := range [][2]int{{9, 0}, {10, 0}} {
		arch := tritonArch(capability)
		cubin := []byte(m.cubins[arch])
		cubin[20] = byte(elf.EV_CURRENT) // a cubin has its own version of ELF there
		f, err := elf.NewFile(bytes.NewReader(cubin))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		table := tritonTable(arch)
		if len(table) == 0 || len(table) != len(ptx) {
			t.Fatalf("%s: facts.tsv has %d kernels, the PTX has %d", arch, len(table), len(ptx))
		}
		for name, k := range table {
			var want [][2]int
			at := 0
			for _, size := range ptx[name] {
				at = ceilDiv(at, size) * size
				want = append(want, [2]int{at, size})
				at += size
			}
			params, threads := cubinKernel(t, f, name)
			if fmt.Sprint(params) != fmt.Sprint(want) || threads != k.threads {
				t.Errorf("%s of %s: %d threads, parameters %v; want %d, %v", name, arch, threads, params, k.threads, want)
			}
			if k.shared > 227<<10 { // what a block may have on both
				t.Errorf("%s of %s takes %d bytes of shared memory", name, arch, k.shared)
			}
		}
	}
	for _, capability := range [][2]int{{8, 0}, {8, 9}, {10, 3}, {12, 0}} {
		if arch := tritonArch(capability); arch != "" {
			t.Errorf("capability %v takes %s", capability, arch)
		}
	}
}

// tritonPrompt is what a prompt gives with a setting of tritonSetting.
type tritonPrompt struct {
	logits, rows []float32
	sums         []float64
	kernels      string // names of those that ran
	log          string
}

// readTriton reads a prompt in passes of 96 tokens with a small model, and records rows of the
// last tokens and sums over all queries.
func readTriton(t *testing.T, setting string) (out tritonPrompt) {
	t.Helper()
	t.Setenv(tritonSetting, setting)
	sizes := Sizes{Layers: 2, Hidden: 128, Intermediate: 192, Heads: 4, KVHeads: 2, HeadDim: 64, ValueDim: 64, Vocab: 96, TiedHead: true}
	m, err := LoadRandom(0, sizes, 1e4, Options{Compute: "bf16", Chunk: 96, Log: func(line string) { out.log += line }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const tokens, recorded = 160, 9
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32(i * 7 % sizes.Vocab)
	}
	out.sums = make([]float64, sizes.Layers*sizes.Heads*tokens)
	out.rows = make([]float32, sizes.Layers*sizes.Heads*recorded*tokens)
	read, end := WatchKernels(m)
	defer end()
	s := m.NewSequence()
	defer s.Close()
	err = s.Forward(context.Background(), ids, Pass{
		LogitsFrom: tokens - 1,
		Logits:     func(_ int, l []float32) { out.logits = slices.Clone(l) },
		Record: func(int, int, int) Record {
			return Record{Rows: tokens - recorded, LSE: tokens, States: tokens, Sums: true, Until: tokens}
		},
		// Several heads arrive at once.
		Sums: func(layer, head, _ int, part []int64) {
			for j, v := range part {
				out.sums[(layer*sizes.Heads+head)*tokens+j] += float64(v) / (1 << 40)
			}
		},
		Rows: func(layer int, r *Rows) {
			copy(out.rows[(layer*sizes.Heads+r.Head)*recorded*tokens:][:recorded*tokens], r.Weights)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	spent, err := read()
	if err != nil {
		t.Fatal(err)
	}
	for name := range spent {
		out.kernels += name + "\n"
	}
	return out
}

// TestTritonPromptOnCard compares what a prompt gives with and without Triton's kernels.
func TestTritonPromptOnCard(t *testing.T) {
	about, err := deviceAt(0)
	if err != nil {
		t.Skipf("SKIPPED, no card: %v", err)
	}
	want := readTriton(t, "off")
	got := readTriton(t, tritonUse(about.Capability))
	for _, kernel := range []string{"triton_attention_bf16_64", "triton_attention_sums_bf16_64", "triton_attention_rows_bf16_64"} {
		if !strings.Contains(got.kernels, kernel) || strings.Contains(want.kernels, kernel) {
			t.Errorf("%s: runs with the setting and not without, want %q and %q", kernel, got.kernels, want.kernels)
		}
	}
	far := 0.0
	for _, v := range want.logits {
		far = max(far, math.Abs(float64(v)))
	}
	near(t, "logits", got.logits, float64s(want.logits), 0.02*far, 0)
	near(t, "rows", got.rows, float64s(want.rows), 2e-3, 0.02)
	near(t, "sums", got.sums, want.sums, 0.02, 0.02)
	if tritonArch(about.Capability) == "" {
		other := readTriton(t, "on")
		if strings.Contains(other.kernels, "triton") || !strings.Contains(other.log, "there are none for compute capability") {
			t.Errorf("a card without such kernels: %q, %q", other.kernels, other.log)
		}
	}
	if typo := readTriton(t, "yes"); strings.Contains(typo.kernels, "triton") || !strings.Contains(typo.log, "want on or ptx") {
		t.Errorf("another setting: %q", typo.log)
	}
}

// TestRefusedTritonCubin checks that a driver that refuses a cubin, as the emulated one does, is
// an error, after which a card works without these kernels.
func TestRefusedTritonCubin(t *testing.T) {
	emulated(t)
	onCard(t)
	if _, arch, err := loadTriton([2]int{9, 0}, "on"); arch != "sm_90a" || err == nil {
		t.Errorf("%s: error %v, want that the emulated driver refuses it", arch, err)
	}
}

func float64s(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
