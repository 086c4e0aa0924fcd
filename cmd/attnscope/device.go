package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/sizes"
)

// device is where a model runs.
type device struct {
	name string       // cpu, or cuda:i
	card *cuda.Device // nil: the processor
	auto bool         // chosen, not asked for: what the card cannot do runs on the processor
}

// pickDevice reads --device. auto is the first card that can be used, else the
// processor.
func pickDevice(c *cli.Context) (device, error) {
	name := c.String("device")
	if name == "" || name == "cpu" {
		return device{name: "cpu"}, nil
	}
	if name == "auto" {
		list, why := cuda.Devices()
		for i := range list {
			if list[i].Why == "" {
				return device{fmt.Sprintf("cuda:%d", list[i].Index), &list[i], true}, nil
			}
			why = cardName(&list[i]) + ": " + list[i].Why
		}
		if cuda.Built {
			notef(c, "no card is used (%s): running on the processor", why)
		}
		return device{name: "cpu", auto: true}, nil
	}
	i, _, err := model.ParseDevice(name)
	if err != nil {
		return device{}, usagef("--device %q: want auto, cpu or cuda[:i]", name)
	}
	list, why := cuda.Devices()
	switch {
	case why != "":
	case i >= len(list):
		why = fmt.Sprintf("there is no card %d: the driver has %d, from 0", i, len(list))
	case list[i].Why != "":
		why = cardName(&list[i]) + ": " + list[i].Why
	default:
		return device{fmt.Sprintf("cuda:%d", i), &list[i], false}, nil
	}
	return device{}, hintf(fmt.Errorf("--device %s: %s", name, why), "--device cpu runs on the processor; attnscope info --devices lists what there is")
}

func cardName(d *cuda.Device) string { return fmt.Sprintf("card %d (%s)", d.Index, d.Name) }

// load brings the weights into memory, of the card or the processor.
func (e *engine) load(c *cli.Context) (err error) {
	o := model.Options{Threads: c.Int("threads"), Compute: c.String("compute"), Device: e.device.name, Log: func(line string) { notef(c, "%s", line) }}
	e.model, err = model.Load(e.ck, o)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // weights and cache lie outside the heap; sums and waiting blocks do not
	}
	var unsupported *cuda.UnsupportedError
	if errors.As(err, &unsupported) {
		if !e.device.auto {
			return hintf(err, "--device cpu runs it on the processor")
		}
		notef(c, "%v: running on the processor", err)
		e.device = device{name: "cpu", auto: true}
		o.Device = "cpu"
		e.model, err = model.Load(e.ck, o)
	}
	return err
}

// cardNeed is what a run takes of a card's memory.
func cardNeed(c *cli.Context, e *engine, need *capture.Need, plan *dumps.Plan) cuda.Memory {
	summed := len(plan.Layers)
	if plan.NoPromptSums {
		summed = 0
	}
	return e.config.CardMemory(c.String("compute"), need.Positions, summed, len(plan.Heads))
}

// checkCard refuses a run that does not fit the card, before the weights are
// read.
func checkCard(c *cli.Context, e *engine, cfg capture.Config, plan *dumps.Plan) error {
	d := e.device.card
	if d == nil {
		return nil
	}
	cfg.Header.Plan = *plan
	need := capture.Estimate(&cfg, e.config, 1)
	m := cardNeed(c, e, &need, plan)
	if m.Weights = min(m.Weights, widestBytes(e)); m.Total() <= d.Free {
		return nil
	}
	// Activations shrink with the chunk; weights, cache and sums do not.
	if m.Total()-m.Work <= d.Free {
		return nil
	}
	err := fmt.Errorf("--device %s: the run needs %s of the card's memory (weights %s, cache %s for %d positions, work %s, recording %s), %s of %s is free",
		e.device.name, sizes.Text(m.Total()), sizes.Text(m.Weights), sizes.Text(m.Cache), need.Positions, sizes.Text(m.Work), sizes.Text(m.Recording), sizes.Text(d.Free), sizes.Text(d.Memory))
	if e.device.auto {
		notef(c, "%v: running on the processor", err)
		e.device = device{name: "cpu", auto: true}
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
	list := []device{{Device: "cpu", Usable: true, About: fmt.Sprintf("%s, %d threads, %s kernels", hostProcessor(), runtime.GOMAXPROCS(0), simd.Path())}}
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

// widestBytes bounds the weights on a card from above: bfloat16 matrices stay
// so, all else becomes float32.
func widestBytes(e *engine) int64 {
	var n int64
	for _, name := range e.ck.Names() {
		t, _ := e.ck.Tensor(name)
		size := int64(4)
		if t.DType == tensor.BF16 && len(t.Shape) == 2 {
			size = 2
		}
		n += size * int64(t.Elements())
	}
	return n
}
