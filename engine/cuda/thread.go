//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"gorgonia.org/cu"
)

// thread is the system thread that uses a card, since a context belongs to a thread. A
// whole pass runs in it, so that threads are switched once per pass and not once per
// call.
type thread struct {
	device  cu.Device
	about   Device
	ctx     cu.CUContext
	images  *images
	mod     cu.Module
	triton  cu.Module // if tritonSetting is on and the driver takes it
	image   string    // the kernels that were loaded: an architecture, or ptx
	compute cu.Stream // kernels, in order
	copies  cu.Stream // recorded data, to the host
	jobs    chan func()
	quit    chan struct{}
	done    chan struct{}
}

// open starts the thread of card i and loads the kernels there.
func open(i int) (*thread, error) {
	about, err := deviceAt(i)
	if err != nil {
		return nil, err
	}
	m, err := kernelImages()
	if err != nil {
		return nil, err
	}
	t := &thread{about: about, images: m, jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the system thread ends with the goroutine
		defer close(t.done)
		err := t.start(i)
		started <- err
		if err != nil {
			t.stop()
			return
		}
		for open := true; open; {
			select {
			case f := <-t.jobs:
				f()
			case <-t.quit:
				open = false
			}
		}
		t.stop()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("card %d (%s): %w", i, about.Name, err)
	}
	return t, nil
}

func (t *thread) start(i int) (err error) {
	if t.device, err = cu.GetDevice(i); err != nil {
		return call("cuDeviceGet", err)
	}
	// cuBLAS uses the primary context.
	if t.ctx, err = t.device.RetainPrimaryCtx(); err != nil {
		return call("cuDevicePrimaryCtxRetain", err)
	}
	if err = cu.SetCurrentContext(t.ctx); err != nil {
		return call("cuCtxSetCurrent", err)
	}
	if t.mod, t.image, err = t.images.loadModule(t.about.Capability, os.Getenv(imageSetting)); err != nil {
		return err
	}
	if t.compute, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return call("cuStreamCreate", err)
	}
	t.copies, err = cu.MakeStream(cu.NonBlocking)
	return call("cuStreamCreate", err)
}

// stop releases the resources that start acquired before it failed or ended.
func (t *thread) stop() {
	none := cu.Stream{}
	for _, s := range []*cu.Stream{&t.compute, &t.copies} {
		if *s != none {
			_ = s.Destroy()
		}
	}
	for _, m := range []cu.Module{t.mod, t.triton} {
		if m != (cu.Module{}) {
			_ = m.Unload()
		}
	}
	if t.ctx != (cu.CUContext{}) {
		_ = t.device.ReleasePrimaryCtx()
	}
}

// do runs f on the thread and waits for it.
func (t *thread) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case t.jobs <- func() { result <- f() }:
		return <-result
	case <-t.done:
		return errClosed
	}
}

var errClosed = errors.New("the card has been closed")

// close ends the thread.
func (t *thread) close() {
	close(t.quit)
	<-t.done
}

// call adds the name of the driver's function to an error.
func call(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: CUDA error %w", name, err)
}

func outOfMemory(err error) bool { return errors.Is(err, cu.OutOfMemory) }
