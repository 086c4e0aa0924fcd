//go:build cuda

package cuda

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"gorgonia.org/cu"
)

// tritonOnce loads Triton's kernels: the cubin of a card that has one, and the PTX for sm_80
// on others and on the emulated card.
var tritonOnce = sync.OnceValues(func() (*kernels, error) {
	all, err := loadOnce()
	if err != nil {
		return nil, err
	}
	about, err := deviceAt(0)
	if err != nil {
		return nil, err
	}
	mod, arch, err := loadTriton(about.Capability, tritonUse(about.Capability))
	if err != nil {
		return nil, err
	}
	k := &kernels{fn: maps.Clone(all.fn)}
	if err := k.addTriton(mod, arch); err != nil {
		return nil, err
	}
	// Those that they replace would hide that a case does not reach Triton's.
	maps.DeleteFunc(k.fn, func(name string, _ cu.Function) bool {
		return strings.HasPrefix(name, "attention_") || strings.HasPrefix(name, "gemm_")
	})
	return k, nil
})

// tritonUse returns the setting with which a card of a compute capability takes the kernels.
func tritonUse(capability [2]int) string {
	if tritonArch(capability) == "" {
		return "ptx"
	}
	return "on"
}

func onTriton(t *testing.T) (b *bench, others launcher) {
	b = onCard(t)
	k, err := tritonOnce()
	if err != nil {
		t.Fatal(err)
	}
	others = b.launcher
	b.launcher = k.on(b.stream)
	return b, others
}

// Tiles that all queries see, tiles on the diagonal, and tiles that end inside of the cache.
var tritonCases = []attentionCase{
	{heads: 2, stores: 1, n: 150, before: 50, kdim: 64, vdim: 64},
	{heads: 3, stores: 3, n: 1, before: 64, kdim: 64, vdim: 64},
	{heads: 6, stores: 2, n: 70, before: 131, kdim: 128, vdim: 128},
	{heads: 2, stores: 1, n: 129, kdim: 128, vdim: 128},
}

// TestTritonAttention compares Triton's kernels with plain loops in float64, and their sums
// with those of attnscope's other kernels.
func TestTritonAttention(t *testing.T) {
	for _, c := range tritonCases {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			b, others := onTriton(t)
			w := b.world(c, bf16)
			list := []int32{int32(c.heads - 1), 0}
			keys := c.before + c.n
			o := attentionSumsOut{LdTotal: keys + 2, List: up(b, list), Listed: 2, Row0: c.n / 6, Rows: c.n - c.n/6}
			sums := func(l launcher) []float64 {
				o.Total = up(b, make([]int64, 2*o.LdTotal))
				b.must(l.attend(w.attention))
				b.must(l.attendSums(w.attention, o))
				return fixedFloats(down[int64](b, o.Total, 2*o.LdTotal))
			}
			theirs := sums(others)
			ours := sums(b.launcher)
			near(t, "out", b.downAs(bf16, w.Out, len(w.out)), w.out, outTolerance(bf16), outTolerance(bf16))
			near(t, "log-sum-exp", down[float32](b, w.LSE, c.heads*c.n), flat(w.lse), 3e-6, 1e-6)
			near(t, "sums of two kernels", ours, theirs, 5e-6, 5e-6)
			for at, h := range list {
				want := make([]float64, o.LdTotal)
				for i := o.Row0; i < c.n; i++ {
					for j, v := range w.weights[h][i] {
						want[j] += v
					}
				}
				near(t, fmt.Sprintf("total of head %d", h), ours[at*o.LdTotal:(at+1)*o.LdTotal], want, 5e-6, 5e-6)
			}
			b.tritonRows(w, list)
		})
	}
}

// tritonRows asks for rows of weights as float32 and as half floats.
func (b *bench) tritonRows(w *world, list []int32) {
	c := w.attentionCase
	keys := c.before + c.n
	o := attentionRowsOut{Row0: c.n / 3, Rows: c.n - c.n/3, Listed: len(list), List: up(b, list), Width: keys + 3}
	o.Ld, o.LdHead = o.Width+1, o.Rows+1
	n := o.Listed * o.LdHead * o.Ld
	o.W = up(b, make([]float32, n))
	b.must(b.attendRows(w.attention, o))
	got := down[float32](b, o.W, n)
	drop := dropTable(0.95e-4, 4.9e-4, 6)
	o.W, o.Drop = up(b, make([]uint16, n)), up(b, drop[:])
	b.must(b.attendRows(w.attention, o))
	halves := b.downAs(f16, o.W, n)
	for at, h := range list {
		for r := range o.Rows {
			place := fmt.Sprintf("head %d, row %d", h, o.Row0+r)
			from := (at*o.LdHead + r) * o.Ld
			near(b.t, place, got[from:from+o.Width], w.row(int(h), o.Row0+r, 0, o.Width), 5e-6, 3e-6)
			equal(b.t, place+", beside the row", got[from+o.Width:from+o.Ld], make([]float32, 1))
			want := make([]float32, o.Width)
			for j := range want {
				want[j] = dropped(got[from+j], &drop)
			}
			equal(b.t, place+", halves", halves[from:from+o.Width], want)
		}
	}
}

// TestTritonGemm compares products with float64, with rows and columns that end inside of a tile.
func TestTritonGemm(t *testing.T) {
	const m, n, k = 131, 150, 128
	lda, ldw, ldc := k+16, k+32, n+3
	b, _ := onTriton(t)
	a, w, c := round(bf16, randoms(b.r, m*lda)), round(bf16, randoms(b.r, n*ldw)), randoms(b.r, m*ldc)
	for _, add := range []bool{false, true} {
		want := onto(c, ldc, matmul(a, lda, w, ldw, m, n, k), m, n, add)
		p := product{C: up(b, c), Ldc: ldc, A: b.upAs(bf16, a), T: bf16, Lda: lda, W: b.upAs(bf16, w), Ldw: ldw, M: m, N: n, K: k, Add: add}
		b.must(b.gemm(p))
		near(t, fmt.Sprintf("add %v", add), down[float32](b, p.C, len(c)), want, 3e-5, 1e-6)
	}
}

// TestTritonCases checks which cases Triton's kernels leave to the others.
func TestTritonCases(t *testing.T) {
	l := launcher{kernels: &kernels{triton: tritonTable("sm_90a")}}
	plain := attention{N: 5, Pos0: 3, cache: cache{T: bf16, Keys: 8, KeyDim: 64, ValueDim: 64, Heads: 2, Stores: 1}}
	if of := l.tritonCase(&plain); of != "bf16_64" {
		t.Errorf("the plain case takes kernels for %q, want bf16_64", of)
	}
	for what, change := range map[string]func(a *attention){
		"float32":          func(a *attention) { a.T = f32 },
		"96 channels":      func(a *attention) { a.KeyDim, a.ValueDim = 96, 96 },
		"narrow values":    func(a *attention) { a.ValueDim = 32 },
		"a window":         func(a *attention) { a.Window = 4 },
		"a cap":            func(a *attention) { a.Cap = 30 },
		"sinks":            func(a *attention) { a.Sinks = 256 },
		"a compressed one": func(a *attention) { a.Counts, a.Pos = 256, 512 },
		"shifted keys":     func(a *attention) { a.Pos0 = 2 },
		"unaligned keys":   func(a *attention) { a.K = 8 },
	} {
		a := plain
		change(&a)
		if of := l.tritonCase(&a); of != "" {
			t.Errorf("%s: Triton's kernels for %s are used", what, of)
		}
	}
	if of := (launcher{kernels: &kernels{}}).tritonCase(&plain); of != "" {
		t.Errorf("without the setting, Triton's kernels for %s are used", of)
	}
	p := product{T: bf16, Lda: 64, Ldw: 64, K: 64}
	if !l.tritonMultiplies(p) {
		t.Error("a product of 64 channels is left to the others")
	}
	for _, q := range []product{
		{T: f32, Lda: 64, Ldw: 64, K: 64},
		{T: bf16, Lda: 96, Ldw: 96, K: 96},
		{T: bf16, Lda: 72, Ldw: 64, K: 64},
		{T: bf16, Lda: 64, Ldw: 64, K: 64, A: 8},
	} {
		if l.tritonMultiplies(q) {
			t.Errorf("Triton's kernels multiply %+v", q)
		}
	}
}
