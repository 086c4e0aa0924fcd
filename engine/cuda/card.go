//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"os"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/engine/tensor"
)

// card is a Model: a decoder's weights on a card and the working memory of a pass.
type card struct {
	d     *Decoder
	dt    dtype
	chunk int
	log   func(string)
	t     *thread
	l     launcher
	pool  *pool
	blas  *blas // nil: products run on our own kernels
	times *stopwatch
	mixes bool // the compute type is float32, and bfloat16 weights are kept

	embed        cu.DevicePtr
	embedType    tensor.DType
	places       cu.DevicePtr // 0: none
	placesType   tensor.DType
	norm         cu.DevicePtr
	normBias     cu.DevicePtr
	ones         cu.DevicePtr // [hidden]: norms without weights
	head         matrix
	headBias     cu.DevicePtr
	layers       []layerWeights
	allHeads     cu.DevicePtr // int32 [heads]: 0, 1, 2, ...
	weightBytes  int64
	weightBlocks []block
	scratchBytes int64 // bytes of the largest quantized matrix, converted to the compute type
	scratch      block

	in        inputs
	work      workspace
	workBlock block
	scores    block            // memory of decoding
	half      int              // most pairs of channels that are rotated
	halves    [3]int           // by kind of rotation; 0: the kind rotates nothing or is not used
	constants map[string]block // by name and content
	ring      *ring
	graphs    map[graphKey]*graph
}

// Load copies the weights of a decoder to card i.
func Load(i int, d *Decoder, o Options) (Model, error) {
	c, err := openCard(i, d, o)
	if err != nil {
		return nil, err
	}
	err = c.t.do(func() error { return c.load() })
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// activations holds the functions that the kernels support.
var activations = map[string]activation{"silu": silu, "gelu_tanh": geluTanh, "gelu": geluErf, "relu": relu, "relu2": reluSquared}

// openCard initializes the card without weights.
func openCard(i int, d *Decoder, o Options) (*card, error) {
	c := &card{d: d, chunk: o.Chunk, log: o.Log}
	switch o.Compute {
	case "", "f32":
		c.dt = f32
	case "bf16":
		c.dt = bf16
	case "f16":
		c.dt = f16
	default:
		return nil, &UnsupportedError{fmt.Sprintf("--compute %s (f32, bf16 and f16 can)", o.Compute)}
	}
	c.mixes = Mixes(o.Compute)
	if c.chunk < 1 {
		c.chunk = DefaultChunk
	}
	if c.log == nil {
		c.log = func(string) {}
	}
	if w := max(d.HeadDim, d.ValueDim); w > maxHeadDim {
		return nil, &UnsupportedError{fmt.Sprintf("a model with heads of %d channels (at most %d)", w, maxHeadDim)}
	}
	if _, ok := activations[d.Activation]; !ok {
		return nil, &UnsupportedError{fmt.Sprintf("a model with activation %s", d.Activation)}
	}
	var err error
	if c.t, err = open(i); err != nil {
		return nil, err
	}
	err = c.t.do(func() error {
		k, err := loadKernels(c.t.mod, c.t.images.ptx)
		if err != nil {
			return err
		}
		if setting := os.Getenv(tritonSetting); setting != "" && setting != "off" {
			if err := c.useTriton(k, setting); err != nil {
				return err
			}
		}
		c.l = k.on(c.t.compute)
		c.pool = newPool(c.t)
		var why error
		if c.blas, why = openBlas(c.t.compute); why != nil {
			c.log(fmt.Sprintf("%v; products run on attnscope's own kernels, which are slower", why))
		}
		return c.in.open(c)
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// useTriton adds the kernels that Triton has compiled, if the card takes them.
func (c *card) useTriton(k *kernels, setting string) error {
	mod, arch, err := loadTriton(c.t.about.Capability, setting)
	if outOfMemory(err) {
		return err
	}
	if err != nil {
		c.log(fmt.Sprintf("%s=%s: kernels compiled by Triton are not used: %v", tritonSetting, setting, err))
		return nil
	}
	c.t.triton = mod
	return k.addTriton(mod, arch)
}

func (c *card) load() error {
	free, total, err := cu.MemInfo()
	if err != nil {
		return call("cuMemGetInfo", err)
	}
	as := c.dt
	if c.mixes && c.stored() == tensor.BF16 {
		as = bf16
	}
	if want := c.d.Sizes.weights(as.String()); want > free && !quantized(c.stored()) {
		what := fmt.Sprintf("the weights as %s", as)
		return &MemoryError{What: what, Want: want, Free: free, Memory: total, hint: weightsHint(as.String())}
	}
	u := &uploader{c: c}
	err = c.upload(u)
	var small *MemoryError
	if errors.As(err, &small) {
		small.hint = weightsHint(as.String())
	}
	if err != nil {
		return err
	}
	c.weightBytes = u.bytes
	c.pool.trim()
	return call("cuCtxSynchronize", cu.Synchronize())
}

// stored returns the type of the first layer's weights in the checkpoint, which decides
// how much memory most weights take.
func (c *card) stored() tensor.DType {
	l, err := c.d.Layer(0)
	if err != nil || len(l.QKV) == 0 {
		return tensor.F32
	}
	return l.QKV[0].DType
}

func (c *card) upload(u *uploader) error {
	d := c.d
	var err error
	if c.embed, c.embedType, err = u.table(d.Embed); err != nil {
		return err
	}
	for _, v := range []struct {
		dst *cu.DevicePtr
		src []float32
	}{{&c.norm, d.Norm}, {&c.normBias, d.NormBias}, {&c.headBias, d.HeadBias}} {
		if *v.dst, err = u.vector(v.src); err != nil {
			return err
		}
	}
	if d.Places != nil {
		if c.places, c.placesType, err = u.table(*d.Places); err != nil {
			return err
		}
	}
	mixed := c.mixes && c.embedType == tensor.BF16
	if d.TiedHead && (mixed || c.embedType == ownType[c.dt]) {
		c.head = matrix{out: d.Vocab, in: d.Hidden, at: c.embed, mixed: mixed}
	} else if c.head, err = u.matrix(Matrix{d.Head}); err != nil {
		return err
	}
	for i := range d.Layers {
		l, err := d.Layer(i)
		if err != nil {
			return err
		}
		w, err := u.layer(l)
		if err != nil {
			return err
		}
		c.layers = append(c.layers, w)
	}
	return c.prepare(u)
}

// prepare allocates what every pass needs in addition to the weights.
func (c *card) prepare(u *uploader) (err error) {
	ones := make([]float32, c.d.Hidden)
	for i := range ones {
		ones[i] = 1
	}
	if c.ones, err = u.vector(ones); err != nil {
		return err
	}
	heads := make([]int32, c.d.Heads)
	for i := range heads {
		heads[i] = int32(i)
	}
	b, err := u.block(4*int64(len(heads)), "weights")
	if err != nil {
		return err
	}
	c.allHeads = b.at
	if err := c.in.copy(c.allHeads, bytesOf(heads)); err != nil {
		return err
	}
	for i := range c.layers {
		if kind := c.layers[i].rope; c.halves[kind] == 0 {
			c.halves[kind] = c.d.Turns(kind, 1, 0, 1).Half
			c.half = max(c.half, c.halves[kind])
		}
	}
	if c.scratchBytes > 0 {
		c.scratch, err = c.pool.get(c.scratchBytes, "a dequantised matrix")
	}
	return err
}

// headList returns the address of a list of heads on the card.
func (c *card) headList(heads []int) (address, error) {
	list := make([]int32, max(1, len(heads)))
	for i, h := range heads {
		list[i] = int32(h)
	}
	return c.constant("a list of heads", bytesOf(list))
}

// rounding returns the address of Record.Halves on the card, or 0 for nil.
func (c *card) rounding(drop *[256]uint8) (address, error) {
	if drop == nil {
		return 0, nil
	}
	return c.constant("a table of roundings", drop[:])
}

// constant copies small data to the card the first time it is requested, and returns
// its address.
func (c *card) constant(what string, b []byte) (address, error) {
	key := what + ": " + string(b)
	if at, ok := c.constants[key]; ok {
		return at.at, nil
	}
	at, err := c.pool.get(int64(len(b)), what)
	if err != nil {
		return 0, err
	}
	if c.constants == nil {
		c.constants = map[string]block{}
	}
	c.constants[key] = at
	return at.at, c.in.copy(at.at, b)
}

// WeightBytes returns the memory of the weights on the card.
func (c *card) WeightBytes() int64 { return c.weightBytes }

// PeakBytes returns the largest amount of memory that was in use.
func (c *card) PeakBytes() (n int64) {
	_ = c.t.do(func() error { n = c.pool.peak; return nil })
	return n
}

// Close releases everything on the card.
func (c *card) Close() {
	_ = c.t.do(func() error {
		if c.ring != nil {
			c.ring.close()
		}
		c.in.close()
		c.dropGraphs()
		if c.blas != nil {
			c.blas.close()
		}
		if c.pool != nil {
			for _, b := range c.weightBlocks {
				c.pool.put(b)
			}
			c.pool.put(c.scratch)
			c.pool.put(c.workBlock)
			c.pool.put(c.scores)
			for _, b := range c.constants {
				c.pool.put(b)
			}
			c.pool.trim()
		}
		return nil
	})
	c.t.close()
}

// mul computes dst [m, out] = a [m, in] · wᵀ, or dst += a · wᵀ if add is set. a is of the
// compute type and has lda elements between rows; dst is float32.
func (c *card) mul(dst cu.DevicePtr, ldc int, a cu.DevicePtr, lda int, w *matrix, m int, add bool) error {
	if m == 0 {
		return nil
	}
	p := product{
		C: dst, Ldc: ldc, A: a, T: c.dt, Lda: lda, Ldw: w.in, M: m, N: w.out, K: w.in, Add: add, Mixed: w.mixed,
	}
	if w.at != 0 {
		p.W = w.at
		return c.product(p)
	}
	for _, part := range w.parts {
		p.N, p.W = part.out, part.at
		if m <= gemvRows {
			if err := c.l.gemvQuant(p, part.t); err != nil {
				return err
			}
		} else {
			if err := c.l.dequant(c.scratch.at, c.dt, part.at, part.t, int64(part.out)*int64(w.in)); err != nil {
				return err
			}
			p.W = c.scratch.at
			if err := c.product(p); err != nil {
				return err
			}
		}
		p.C += cu.DevicePtr(4 * part.out)
	}
	return nil
}

func (c *card) product(p product) error {
	switch {
	case p.M <= gemvRows:
		return c.l.gemv(p)
	case p.Mixed: // cuBLAS has no such product, and would cut long sums off
		p, err := c.l.split(c.work.terms, p)
		if err != nil {
			return err
		}
		return c.l.gemm(p)
	case c.blas != nil:
		c.l.times.mark("cublasGemmEx")
		err := c.blas.mul(p)
		c.l.times.mark("")
		return err
	}
	return c.l.gemm(p)
}
