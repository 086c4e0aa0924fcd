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
	if why := C.GoString(C.attnscope_cuda_why()); why != "" {
		return nil, strings.TrimSpace(why)
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, fmt.Sprintf("cuDeviceGetCount: %v", err)
	}
	if n == 0 {
		return nil, "the driver is installed, but it finds no card"
	}
	for i := range n {
		d, err := describe(i)
		if err != nil {
			d.Why = err.Error()
		}
		list = append(list, d)
	}
	return list, ""
}

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
	if out.Why == "" {
		out.Free, err = freeMemory(d)
	}
	return out, err
}

// freeMemory runs in its own thread, because the query needs a context.
func freeMemory(d cu.Device) (free int64, err error) {
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
