package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/sizes"
)

// checkCard refuses a run that does not fit the card, before the weights are
// read.
func checkCard(c *cli.Context, src *capture.Source, cfg capture.Config, plan *dumps.Plan) error {
	d := src.Device.Card
	if d == nil {
		return nil
	}
	cfg.Header.Plan = *plan
	need := capture.Estimate(&cfg, src.Config, 1)
	m := src.CardMemory(&need, plan)
	if m.Weights = min(m.Weights, src.MostCardWeights()); m.Total() <= d.Free {
		return nil
	}
	// Activations shrink with the chunk; weights, cache and sums do not.
	if m.Total()-m.Work <= d.Free {
		return nil
	}
	err := fmt.Errorf("--device %s: the run needs %s of the card's memory (weights %s, cache %s for %d positions, work %s, recording %s), %s of %s is free",
		src.Device.Name, sizes.Text(m.Total()), sizes.Text(m.Weights), sizes.Text(m.Cache), need.Positions, sizes.Text(m.Work), sizes.Text(m.Recording), sizes.Text(d.Free), sizes.Text(d.Memory))
	if src.Device.Auto {
		src.UseProcessor(err)
		return nil
	}
	hint := "shorten prompts with --max-prompt-tokens N --truncate middle, record fewer --layers, or use --device cpu"
	if c.String("compute") == "f32" || c.String("compute") == "" {
		hint = "--compute bf16 halves weights and cache; or " + hint
	}
	return hintf(err, "%s", hint)
}

func infoDevices(c *cli.Context) error {
	type device struct {
		Device     string `json:"device"`
		Usable     bool   `json:"usable"`
		About      string `json:"about"`
		Name       string `json:"name,omitempty"`
		Capability string `json:"compute_capability,omitempty"`
		Driver     string `json:"driver_cuda,omitempty"`
		Memory     int64  `json:"memory_bytes,omitempty"`
		Free       int64  `json:"free_bytes,omitempty"`
	}
	list := []device{{Device: "cpu", Usable: true, About: fmt.Sprintf("%s, %d threads, %s kernels", capture.Processor(), runtime.GOMAXPROCS(0), simd.Path())}}
	cards, why := cuda.Devices()
	if why != "" {
		list = append(list, device{Device: "cuda", About: why})
	}
	for i := range cards {
		d := &cards[i]
		out := device{
			Device: fmt.Sprintf("cuda:%d", d.Index), Usable: d.Why == "", About: d.Why, Name: d.Name, Memory: d.Memory, Free: d.Free,
			Capability: fmt.Sprintf("%d.%d", d.Capability[0], d.Capability[1]), Driver: fmt.Sprintf("%d.%d", d.Driver[0], d.Driver[1]),
		}
		if out.Usable {
			out.About = fmt.Sprintf("%s, %s of %s free, compute capability %s, driver for CUDA %s", d.Name, sizes.Text(d.Free), sizes.Text(d.Memory), out.Capability, out.Driver)
		} else {
			out.About = d.Name + ": " + d.Why
		}
		list = append(list, out)
	}
	if c.Bool("json") {
		return printJSON(c, list)
	}
	for _, d := range list {
		fmt.Fprintf(c.App.Writer, "%-7s %-4s %s\n", d.Device, map[bool]string{true: "yes", false: "no"}[d.Usable], d.About)
	}
	return nil
}
