//go:build cuda

package cuda

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/attnscope/attnscope/engine/tensor"
	"gorgonia.org/cu"
)

// bench is a card on a test's own thread, with memory that the test's end frees
// and checks.
type bench struct {
	launcher
	t *testing.T
	r *rand.Rand
}

var loadOnce = sync.OnceValues(func() (*kernels, error) {
	m, err := kernelImages()
	if err != nil {
		return nil, err
	}
	about, err := deviceAt(0)
	if err != nil {
		return nil, err
	}
	mod, _, err := m.loadModule(about.Capability, os.Getenv(imageSetting))
	if err != nil {
		return nil, err
	}
	return loadKernels(mod, m.ptx)
})

func onCard(t *testing.T) *bench {
	t.Helper()
	if _, why := Devices(); why != "" {
		t.Skipf("SKIPPED: the kernels have not been run: %s", why)
	}
	runtime.LockOSThread() // the thread ends with the test
	dev, err := cu.GetDevice(0)
	if err == nil {
		var ctx cu.CUContext
		if ctx, err = dev.RetainPrimaryCtx(); err == nil {
			err = cu.SetCurrentContext(ctx)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	s, err := cu.MakeStream(cu.NonBlocking)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Destroy() })
	return &bench{k.on(s), t, rand.New(rand.NewPCG(7, 11))}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

type number interface {
	~float32 | ~float64 | ~int32 | ~uint8 | ~uint16 | ~int64
}

// room takes memory for n numbers, NaN until it is written.
func room[T number](b *bench, n int) cu.DevicePtr {
	b.t.Helper()
	var x T
	p, err := cu.MemAlloc(int64(max(1, n)) * int64(unsafe.Sizeof(x)))
	b.must(err)
	b.t.Cleanup(func() {
		if err := cu.MemFree(p); err != nil {
			b.t.Errorf("freeing: %v", err) // also what wrote past the end of it
		}
	})
	return p
}

// up copies numbers to the card.
func up[T number](b *bench, x []T) cu.DevicePtr {
	b.t.Helper()
	p := room[T](b, len(x))
	if len(x) > 0 {
		b.must(cu.MemcpyHtoD(p, unsafe.Pointer(&x[0]), int64(len(x))*int64(unsafe.Sizeof(x[0]))))
		// The call may return before the copy has arrived, and kernels run in a stream that does
		// not wait for it.
		b.must(cu.Synchronize())
	}
	return p
}

// down waits for the stream and copies n numbers from the card.
func down[T number](b *bench, p cu.DevicePtr, n int) []T {
	b.t.Helper()
	b.must(b.stream.Synchronize())
	x := make([]T, n)
	if n > 0 {
		b.must(cu.MemcpyDtoH(unsafe.Pointer(&x[0]), p, int64(n)*int64(unsafe.Sizeof(x[0]))))
	}
	return x
}

func randoms(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// round is what is left of x in type t.
func round(t dtype, x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		switch t {
		case f16:
			v = tensor.F16ToF32(tensor.F32ToF16(v))
		case bf16:
			v = tensor.BF16ToF32(tensor.F32ToBF16(v))
		}
		out[i] = v
	}
	return out
}

// upAs copies x to the card in type t.
func (b *bench) upAs(t dtype, x []float32) cu.DevicePtr {
	b.t.Helper()
	if t == f32 {
		return up(b, x)
	}
	h := make([]uint16, len(x))
	for i, v := range x {
		if h[i] = tensor.F32ToF16(v); t == bf16 {
			h[i] = tensor.F32ToBF16(v)
		}
	}
	return up(b, h)
}

func (b *bench) roomAs(t dtype, n int) cu.DevicePtr {
	b.t.Helper()
	if t == f32 {
		return room[float32](b, n)
	}
	return room[uint16](b, n)
}

func (b *bench) downAs(t dtype, p cu.DevicePtr, n int) []float32 {
	b.t.Helper()
	if t == f32 {
		return down[float32](b, p, n)
	}
	h := down[uint16](b, p, n)
	x := make([]float32, n)
	for i, v := range h {
		if x[i] = tensor.F16ToF32(v); t == bf16 {
			x[i] = tensor.BF16ToF32(v)
		}
	}
	return x
}

// near compares with a tolerance absolute and relative to the wanted value; NaN
// is never near.
func near[T ~float32 | ~float64](t *testing.T, what string, got []T, want []float64, absolute, relative float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= absolute+relative*math.Abs(w)) {
			t.Errorf("%s: [%d] is %g, want %g", what, i, float64(got[i]), w)
			return
		}
	}
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: [%d] is %v, want %v", what, i, got[i], want[i])
			return
		}
	}
}

// ulp is the relative error of one rounding to t.
func (d dtype) ulp() float64 { return [...]float64{1e-7, 1.0 / 2048, 1.0 / 256}[d] }

var dtypes = []dtype{f32, f16, bf16}

// sourceNames are all types a checkpoint may have.
var sourceNames = []tensor.DType{
	tensor.F32, tensor.F16, tensor.BF16, tensor.Q4_0, tensor.Q4_1, tensor.Q5_0, tensor.Q5_1, tensor.Q8_0,
	tensor.Q2_K, tensor.Q3_K, tensor.Q4_K, tensor.Q5_K, tensor.Q6_K, tensor.IQ4_NL, tensor.IQ4_XS, tensor.MXFP4, tensor.TQ2_0,
}

// refusedNames are the types that cards refuse on purpose: they have no kernels yet.
var refusedNames = []string{"TQ1_0", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"}

// A type that checkpoints gain must come into sourceNames or refusedNames.
func TestEveryTypeOfBlocksIsKnown(t *testing.T) {
	for _, name := range tensor.BlockTypes() {
		_, err := sourceType(tensor.ParseDType(name))
		if refused := slices.Contains(refusedNames, name); refused != (err != nil) {
			t.Errorf("type %s: %v", name, err)
		}
	}
	if len(sourceNames) != len(sourceTypes) {
		t.Errorf("%d types are tested, of %d", len(sourceNames), len(sourceTypes))
	}
}

// blocks makes a tensor of random bytes with finite scales: a half has an
// exponent bit cleared wherever it stands.
func blocks(r *rand.Rand, d tensor.DType, rows, cols int) tensor.Tensor {
	size, _ := d.Bytes(cols)
	data := make([]byte, rows*size)
	for i := range data {
		data[i] = byte(r.UintN(256))
	}
	scales := map[tensor.DType][]int{ // bytes of a block and where its halves stand
		tensor.Q4_0: {18, 0}, tensor.Q4_1: {20, 0, 2}, tensor.Q5_0: {22, 0}, tensor.Q5_1: {24, 0, 2}, tensor.Q8_0: {34, 0},
		tensor.Q2_K: {84, 80, 82}, tensor.Q3_K: {110, 108}, tensor.Q4_K: {144, 0, 2}, tensor.Q5_K: {176, 0, 2}, tensor.Q6_K: {210, 208},
		tensor.IQ4_NL: {18, 0}, tensor.IQ4_XS: {136, 0}, tensor.MXFP4: {17}, tensor.TQ2_0: {66, 64},
		tensor.F16: {2, 0}, tensor.BF16: {2, 0}, tensor.F32: {4, 2},
	}
	s := scales[d]
	for at := 0; at < len(data); at += s[0] {
		for _, off := range s[1:] {
			h := data[at+off:]
			binary.LittleEndian.PutUint16(h, binary.LittleEndian.Uint16(h)&0xbfff)
		}
		if d == tensor.MXFP4 { // an exponent; the first blocks have the least
			data[at] = min(data[at]%16+118, byte(at/17))
		}
	}
	return tensor.Tensor{Name: d.String(), DType: d, Shape: []int{rows, cols}, Data: data}
}

func TestDequantIsBitForBit(t *testing.T) {
	b := onCard(t)
	for _, d := range sourceNames {
		w := blocks(b.r, d, 3, 512)
		want, err := w.Float32()
		b.must(err)
		src := up(b, w.Data)
		for _, to := range dtypes {
			dst := b.roomAs(to, len(want))
			b.must(b.dequant(dst, to, src, d, int64(len(want))))
			equal(t, d.String()+" to "+to.String(), b.downAs(to, dst, len(want)), round(to, want))
		}
	}
}

func TestEmbed(t *testing.T) {
	b := onCard(t)
	const vocab, hidden = 9, 256
	ids := []int32{3, 0, 8, 3}
	for _, d := range sourceNames {
		w := blocks(b.r, d, vocab, hidden)
		all, err := w.Float32()
		b.must(err)
		x := room[float32](b, len(ids)*hidden)
		b.must(b.embed(x, up(b, w.Data), d, up(b, ids), 0.75, len(ids), hidden))
		var want []float32
		for _, id := range ids {
			for _, v := range all[int(id)*hidden : (int(id)+1)*hidden] {
				want = append(want, v*0.75)
			}
		}
		equal(t, d.String(), down[float32](b, x, len(want)), want)
	}
}

func TestFillRandom(t *testing.T) {
	b := onCard(t)
	const n = 20001
	for _, d := range dtypes {
		p := b.roomAs(d, n)
		b.must(b.fillRandom(p, d, n, 5, 0.02))
		x := b.downAs(d, p, n)
		sum, square := 0.0, 0.0
		for _, v := range x {
			sum += float64(v)
			square += float64(v) * float64(v)
		}
		if mean, std := sum/n, math.Sqrt(square/n); math.Abs(mean) > 6e-4 || math.Abs(std-0.02) > 4e-4 {
			t.Errorf("%s: mean %g, deviation %g, want 0 and 0.02", d, mean, std)
		}
		q := b.roomAs(d, n)
		b.must(b.fillRandom(q, d, n, 6, 0.02))
		if y := b.downAs(d, q, n); y[0] == x[0] && y[n-1] == x[n-1] {
			t.Errorf("%s: two seeds give the same numbers", d)
		}
	}
}

func TestNorms(t *testing.T) {
	b := onCard(t)
	for _, dim := range []int{1, 31, 256, 300} {
		const rows, pad = 3, 5
		x := randoms(b.r, rows*(dim+pad))
		weight, bias := randoms(b.r, dim), randoms(b.r, dim)
		rms, layer := make([]float64, 0, rows*dim), make([]float64, 0, rows*dim)
		for i := range rows {
			row := x[i*(dim+pad):][:dim]
			var sum, square float64
			for _, v := range row {
				sum += float64(v)
				square += float64(v) * float64(v)
			}
			mean, n := sum/float64(dim), float64(dim)
			variance := 0.0
			for _, v := range row {
				variance += (float64(v) - mean) * (float64(v) - mean) / n
			}
			for d, v := range row {
				rms = append(rms, float64(v)/math.Sqrt(square/n+1e-5)*(1+float64(weight[d])))
				layer = append(layer, (float64(v)-mean)/math.Sqrt(variance+1e-5)*float64(weight[d])+float64(bias[d]))
			}
		}
		for _, d := range dtypes {
			a := norm{Dst: b.roomAs(d, rows*dim), T: d, LdDst: dim, X: up(b, x), LdX: dim + pad, Weight: up(b, weight), Bias: up(b, bias), Offset: 1, Eps: 1e-5, Rows: rows, Dim: dim}
			b.must(b.rmsNorm(a))
			near(t, "rms "+d.String(), b.downAs(d, a.Dst, rows*dim), rms, 1e-6, 1e-6+d.ulp())
			b.must(b.layerNorm(a))
			near(t, "layer "+d.String(), b.downAs(d, a.Dst, rows*dim), layer, 2e-6+d.ulp()*1e-3, 3e-6+d.ulp())
			a.Weight, a.Eps = 0, -1
			b.must(b.rmsNorm(a))
			want := make([]float32, 0, rows*dim)
			for i := range rows {
				want = append(want, x[i*(dim+pad):][:dim]...)
			}
			equal(t, "copy "+d.String(), b.downAs(d, a.Dst, rows*dim), round(d, want))
		}
	}
}

func TestElements(t *testing.T) {
	b := onCard(t)
	const rows, dim, ld = 3, 300, 307
	x, y, bias := randoms(b.r, rows*ld), randoms(b.r, rows*ld), randoms(b.r, dim)
	p := up(b, x)
	b.must(b.biasAdd(p, ld, up(b, bias), rows, dim))
	want := make([]float64, len(x))
	for i := range x {
		want[i] = float64(x[i])
		if i%ld < dim {
			want[i] = float64(x[i] + bias[i%ld])
		}
	}
	near(t, "bias_add", down[float32](b, p, len(x)), want, 0, 0)

	p = up(b, x)
	b.must(b.addScaled(p, up(b, y), 0.22, len(x)))
	for i := range x {
		want[i] = float64(x[i]) + 0.22*float64(y[i])
	}
	near(t, "add_scaled", down[float32](b, p, len(x)), want, 1e-6, 1e-6)

	for i := range x {
		x[i] *= []float32{1e-3, 1, 30, 1000}[i%4]
	}
	for _, cap := range []float32{0, 30} {
		p = up(b, x)
		b.must(b.scaleCap(p, len(x), 8, cap))
		for i, v := range x {
			if want[i] = float64(v) / 8; cap > 0 {
				want[i] = 30 * math.Tanh(float64(v)/8/30)
			}
		}
		near(t, "scale_cap", down[float32](b, p, len(x)), want, 0, 1e-6)
	}
}

func TestGates(t *testing.T) {
	b := onCard(t)
	const rows, ff, ld = 2, 301, 610
	raw := randoms(b.r, rows*ld)
	for i := range raw {
		raw[i] *= []float32{1e-2, 1, 6, 40}[i%4]
	}
	acts := map[activation]func(x float64) float64{
		silu:        func(x float64) float64 { return x / (1 + math.Exp(-x)) },
		geluTanh:    func(x float64) float64 { return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) },
		geluErf:     func(x float64) float64 { return x / 2 * (1 + math.Erf(x/math.Sqrt2)) },
		relu:        func(x float64) float64 { return max(x, 0) },
		reluSquared: func(x float64) float64 { return max(x, 0) * max(x, 0) },
	}
	for _, d := range dtypes {
		for _, from := range []dtype{f32, d} {
			x := round(from, raw)
			src := b.upAs(from, x)
			for act, f := range acts {
				dst := b.roomAs(d, rows*ff)
				b.must(b.activate(activated{Dst: dst, T: d, X: src, From: from, LdX: ld, Act: act, Rows: rows, Channels: ff}))
				want := make([]float64, rows*ff)
				for i := range want {
					row := x[i/ff*ld:]
					// a half ends where products may leave it; the values stay below
					want[i] = f(float64(row[i%ff])) * float64(row[ff+i%ff])
				}
				near(t, d.String()+" gate", b.downAs(d, dst, rows*ff), want, 3e-6, 1e-5+d.ulp())
				b.must(b.activate(activated{Dst: dst, T: d, X: src, From: from, LdX: ld, Act: act, Plain: true, Rows: rows, Channels: ff}))
				for i := range want {
					want[i] = f(float64(x[i/ff*ld+i%ff]))
				}
				near(t, d.String()+" activation", b.downAs(d, dst, rows*ff), want, 3e-6, 1e-5+d.ulp())
			}
		}
	}
}

func TestHeads(t *testing.T) {
	b := onCard(t)
	cases := []struct {
		heads, dim, half, repeat int
		adjacent, norm, bias     bool
		counts                   []int32
		clip                     float32
	}{
		{heads: 3, dim: 64, half: 32, repeat: 1},
		{heads: 2, dim: 64, half: 32, repeat: 1, adjacent: true, norm: true, bias: true},
		{heads: 2, dim: 80, half: 10, repeat: 1, norm: true},
		{heads: 2, dim: 24, half: 12, repeat: 1, bias: true, clip: 0.7},
		{heads: 2, dim: 20, half: 6, repeat: 2, adjacent: true, bias: true, counts: []int32{4, 2, 0, 1}},
		{heads: 1, dim: 256, half: 0, repeat: 1},
	}
	for _, c := range cases {
		const rows, room, base = 3, 8, 2
		width := c.heads*c.dim + 7
		x, bias, norms := randoms(b.r, rows*width), randoms(b.r, c.heads*c.dim), randoms(b.r, c.dim)
		cos, sin := randoms(b.r, rows*c.half), randoms(b.r, rows*c.half)
		want := make([]float32, c.heads*c.repeat*room*c.dim)
		for i := range rows {
			for h := range c.heads * c.repeat {
				v := make([]float64, c.dim)
				square := 0.0
				for d := range v {
					at := h / c.repeat * c.dim
					if v[d] = float64(x[i*width+at+d]); c.bias {
						v[d] += float64(bias[at+d])
					}
					if c.clip > 0 {
						v[d] = max(-float64(c.clip), min(float64(c.clip), v[d]))
					}
					square += v[d] * v[d]
				}
				if c.norm {
					for d := range v {
						v[d] *= (1 + float64(norms[d])) / math.Sqrt(square/float64(c.dim)+1e-6)
					}
				}
				for j := range c.half {
					lo, hi := j, j+c.half
					if c.adjacent {
						lo, hi = 2*j, 2*j+1
					}
					cs, sn := float64(cos[i*c.half+j]), float64(sin[i*c.half+j])
					v[lo], v[hi] = v[lo]*cs-v[hi]*sn, v[hi]*cs+v[lo]*sn
				}
				slot := base + i
				if c.counts != nil {
					slot = int(c.counts[h]) + i
				}
				for d := range v {
					want[(h*room+slot)*c.dim+d] = float32(v[d])
				}
			}
		}
		for _, d := range dtypes {
			before := make([]float32, len(want))
			a := heads{
				Dst: b.upAs(d, before), T: d, DstHead: room * c.dim, DstRow: c.dim, Base: base, Src: up(b, x), LdSrc: width,
				Clip: c.clip, Offset: 1, Eps: 1e-6, Half: c.half, Adjacent: c.adjacent, Heads: c.heads, Dim: c.dim, Rows: rows, Repeat: c.repeat,
			}
			if c.bias {
				a.Bias = up(b, bias)
			}
			if c.norm {
				a.Norm = up(b, norms)
			}
			if c.half > 0 {
				a.Cos, a.Sin = up(b, cos), up(b, sin)
			}
			if c.counts != nil {
				a.Counts = up(b, c.counts)
			}
			b.must(b.heads(a))
			wide := make([]float64, len(want))
			for i, v := range want {
				wide[i] = float64(v)
			}
			near(t, d.String(), b.downAs(d, a.Dst, len(want)), wide, 2e-6, 2e-6+d.ulp())
		}
	}
}

func TestAdvance(t *testing.T) {
	b := onCard(t)
	pos := up(b, []int32{0, 5, 9, -1, -1, -1, -1, -1, 3, -1, -1, -1, -1, -1, -1, -1})
	counts := up(b, []int32{3, 1})
	b.must(b.advance(pos, counts, 2, 8, 20, 4))
	equal(t, "positions", down[int32](b, pos, 16), []int32{0, 5, 9, 20, 21, 22, 23, -1, 3, 20, 21, 22, 23, -1, -1, -1})
	equal(t, "counts", down[int32](b, counts, 2), []int32{7, 5})
}

func TestRoute(t *testing.T) {
	b := onCard(t)
	const n = 9
	for _, c := range []struct{ experts, top int }{{8, 2}, {60, 4}, {128, 8}, {3, 3}} {
		logits := randoms(b.r, n*c.experts)
		copy(logits, []float32{1, 3, 3}) // a tie: the lower first
		for i := range c.experts {
			logits[c.experts+i] = 0.5 // all alike
		}
		for _, normalise := range []bool{false, true} {
			chosen, weights := room[int32](b, n*c.top), room[float32](b, n*c.top)
			b.must(b.route(chosen, weights, up(b, logits), n, c.experts, c.top, normalise))
			var want []int32
			var wantW []float64
			for i := range n {
				row := logits[i*c.experts : (i+1)*c.experts]
				sum, kept := 0.0, 0.0
				for _, v := range row {
					sum += math.Exp(float64(v))
				}
				taken := map[int]bool{}
				for range c.top {
					best := -1
					for e, v := range row {
						if !taken[e] && (best < 0 || v > row[best]) {
							best = e
						}
					}
					taken[best] = true
					want = append(want, int32(best))
					wantW = append(wantW, math.Exp(float64(row[best]))/sum)
					kept += wantW[len(wantW)-1]
				}
				if normalise {
					for t := range c.top {
						wantW[i*c.top+t] /= kept
					}
				}
			}
			equal(t, "experts", down[int32](b, chosen, n*c.top), want)
			near(t, "weights", down[float32](b, weights, n*c.top), wantW, 0, 3e-6)
		}
	}
}

func TestGatherAndScatter(t *testing.T) {
	b := onCard(t)
	idx := []int32{4, 0, 2}
	for _, dim := range []int{1, 7, 64} {
		x := randoms(b.r, 5*dim)
		for _, d := range dtypes {
			dst := b.roomAs(d, len(idx)*dim)
			b.must(b.gatherRows(dst, b.upAs(d, x), up(b, idx), dim*int(d.bytes()), len(idx)))
			var want []float32
			for _, i := range idx {
				want = append(want, round(d, x[int(i)*dim:(int(i)+1)*dim])...)
			}
			equal(t, d.String(), b.downAs(d, dst, len(want)), want)
		}
		y, weight := randoms(b.r, len(idx)*dim), randoms(b.r, len(idx))
		out := up(b, x)
		b.must(b.scatterAdd(out, up(b, y), up(b, idx), up(b, weight), len(idx), dim))
		want := make([]float64, len(x))
		for i, v := range x {
			want[i] = float64(v)
		}
		for i, at := range idx {
			for d := range dim {
				want[int(at)*dim+d] += float64(weight[i]) * float64(y[i*dim+d])
			}
		}
		near(t, "scatter_add", down[float32](b, out, len(x)), want, 1e-6, 1e-6)
	}
}

func TestFixedToFloat(t *testing.T) {
	b := onCard(t)
	sums := []int64{0, 1, 1 << 40, 3 << 39, 123456789012345, 1<<62 - 1}
	src := up(b, sums)
	for _, bits := range []int{23, 16} {
		dst := room[float32](b, len(sums))
		b.must(b.fixedToFloat(dst, src, len(sums), bits))
		want := make([]float32, len(sums))
		for i, v := range sums {
			u := math.Float32bits(float32(float64(v) / (1 << 40)))
			if drop := uint(23 - bits); drop > 0 {
				u += 1<<(drop-1) - 1 + u>>drop&1
				u = u >> drop << drop
			}
			want[i] = math.Float32frombits(u)
		}
		equal(t, "sums", down[float32](b, dst, len(sums)), want)
	}
}
