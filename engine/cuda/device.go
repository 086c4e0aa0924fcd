//go:build cuda

package cuda

/*
#include <cuda.h>
extern const char *attnscope_cuda_why(void);
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"

	"gorgonia.org/cu"
)

// Built reports whether this binary includes the backend.
const Built = true

// Devices lists the cards. If there are none, why says why.
func Devices() (list []Device, why string) {
	n, why := countDevices()
	for i := range n {
		d, err := describe(i)
		if err == nil && d.Why == "" {
			d.Free, err = freeMemory(i)
		}
		if err != nil {
			d.Why = err.Error()
		}
		list = append(list, d)
	}
	return list, why
}

// countDevices returns the number of cards. If it is 0, why says why.
func countDevices() (n int, why string) {
	if why := C.GoString(C.attnscope_cuda_why()); why != "" {
		return 0, strings.TrimSpace(why)
	}
	n, err := cu.NumDevices()
	if err != nil {
		return 0, fmt.Sprintf("cuDeviceGetCount: %v", err)
	}
	if n == 0 {
		return 0, "the driver is installed, but it finds no card"
	}
	return n, ""
}

// deviceAt returns card i, or a *NoDeviceError if it cannot be used. It creates no context:
// a context on each of eight cards takes seconds.
func deviceAt(i int) (Device, error) {
	n, why := countDevices()
	switch {
	case why != "":
		return Device{}, &NoDeviceError{why}
	case i < 0 || i >= n:
		return Device{}, &NoDeviceError{fmt.Sprintf("there is no card %d: the driver has %d cards, numbered from 0", i, n)}
	}
	d, err := describe(i)
	if err != nil {
		d.Why = err.Error()
	}
	if d.Why != "" {
		return Device{}, &NoDeviceError{fmt.Sprintf("card %d (%s): %s", i, d.Name, d.Why)}
	}
	return d, nil
}

// describe returns a card without its free memory.
func describe(i int) (Device, error) {
	out := Device{Index: i, Name: "card", Driver: [2]int{cu.Version() / 1000, cu.Version() % 1000 / 10}}
	d, err := cu.GetDevice(i)
	if err != nil {
		return out, fmt.Errorf("cuDeviceGet: %w", err)
	}
	if out.Name, err = d.Name(); err != nil {
		return out, fmt.Errorf("cuDeviceGetName: %w", err)
	}
	if out.Memory, err = d.TotalMem(); err != nil {
		return out, fmt.Errorf("cuDeviceTotalMem: %w", err)
	}
	for at, attr := range []cu.DeviceAttribute{cu.ComputeCapabilityMajor, cu.ComputeCapabilityMinor} {
		if out.Capability[at], err = d.Attribute(attr); err != nil {
			return out, fmt.Errorf("cuDeviceGetAttribute: %w", err)
		}
	}
	out.Why = out.usable()
	return out, nil
}

// Rates holds what bounds the speed of a card.
type Rates struct{ Multiprocessors, ClockKHz, MemoryClockKHz, MemoryBits int }

// RatesOf returns the rates of card i.
func RatesOf(i int) (r Rates, err error) {
	d, err := cu.GetDevice(i)
	if err != nil {
		return r, fmt.Errorf("cuDeviceGet: %w", err)
	}
	for _, a := range []struct {
		to   *int
		attr cu.DeviceAttribute
	}{
		{&r.Multiprocessors, cu.MultiprocessorCount},
		{&r.ClockKHz, cu.ClockRate},
		{&r.MemoryClockKHz, cu.MemoryClockRate},
		{&r.MemoryBits, cu.GlobalMemoryBusWidth},
	} {
		if *a.to, err = d.Attribute(a.attr); err != nil {
			return r, fmt.Errorf("cuDeviceGetAttribute: %w", err)
		}
	}
	return r, nil
}

// freeMemory returns the free memory of a card. The query needs a context and runs in a
// thread of its own.
func freeMemory(i int) (free int64, err error) {
	d, err := cu.GetDevice(i)
	if err != nil {
		return 0, fmt.Errorf("cuDeviceGet: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its context
		ctx, e := d.RetainPrimaryCtx()
		if e != nil {
			err = fmt.Errorf("cuDevicePrimaryCtxRetain: %w", e)
			return
		}
		if e = cu.SetCurrentContext(ctx); e == nil {
			free, _, e = cu.MemInfo()
		}
		if e != nil {
			err = fmt.Errorf("cuMemGetInfo: %w", e)
		}
		_ = d.ReleasePrimaryCtx()
	}()
	<-done
	return free, err
}

// usable returns the reason why a card cannot be used, or an empty string if it can.
func (d *Device) usable() string {
	less := func(a, b [2]int) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }
	switch {
	case less(d.Driver, NeedDriver):
		return fmt.Sprintf("the driver is too old: it supports CUDA %d.%d, the kernels need %d.%d", d.Driver[0], d.Driver[1], NeedDriver[0], NeedDriver[1])
	case less(d.Capability, NeedCapability):
		return fmt.Sprintf("compute capability %d.%d, the kernels need %d.%d (Ampere or later)", d.Capability[0], d.Capability[1], NeedCapability[0], NeedCapability[1])
	}
	return ""
}
