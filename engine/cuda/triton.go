//go:build cuda

package cuda

import (
	_ "embed"
	"fmt"
	"math"
	"strings"

	"gorgonia.org/cu"
)

//go:generate sh triton/build.sh

//go:embed triton/kernels.tar.zst
var tritonArchive []byte

// tritonFacts lists threads and shared memory of each kernel, among others. triton/build.py
// writes it.
//
//go:embed triton/facts.tsv
var tritonFacts string

// tritonSetting is on to compute attention and products in bfloat16 with the kernels that Triton
// has compiled, where there are some for the card and for the case. If it is ptx, any card takes
// those for sm_80, which the driver compiles. Nobody has run them on a card.
const tritonSetting = "ATTNSCOPE_CUDA_TRITON"

// tritonArch returns the architecture whose cubin a card of a compute capability takes, or an
// empty string. Both use instructions that other cards do not have.
func tritonArch(capability [2]int) string {
	switch capability {
	case [2]int{9, 0}:
		return "sm_90a"
	case [2]int{10, 0}:
		return "sm_100a"
	}
	return ""
}

// HasTriton reports whether there are kernels that Triton has compiled for cards of a compute
// capability.
func HasTriton(capability [2]int) bool { return tritonArch(capability) != "" }

// tritonKernel is what a launch of a kernel takes besides a grid and parameters.
type tritonKernel struct{ threads, shared int }

// tritonTable returns the kernels of an architecture by name.
func tritonTable(arch string) map[string]tritonKernel {
	out := map[string]tritonKernel{}
	for line := range strings.Lines(tritonFacts) {
		var name, of string
		var k tritonKernel
		if n, _ := fmt.Sscan(line, &name, &of, &k.threads, &k.shared); n == 4 && of == arch {
			out[name] = k
		}
	}
	return out
}

// addTriton looks up the kernels of a module that Triton has compiled for an architecture. From
// then on, launches use them where they can.
func (k *kernels) addTriton(mod cu.Module, arch string) error {
	table := tritonTable(arch)
	for name, t := range table {
		f, err := mod.Function(name)
		if err != nil {
			return fmt.Errorf("kernel %s: %w", name, err)
		}
		if err := allowShared(f, t.shared); err != nil {
			return fmt.Errorf("kernel %s with %d bytes of shared memory: %w", name, t.shared, err)
		}
		k.fn[name] = f
	}
	k.triton = table
	return nil
}

// loadTriton loads the kernels that Triton has compiled for a card of a compute capability.
// setting is the value of tritonSetting.
func loadTriton(capability [2]int, setting string) (mod cu.Module, arch string, err error) {
	m, err := tritonImages()
	if err != nil {
		return mod, "", err
	}
	arch = tritonArch(capability)
	image := m.cubins[arch]
	switch {
	case setting == "ptx":
		arch = "sm_80"
		image = m.ptx
	case setting != "on":
		return mod, "", fmt.Errorf("want on or ptx")
	case arch == "":
		return mod, "", fmt.Errorf("there are none for compute capability %d.%d", capability[0], capability[1])
	}
	mod, err = cu.LoadData(image)
	return mod, arch, call("cuModuleLoadData", err)
}

// tritonLaunch launches a kernel. Triton has added two pointers to its parameters, to memory
// that the kernels do not need.
func (l launcher) tritonLaunch(name string, x, y, z int, params ...any) error {
	none := cu.DevicePtr(0)
	return l.launch(name, grid(x, y, z, l.triton[name].threads), append(params, none, none)...)
}

func aligned16(pointers ...cu.DevicePtr) bool {
	for _, p := range pointers {
		if p%16 != 0 {
			return false
		}
	}
	return true
}

// Tiles of the kernels; triton/build.py has the same numbers.
const (
	tritonRows      = 128 // queries of the first pass
	tritonColumns   = 128 // keys of sums over queries
	tritonQueries   = 64  // queries of a tile of these sums
	tritonRecorded  = 64  // rows and keys of a block of recorded rows
	tritonTile      = 128 // of a product
	tritonTileDepth = 64
)

// tritonCase returns the type and the head size as in the names of the kernels, or an empty
// string if a pass needs what they lack.
func (l launcher) tritonCase(a *attention) string {
	plain := a.Counts == 0 && a.Pos == 0 && a.Window <= 0 && a.Cap <= 0 && a.Sinks == 0 && a.Keys == a.Pos0+a.N
	if !plain || a.KeyDim != a.ValueDim || !aligned16(a.Q, a.K, a.V, a.Out) {
		return ""
	}
	suffix := fmt.Sprintf("%s_%d", a.T, a.KeyDim)
	if _, ok := l.triton["triton_attention_"+suffix]; !ok {
		return ""
	}
	return suffix
}

// tritonPass returns the last parameters of each kernel of attention.
func (a *attention) tritonPass() []any {
	factor := float32(float64(a.Scale) * math.Log2E)
	return []any{a.N, a.Pos0, a.Room, a.Heads, a.Heads / a.Stores, factor}
}

func (l launcher) tritonAttend(of string, a attention) error {
	params := append([]any{a.Out, a.Stat, a.LSE, a.Q, a.K, a.V}, a.tritonPass()...)
	return l.tritonLaunch("triton_attention_"+of, ceilDiv(a.N, tritonRows), a.Heads, 1, params...)
}

func (l launcher) tritonAttendRows(of string, a attention, o attentionRowsOut) error {
	params := []any{o.W, uint64(o.LdHead), o.Ld, o.Drop, o.List, o.Row0, o.Rows, o.Width, a.Q, a.K, a.Stat}
	return l.tritonLaunch("triton_attention_rows_"+of, ceilDiv(o.Width, tritonRecorded), ceilDiv(o.Rows, tritonRecorded), o.Listed,
		append(params, a.tritonPass()...)...)
}

func (l launcher) tritonAttendSums(of string, a attention, o attentionSumsOut) error {
	tiles := ceilDiv(a.Pos0+o.Row0+o.Rows, tritonColumns)
	splits := min(max(1, 512/(tiles*o.Listed)), ceilDiv(o.Rows, tritonQueries))
	params := []any{o.Total, uint64(o.LdTotal), o.List, o.Row0, o.Rows, a.Q, a.K, a.Stat}
	return l.tritonLaunch("triton_attention_sums_"+of, tiles, o.Listed, splits, append(params, a.tritonPass()...)...)
}

// tritonMultiplies reports whether a product fits the kernels.
func (l launcher) tritonMultiplies(p product) bool {
	_, ok := l.triton["triton_gemm_"+p.T.String()]
	return ok && p.K%tritonTileDepth == 0 && p.Lda%16 == 0 && p.Ldw%16 == 0 && aligned16(p.A, p.W)
}

func (l launcher) tritonGemm(p product) error {
	return l.tritonLaunch("triton_gemm_"+p.T.String(), ceilDiv(p.M, tritonTile)*ceilDiv(p.N, tritonTile), 1, 1, p.params()...)
}
