//go:build cuda

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/engine/tensor"
)

// matrix is a weight [out, in] on the card: one block of the compute type or, for float32,
// of bfloat16; or quantized tensors as stored in the file, whose outputs are concatenated.
type matrix struct {
	out, in int
	at      cu.DevicePtr // 0: quantized
	mixed   bool         // bfloat16, although the compute type is float32
	parts   []quantPart
}

type quantPart struct {
	out int
	t   tensor.DType
	at  cu.DevicePtr
}

// layerWeights holds a layer's weights on the card; a norm or bias that the family does
// not have is 0.
type layerWeights struct {
	attnNorm, ffnNorm, attnPostNorm, ffnPostNorm cu.DevicePtr
	attnNormBias, ffnNormBias                    cu.DevicePtr
	qNorm, kNorm, qkvBias, outBias               cu.DevicePtr
	gateUpBias, downBias                         cu.DevicePtr
	qkv, out, gateUp, down, router               matrix
	experts                                      []expertWeights
	shared                                       *expertWeights
	sharedGate                                   matrix // [1, hidden]
	window, rope                                 int
}

type expertWeights struct{ gateUp, down matrix }

// uploader copies weights to the card and keeps their blocks.
type uploader struct {
	c     *card
	bytes int64
}

func (u *uploader) block(n int64, what string) (block, error) {
	b, err := u.c.pool.exact((n+511)/512*512, what)
	u.bytes += b.bytes
	if err == nil {
		u.c.weightBlocks = append(u.c.weightBlocks, b)
	}
	return b, err
}

// vector copies a norm or a bias; the address of nil is 0.
func (u *uploader) vector(v []float32) (cu.DevicePtr, error) {
	if v == nil {
		return 0, nil
	}
	b, err := u.block(4*int64(len(v)), "weights")
	if err != nil {
		return 0, err
	}
	return b.at, call("cuMemcpyHtoD", cu.MemcpyHtoD(b.at, unsafe.Pointer(&v[0]), 4*int64(len(v))))
}

// raw copies a tensor's bytes.
func (u *uploader) raw(t tensor.Tensor) (block, error) {
	b, err := u.block(int64(len(t.Data)), "weights")
	if err != nil {
		return b, err
	}
	return b, call("cuMemcpyHtoD", cu.MemcpyHtoD(b.at, unsafe.Pointer(&t.Data[0]), int64(len(t.Data))))
}

// quantized reports whether weights of a type stay quantized on the card. Types that
// the kernels do not support are converted to the compute type.
func quantized(t tensor.DType) bool {
	return castable(t) && t != tensor.F32 && t != tensor.F16 && t != tensor.BF16
}

// castable reports whether the kernels support a type.
func castable(t tensor.DType) bool {
	_, err := sourceType(t)
	return err == nil
}

// table copies rows that are looked up, such as embeddings: unchanged, or converted to
// the compute type if the kernels do not support their type.
func (u *uploader) table(t tensor.Tensor) (cu.DevicePtr, tensor.DType, error) {
	t, err := t.Plain()
	if err != nil {
		return 0, 0, err
	}
	if err := checkFinite(t); err != nil {
		return 0, 0, err
	}
	if castable(t.DType) {
		b, err := u.raw(t)
		return b.at, t.DType, err
	}
	b, err := u.block(int64(t.Elements())*u.c.dt.bytes(), "weights")
	if err != nil {
		return 0, 0, err
	}
	return b.at, ownType[u.c.dt], u.cast(b.at, u.c.dt, t)
}

// matrix copies tensors of equal width. They are converted to the compute type unless
// one is quantized, or all are bfloat16 and stay so for products with float32.
func (u *uploader) matrix(list Matrix) (m matrix, err error) {
	if len(list) == 0 {
		return m, nil
	}
	m.in = list[0].Cols()
	quant, known, mixed := false, true, u.c.mixes
	list = slices.Clone(list)
	for i := range list {
		if list[i], err = list[i].Plain(); err != nil {
			return m, err
		}
		t := list[i]
		if err := checkFinite(t); err != nil {
			return m, err
		}
		m.out += t.Rows()
		quant = quant || quantized(t.DType)
		known = known && castable(t.DType)
		mixed = mixed && t.DType == tensor.BF16
	}
	if quant && known {
		for _, t := range list {
			b, err := u.raw(t)
			if err != nil {
				return m, err
			}
			m.parts = append(m.parts, quantPart{t.Rows(), t.DType, b.at})
		}
		u.c.scratchBytes = max(u.c.scratchBytes, int64(m.out)*int64(m.in)*u.c.dt.bytes())
		return m, nil
	}
	to := u.c.dt
	if mixed {
		to = bf16
	}
	size := to.bytes()
	b, err := u.block(int64(m.out)*int64(m.in)*size, "weights")
	if err != nil {
		return m, err
	}
	m.at = b.at
	m.mixed = mixed
	at := b.at
	for _, t := range list {
		if err := u.cast(at, to, t); err != nil {
			return m, err
		}
		at += cu.DevicePtr(int64(t.Elements()) * size)
	}
	return m, nil
}

// castBytes is the largest number of bytes copied at a time when the card converts
// them.
const castBytes = 64 << 20

var ownType = map[dtype]tensor.DType{f32: tensor.F32, f16: tensor.F16, bf16: tensor.BF16}

// cast copies a tensor to dst as a type.
func (u *uploader) cast(dst cu.DevicePtr, to dtype, t tensor.Tensor) error {
	if t.DType == ownType[to] {
		return call("cuMemcpyHtoD", cu.MemcpyHtoD(dst, unsafe.Pointer(&t.Data[0]), int64(len(t.Data))))
	}
	if t.DType != tensor.F32 && t.DType != tensor.F16 && t.DType != tensor.BF16 {
		v, err := t.Float32()
		if err != nil {
			return err
		}
		t.DType, t.Data = tensor.F32, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
	}
	width, err := t.DType.Bytes(1)
	if err != nil {
		return err
	}
	tmp, err := u.c.pool.get(min(castBytes, int64(len(t.Data))), "weights")
	if err != nil {
		return err
	}
	defer u.c.pool.put(tmp)
	for at := 0; at < len(t.Data); at += castBytes {
		n := min(castBytes, len(t.Data)-at)
		if err := call("cuMemcpyHtoD", cu.MemcpyHtoD(tmp.at, unsafe.Pointer(&t.Data[at]), int64(n))); err != nil {
			return err
		}
		part := dst + cu.DevicePtr(int64(at/width)*to.bytes())
		// The copy may still be running in the default stream, so wait before and after.
		if err := call("cuCtxSynchronize", cu.Synchronize()); err != nil {
			return err
		}
		if err := u.c.l.dequant(part, to, tmp.at, t.DType, int64(n/width)); err != nil {
			return err
		}
		if err := call("cuStreamSynchronize", u.c.t.compute.Synchronize()); err != nil {
			return err
		}
	}
	return nil
}

// layer copies the weights of a layer.
func (u *uploader) layer(w *Layer) (out layerWeights, err error) {
	out.window, out.rope = w.Window, w.Rope
	for _, v := range []struct {
		dst *cu.DevicePtr
		src []float32
	}{
		{&out.attnNorm, w.AttnNorm},
		{&out.ffnNorm, w.FFNNorm},
		{&out.attnPostNorm, w.AttnPostNorm},
		{&out.ffnPostNorm, w.FFNPostNorm},
		{&out.qNorm, w.QNorm},
		{&out.kNorm, w.KNorm},
		{&out.qkvBias, w.QKVBias},
		{&out.outBias, w.OutBias},
		{&out.attnNormBias, w.AttnNormBias},
		{&out.ffnNormBias, w.FFNNormBias},
		{&out.gateUpBias, w.GateUpBias},
		{&out.downBias, w.DownBias},
	} {
		if *v.dst, err = u.vector(v.src); err != nil {
			return out, err
		}
	}
	for _, m := range []struct {
		dst *matrix
		src Matrix
	}{{&out.qkv, w.QKV}, {&out.out, w.Out}, {&out.gateUp, w.GateUp}, {&out.down, w.Down}, {&out.router, w.Router}} {
		if *m.dst, err = u.matrix(m.src); err != nil {
			return out, err
		}
	}
	out.experts = make([]expertWeights, len(w.Experts))
	for i, e := range w.Experts {
		if out.experts[i].gateUp, err = u.matrix(e.GateUp); err != nil {
			return out, err
		}
		if out.experts[i].down, err = u.matrix(e.Down); err != nil {
			return out, err
		}
	}
	if w.Shared != nil {
		out.shared = &expertWeights{}
		if out.shared.gateUp, err = u.matrix(w.Shared.GateUp); err != nil {
			return out, err
		}
		if out.shared.down, err = u.matrix(w.Shared.Down); err != nil {
			return out, err
		}
		gate := tensor.Tensor{Name: "a shared expert's gate", DType: tensor.F32, Shape: []int{1, len(w.SharedGate)}, Data: bytesOf(w.SharedGate)}
		out.sharedGate, err = u.matrix(Matrix{gate})
	}
	return out, err
}

// checkFinite returns an error if a weight is not finite.
func checkFinite(t tensor.Tensor) error {
	rows, cols := t.Rows(), t.Cols()
	width, err := t.DType.Bytes(cols)
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	if rows == 0 || len(t.Data) != rows*width {
		return fmt.Errorf("tensor %s: %d bytes for shape %v", t.Name, len(t.Data), t.Shape)
	}
	var next atomic.Int64
	var once sync.Once
	var bad error
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), rows) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			buf := make([]float32, cols)
			for i := int(next.Add(1)) - 1; i < rows && bad == nil; i = int(next.Add(1)) - 1 {
				err := tensor.Guard(func() error {
					at, v := firstBad(t, i, t.Data[i*width:(i+1)*width], buf)
					if at < 0 {
						return nil
					}
					return fmt.Errorf("element [%d, %d] is %v: the weights are damaged; fetch the checkpoint again", i, at, v)
				})
				if err != nil {
					once.Do(func() { bad = fmt.Errorf("tensor %s: %w", t.Name, err) })
				}
			}
		}()
	}
	wg.Wait()
	return bad
}

// firstBad returns the first element of a row that is not finite, or -1.
func firstBad(t tensor.Tensor, row int, data []byte, buf []float32) (int, float32) {
	switch t.DType {
	case tensor.F32:
		for i := 0; i < len(data); i += 4 {
			if b := binary.LittleEndian.Uint32(data[i:]); b&0x7f800000 == 0x7f800000 {
				return i / 4, math.Float32frombits(b)
			}
		}
	case tensor.BF16:
		for i := 0; i < len(data); i += 2 {
			if h := binary.LittleEndian.Uint16(data[i:]); h&0x7f80 == 0x7f80 {
				return i / 2, tensor.BF16ToF32(h)
			}
		}
	default:
		if err := t.Row(buf, row); err != nil {
			return 0, float32(math.NaN())
		}
		for i, v := range buf {
			if v-v != 0 {
				return i, v
			}
		}
	}
	return -1, 0
}
