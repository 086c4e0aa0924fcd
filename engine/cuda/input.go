//go:build cuda

package cuda

import (
	"unsafe"

	"gorgonia.org/cu"
)

// inputs copies small arrays to the card, in the order of the compute stream. It
// alternates between two pinned buffers and waits for the copy from a buffer before it
// writes to it again.
type inputs struct {
	c   *card
	buf [2]pinned
	ev  [2]cu.Event
	at  int
}

const inputBytes = 4 << 20

func (in *inputs) open(c *card) (err error) {
	in.c = c
	for i := range in.buf {
		if in.buf[i], err = allocPinned(inputBytes); err != nil {
			return err
		}
		if in.ev[i], err = cu.MakeEvent(cu.DisableTiming); err != nil {
			return call("cuEventCreate", err)
		}
	}
	return nil
}

func (in *inputs) close() {
	for i := range in.buf {
		in.buf[i].free()
		if in.ev[i] != (cu.Event{}) {
			_ = cu.DestroyEvent(&in.ev[i])
		}
	}
}

// copy copies bytes to dst. src may be changed after copy returns.
func (in *inputs) copy(dst cu.DevicePtr, src []byte) error {
	for len(src) > 0 {
		n := min(len(src), inputBytes)
		i := in.at
		in.at = 1 - in.at
		if err := in.ev[i].Synchronize(); err != nil {
			return call("cuEventSynchronize", err)
		}
		copy(unsafe.Slice((*byte)(in.buf[i].at), n), src[:n])
		if err := cu.MemcpyHtoDAsync(dst, in.buf[i].at, int64(n), in.c.t.compute); err != nil {
			return call("cuMemcpyHtoDAsync", err)
		}
		if err := in.ev[i].Record(in.c.t.compute); err != nil {
			return call("cuEventRecord", err)
		}
		src, dst = src[n:], dst+cu.DevicePtr(n)
	}
	return nil
}

// bytesOf returns the bytes of numbers, without copying.
func bytesOf[T int32 | float32](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
}

// fetch copies numbers from the card and waits for them.
func fetch[T int32 | float32](c *card, dst []T, src cu.DevicePtr) error {
	for to := bytesOf(dst); len(to) > 0; {
		n := min(len(to), inputBytes)
		i := c.in.at
		c.in.at = 1 - c.in.at
		if err := c.in.ev[i].Synchronize(); err != nil {
			return call("cuEventSynchronize", err)
		}
		if err := cu.MemcpyDtoHAsync(c.in.buf[i].at, src, int64(n), c.t.compute); err != nil {
			return call("cuMemcpyDtoHAsync", err)
		}
		if err := c.t.compute.Synchronize(); err != nil {
			return call("cuStreamSynchronize", err)
		}
		copy(to, unsafe.Slice((*byte)(c.in.buf[i].at), n))
		to, src = to[n:], src+cu.DevicePtr(n)
	}
	return nil
}
