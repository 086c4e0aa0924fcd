package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/sizes"
)

type deviceInfo struct {
	Device     string `json:"device"`
	Usable     bool   `json:"usable"`
	About      string `json:"about"`
	Name       string `json:"name,omitempty"`
	Capability string `json:"compute_capability,omitempty"`
	Driver     string `json:"driver_cuda,omitempty"`
	Memory     int64  `json:"memory_bytes,omitempty"`
	Free       int64  `json:"free_bytes,omitempty"`
}

// infoDevices is info --devices.
func infoDevices(c *cli.Context) error {
	processor := fmt.Sprintf("%s, %s, %s", model.Processor(), count(runtime.GOMAXPROCS(0), "thread"), simd.Features())
	list := []deviceInfo{{Device: "cpu", Usable: true, About: processor}}
	cards, why := cuda.Devices()
	if why != "" {
		list = append(list, deviceInfo{Device: "cuda", About: why})
	}
	for i := range cards {
		list = append(list, describeCard(&cards[i]))
	}
	if c.Bool("json") {
		return printJSON(c, list)
	}
	for _, d := range list {
		usable := "no"
		if d.Usable {
			usable = "yes"
		}
		fmt.Fprintf(c.App.Writer, "%-7s %-4s %s\n", d.Device, usable, d.About)
	}
	return nil
}

func describeCard(d *cuda.Device) deviceInfo {
	info := deviceInfo{
		Device: fmt.Sprintf("cuda:%d", d.Index), Usable: d.Why == "", Name: d.Name, Memory: d.Memory, Free: d.Free,
		Capability: fmt.Sprintf("%d.%d", d.Capability[0], d.Capability[1]),
		Driver:     fmt.Sprintf("%d.%d", d.Driver[0], d.Driver[1]),
	}
	if !info.Usable {
		info.About = d.Name + ": " + d.Why
		return info
	}
	info.About = fmt.Sprintf("%s, %s of %s free, compute capability %s, driver for CUDA %s",
		d.Name, sizes.Text(d.Free), sizes.Text(d.Memory), info.Capability, info.Driver)
	return info
}
