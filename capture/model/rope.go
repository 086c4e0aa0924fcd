package model

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/capture/cpu"
)

// RopeKinds are the kinds that can be run.
var RopeKinds = []string{"default", "linear", "llama3", "yarn", "longrope"}

// Rope is the rotary position encoding: channel pair i of a head turns by
// position * InvFreq[i]; cosines and sines are multiplied by Factor.
type Rope struct {
	Theta   float64
	Dim     int // rotated channels of a head
	Pairing cpu.Pairing
	Kind    string // default, linear, llama3, yarn, longrope
	InvFreq []float64
	Factor  float64
	// Long, for longrope, replaces InvFreq past Original positions.
	Long     []float64
	Original int
}

// readRope reads rope_theta and rope_scaling, or rope_parameters as newer
// configurations call both, or GGUF's rope keys.
func readRope(c *Config, f *fields) Rope {
	r := Rope{Kind: "default", Factor: 1}
	if c.gguf {
		r.Theta = f.number("rope.freq_base", 10000)
		r.Dim = f.count("rope.dimension_count", c.HeadDim, 2)
		r.Pairing = c.arch.GGUFPairing
		if kind := f.text("rope.scaling.type", "none"); kind == "linear" {
			r.Kind = kind
			r.InvFreq = plainFreq(r.Theta, r.Dim)
			scale(r.InvFreq, f.number("rope.scaling.factor", 1))
			return r
		} else if kind != "none" && kind != "" {
			f.bad("rope.scaling.type", kind, "none or linear")
		}
		r.InvFreq = plainFreq(r.Theta, r.Dim)
		return r
	}
	p := f.object("rope_parameters")
	if p == nil {
		p = f.object("rope_scaling")
	}
	r.Theta = f.number("rope_theta", 10000)
	partial := f.number("partial_rotary_factor", 1)
	if p != nil {
		r.Theta = p.number("rope_theta", r.Theta)
		partial = p.number("partial_rotary_factor", partial)
		r.Kind = p.text("rope_type", p.text("type", "default"))
	}
	r.Dim = int(float64(c.HeadDim) * partial)
	if f.err == nil && (r.Theta <= 0 || r.Dim < 2) {
		f.bad("rope_theta", r.Theta, "a positive number")
		return r
	}
	r.InvFreq = plainFreq(r.Theta, r.Dim)
	if p != nil {
		r.adjust(c, f, p)
		if p.err != nil && f.err == nil {
			f.err = p.err
		}
	}
	return r
}

func plainFreq(theta float64, dim int) []float64 {
	inv := make([]float64, dim/2)
	for i := range inv {
		inv[i] = 1 / math.Pow(theta, float64(2*i)/float64(dim))
	}
	return inv
}

func scale(inv []float64, factor float64) {
	for i := range inv {
		inv[i] /= factor
	}
}

func (r *Rope) adjust(c *Config, f, p *fields) {
	switch r.Kind {
	case "default", "":
		r.Kind = "default"
	case "linear":
		scale(r.InvFreq, p.number("factor", 1))
	case "llama3":
		r.llama3(p)
	case "yarn":
		r.yarn(c, p)
	case "longrope", "su":
		r.longrope(c, f, p)
	default:
		if f.err == nil {
			f.err = fmt.Errorf("%s: rope_type %q is not supported; default, linear, llama3, yarn and longrope are", p.source, r.Kind)
		}
	}
}

// llama3 slows the long waves by factor, leaves the short ones, and blends
// between (Llama 3.1's rule).
func (r *Rope) llama3(p *fields) {
	factor, low, high := p.number("factor", 8), p.number("low_freq_factor", 1), p.number("high_freq_factor", 4)
	original := p.number("original_max_position_embeddings", 8192)
	for i, inv := range r.InvFreq {
		wave := 2 * math.Pi / inv
		switch {
		case wave > original/low:
			r.InvFreq[i] = inv / factor
		case wave >= original/high:
			smooth := (original/wave - low) / (high - low)
			r.InvFreq[i] = (1-smooth)*inv/factor + smooth*inv
		}
	}
}

// yarn interpolates the long waves and keeps the short ones (arXiv 2309.00071).
func (r *Rope) yarn(c *Config, p *fields) {
	factor := p.number("factor", 1)
	original := p.number("original_max_position_embeddings", float64(c.MaxPositions))
	fast, slow := p.number("beta_fast", 32), p.number("beta_slow", 1)
	dim := float64(r.Dim)
	at := func(turns float64) float64 {
		return dim * math.Log(original/(turns*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	lo, hi := at(fast), at(slow)
	if p.flag("truncate", true) {
		lo, hi = math.Floor(lo), math.Ceil(hi)
	}
	lo, hi = math.Max(lo, 0), math.Min(hi, dim-1)
	if lo == hi {
		hi += 0.001
	}
	for i, inv := range r.InvFreq {
		ramp := math.Min(1, math.Max(0, (float64(i)-lo)/(hi-lo)))
		r.InvFreq[i] = inv/factor*ramp + inv*(1-ramp)
	}
	mscale := func(m float64) float64 {
		if factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(factor) + 1
	}
	if m, all := p.number("mscale", 0), p.number("mscale_all_dim", 0); m > 0 && all > 0 {
		r.Factor = mscale(m) / mscale(all)
	} else {
		r.Factor = mscale(1)
	}
	r.Factor = p.number("attention_factor", r.Factor)
}

// longrope divides every wave by a factor of its own, of one list up to the
// original length and of another past it (Phi-3).
func (r *Rope) longrope(c *Config, f, p *fields) {
	r.Original = p.count("original_max_position_embeddings", f.count("original_max_position_embeddings", c.MaxPositions, 1), 1)
	short, long := p.floats("short_factor", len(r.InvFreq)), p.floats("long_factor", len(r.InvFreq))
	if p.err != nil {
		return
	}
	r.Long = append([]float64(nil), r.InvFreq...)
	for i := range r.InvFreq {
		r.InvFreq[i] /= short[i]
		r.Long[i] /= long[i]
	}
	factor := p.number("factor", float64(c.MaxPositions)/float64(r.Original))
	if factor > 1 {
		r.Factor = math.Sqrt(1 + math.Log(factor)/math.Log(float64(r.Original)))
	}
	r.Factor = p.number("attention_factor", r.Factor)
}

// floats reads a list of n numbers.
func (f *fields) floats(name string, n int) []float64 {
	v, _ := f.get(name)
	list, ok := v.([]any)
	if !ok || len(list) != n {
		f.bad(name, fmt.Sprintf("a list of %d", len(list)), fmt.Sprintf("%d numbers", n))
		return nil
	}
	out := make([]float64, n)
	for i, x := range list {
		one := fields{source: f.source, values: map[string]any{name: x}}
		if out[i] = one.number(name, 0); out[i] == 0 {
			f.bad(name, x, "positive numbers")
		}
	}
	return out
}

// turns are the cosines and sines of some positions, [n, half] each; half 0
// turns nothing.
type turns struct {
	cos, sin []float32
	half     int
}

func (r *Rope) turns(pos0, n int) turns {
	cos, sin := r.tables(pos0, n)
	return turns{cos, sin, len(r.InvFreq)}
}

// tables returns cosines and sines of positions pos0 to pos0+n-1, each
// [n, Dim/2]. The angle is rounded to float32 first, as the reference does.
func (r *Rope) tables(pos0, n int) (cos, sin []float32) {
	half := len(r.InvFreq)
	cos, sin = make([]float32, n*half), make([]float32, n*half)
	inv := r.InvFreq
	if r.Long != nil && pos0+n > r.Original {
		inv = r.Long
	}
	for i := range n {
		for j, f := range inv {
			angle := float64(float32(pos0+i) * float32(f))
			cos[i*half+j] = float32(math.Cos(angle) * r.Factor)
			sin[i*half+j] = float32(math.Sin(angle) * r.Factor)
		}
	}
	return cos, sin
}
