package model

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
)

// RopeKinds lists the supported kinds of rotation.
var RopeKinds = []string{"default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"}

// Rope is the rotary position encoding. Channel pair i of a head is rotated by the angle
// position*InvFreq[i]; cosines and sines are multiplied by Factor.
type Rope struct {
	Theta   float64
	Dim     int // rotated channels of a head
	Pairing cpu.Pairing
	Kind    string // one of RopeKinds
	InvFreq []float32
	Factor  float64
	// Positions is the number of positions that a stretched rotation reaches; 0 if the
	// rotation is not stretched or reaches MaxPositions.
	Positions int
	// Sequences longer than Original are rotated differently: longrope uses the
	// frequencies Long; dynamic uses a base that grows with the length, faster for a
	// larger Growth.
	Original int
	Long     []float32
	Growth   float64
	// Restart says that all keys are computed anew when a sequence grows longer than
	// Original (Phi-3). In other models with two lists of frequencies, keys stay as they are.
	Restart bool
}

// Restarts reports whether a reply that follows a prompt may make the model compute the
// keys of the prompt anew.
func (r *Rope) Restarts(prompt, reply int) bool {
	return r.Restart && !r.Varies(prompt) && r.Varies(prompt+reply)
}

// Varies reports whether sequences of this length are rotated differently from short
// ones.
func (r *Rope) Varies(length int) bool { return (r.Long != nil || r.Growth > 0) && length > r.Original }

// at returns the rotation of a sequence of the given length.
func (r *Rope) at(length int) *Rope {
	if !r.Varies(length) {
		return r
	}
	long := *r
	long.InvFreq = r.Long
	if r.Growth > 0 {
		ratio := float32(float32(r.Growth)*float32(length)) / float32(r.Original)
		grown := float64(ratio - float32(r.Growth-1))
		power := float32(float64(r.Dim) / float64(r.Dim-2))
		base := float32(r.Theta) * float32(math.Pow(grown, float64(power)))
		long.InvFreq = plainFreq(float64(base), r.Dim)
	}
	return &long
}

// readRopes reads the rotation of a model and the second rotation of layers with a
// sliding window, which is nil if they have none. Older configurations have rope_theta
// and rope_scaling; newer ones have rope_parameters, for all layers or by kind of
// layer; GGUF files have rope keys of their own. Of rope_scaling and rope_parameters,
// rope_scaling counts.
func readRopes(c *Config, f *fields) (Rope, *Rope) {
	if f.gguf() {
		return ggufRope(c, f), nil
	}
	if c.arch.LocalTheta > 0 {
		return readTwoRopes(c, f, f.object("rope_parameters"), f.object("rope_scaling"))
	}
	p := f.rotation()
	full := p.object(fullLayer)
	sliding := p.object(slidingLayer)
	if full == nil && sliding == nil {
		r := readRope(c, f, p)
		f.take(p)
		return r, nil
	}
	r := readLayersRope(c, f, full)
	if sliding == nil {
		return r, nil
	}
	return r, readLocalRope(c, f, sliding)
}

// rotation returns the object that describes the rotation: rope_scaling if it is there,
// else rope_parameters, else an empty one.
func (f *fields) rotation() *fields {
	p := f.object("rope_parameters")
	if old := f.object("rope_scaling"); old != nil && len(old.values) > 0 {
		p = old
		p.needRopeType()
	}
	if p == nil {
		p = &fields{source: f.source, values: map[string]any{}}
	}
	return p
}

// readTwoRopes reads the rotations of a family whose layers with a sliding window have
// their own. There, rope_scaling concerns the other layers alone.
func readTwoRopes(c *Config, f, p, old *fields) (Rope, *Rope) {
	var full, sliding *fields
	if p != nil && len(p.values) > 0 {
		full = p.object(fullLayer)
		sliding = p.object(slidingLayer)
		if full == nil && sliding == nil {
			p.bad(fullLayer, "missing", "the rotation of these layers, and that of "+slidingLayer)
		}
		f.take(p)
	}
	if full == nil {
		full = &fields{source: f.source, values: map[string]any{}}
	}
	if old != nil && len(old.values) > 0 {
		old.needRopeType()
		joined := maps.Clone(full.values)
		maps.Copy(joined, old.values)
		full = &fields{source: old.source, values: joined, err: old.err}
	}
	r := readLayersRope(c, f, full)
	theta := c.arch.LocalTheta
	if c.arch.LocalBase != "" {
		theta = f.number(c.arch.LocalBase, theta)
	}
	if sliding == nil {
		return r, plainRope(c, theta)
	}
	sliding.defaults = map[string]any{"rope_theta": theta}
	return r, readLocalRope(c, f, sliding)
}

// pairing returns how the rotation pairs channels.
func (c *Config) pairing() cpu.Pairing {
	if c.gguf {
		return c.arch.GGUFPairing
	}
	return c.arch.Pairing
}

// plainRope returns the rotation of whole heads by a base.
func plainRope(c *Config, theta float64) *Rope {
	return &Rope{Kind: "default", Factor: 1, Theta: theta, Dim: c.HeadDim, Pairing: c.pairing(), InvFreq: plainFreq(theta, c.HeadDim)}
}

// readLayersRope reads the rotation of the layers of one kind.
func readLayersRope(c *Config, f, p *fields) Rope {
	if p == nil {
		p = &fields{source: f.source, values: map[string]any{}}
	}
	p.nested = true
	r := readRope(c, f, p)
	f.take(p)
	return r
}

// needRopeType keeps an error if an object that scales the rotation does not say how.
func (f *fields) needRopeType() {
	if f.text("rope_type", f.text("type", "")) == "" && f.object(fullLayer) == nil {
		f.bad("rope_type", "missing", "one of "+strings.Join(RopeKinds, ", "))
	}
}

// ropeIgnored lists the fields of a rotation that may be left unread: those of other
// kinds, which transformers ignores too, and what describes the training.
var ropeIgnored = []string{
	"rope_theta", "rope_type", "type", "partial_rotary_factor", "factor", "original_max_position_embeddings", "attention_factor",
	"beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor", "low_freq_factor", "high_freq_factor", "finetuned",
	fullLayer, slidingLayer,
}

// readLocalRope reads the rotation of layers with a sliding window. It may not depend on
// the length of the sequence.
func readLocalRope(c *Config, f, p *fields) *Rope {
	r := readLayersRope(c, f, p)
	if r.Long != nil || r.Growth > 0 {
		p.bad("rope_type", r.Kind, "default, linear, llama3 or yarn in layers with a sliding window")
		f.take(p)
	}
	return &r
}

// readRope reads one rotation from p, and fields that are missing in p from f.
func readRope(c *Config, f, p *fields) Rope {
	r := Rope{Factor: 1, Pairing: c.pairing()}
	r.Theta = p.number("rope_theta", f.number("rope_theta", 10000))
	partial := p.number("partial_rotary_factor", f.number("partial_rotary_factor", c.rotated(f)))
	r.Kind = p.text("rope_type", p.text("type", "default"))
	if r.Kind == "mrope" && slices.Contains(c.arch.RopeKeys, "mrope_section") {
		r.Kind = "default"
	}
	if c.arch.RestartRope && r.Kind == "yarn" {
		r.Kind = "longrope" // transformers renames it in Phi-3
	}
	if r.Kind == "proportional" {
		r.proportional(c, p, partial)
		p.checkRope(c.arch.RopeKeys)
		return r
	}
	if !c.arch.PartialRope && partial != 1 {
		if r.Kind != "default" {
			p.bad("partial_rotary_factor", partial, "1 in a "+c.Architecture+" model with this rope_type")
		}
		partial = 1 // as in transformers
	}
	r.Dim = int(float64(c.HeadDim) * partial)
	if f.err != nil || p.err != nil {
		return r
	}
	if r.Theta <= 0 {
		f.bad("rope_theta", r.Theta, "a positive number")
		return r
	}
	if r.Dim < 2 {
		f.bad("partial_rotary_factor", partial, fmt.Sprintf("enough to rotate two of a head's %d channels", c.HeadDim))
		return r
	}
	r.InvFreq = plainFreq(r.Theta, r.Dim)
	r.adjust(c, f, p)
	p.checkRope(c.arch.RopeKeys)
	return r
}

// rotated returns the part of a head's channels that rotary_dim states, or 1.
func (c *Config) rotated(f *fields) float64 {
	if !c.arch.RotaryDim {
		return 1
	}
	return float64(f.count("rotary_dim", c.HeadDim, 2)) / float64(c.HeadDim)
}

// checkRope keeps an error that names the first field of a rotation that is not known:
// own lists those that the family reads or may ignore.
func (f *fields) checkRope(own []string) {
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if f.err == nil && f.values[key] != nil && !slices.Contains(ropeIgnored, key) && !slices.Contains(own, key) {
			f.err = fmt.Errorf("%s: %s is %s, which is not understood and may change the rotation", f.source, key, jsonText(f.values[key]))
		}
	}
}

// ggufRope reads the rotation of a GGUF file; ropeTensors adds the factors that are
// stored as tensors.
func ggufRope(c *Config, f *fields) Rope {
	r := Rope{Kind: "default", Factor: 1, Theta: f.number("rope.freq_base", 10000), Pairing: c.pairing()}
	r.Dim = f.count("rope.dimension_count", c.HeadDim, 2)
	if f.err != nil {
		return r
	}
	r.InvFreq = plainFreq(r.Theta, r.Dim)
	factor := "rope.scaling.factor"
	if _, given := f.get(factor); !given {
		factor = "rope.scale_linear" // the name in files of 2023
	}
	kind := "none"
	if f.number(factor, 0) != 0 { // as in llama.cpp, a factor without a type is linear
		kind = "linear"
	}
	switch kind = f.text("rope.scaling.type", kind); kind {
	case "none", "":
	case "linear":
		r.Kind = kind
		scale(r.InvFreq, f.positive(factor, 1))
	case "longrope":
		r.Kind = kind
	case "yarn":
		r.Kind = kind
		p := &fields{source: f.source, prefix: f.prefix, values: f.values, asked: f.asked, keys: map[string]string{
			"factor": factor, "original_max_position_embeddings": "rope.scaling.original_context_length",
			"attention_factor": "rope.scaling.yarn_attn_factor", "beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow",
		}}
		if c.arch.YarnMultiplier {
			p.keys["mscale_all_dim"] = "rope.scaling.yarn_log_multiplier"
			p.defaults = map[string]any{"mscale": 1.0}
		}
		if c.arch.WholeYarn {
			p.defaults = map[string]any{"truncate": false}
		}
		r.yarn(p, p.number("original_max_position_embeddings", float64(c.MaxPositions)))
		f.take(p)
		if ext := f.number("rope.scaling.yarn_ext_factor", 1); ext != 1 {
			f.bad("rope.scaling.yarn_ext_factor", ext, "1")
		}
		r.Factor *= f.number("rope.scaling.attn_factor", 1)
	default:
		f.bad("rope.scaling.type", kind, "none, linear, yarn or longrope")
	}
	return r
}

// ropeTensors reads the factors of frequencies that GGUF files keep as tensors: one per
// frequency (llama3), or two lists (longrope). If only the headers are there, the
// frequencies stay as they are.
func (c *Config) ropeTensors(ck *checkpoint.Checkpoint, f *fields) error {
	r := &c.Rope
	read := func(name string) ([]float32, error) {
		t, ok := ck.Tensor(name)
		if !ok {
			return nil, nil
		}
		if ck.HeadersOnly() && t.Elements() == len(r.InvFreq) {
			return r.InvFreq, nil
		}
		v, err := t.Float32()
		if err == nil && len(v) != len(r.InvFreq) {
			err = fmt.Errorf("tensor %s has %d elements, want %d", name, len(v), len(r.InvFreq))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ck.Path(), err)
		}
		out := make([]float32, len(v))
		for i, x := range v {
			if out[i] = r.InvFreq[i] / x; !(x > 0) {
				return nil, fmt.Errorf("%s: tensor %s: element %d is %v, want a positive number", ck.Path(), name, i, x)
			}
		}
		return out, nil
	}
	freqs, err := read("rope_freqs.weight")
	if err != nil {
		return err
	}
	short, err := read("rope_factors_short.weight")
	if err != nil {
		return err
	}
	long, err := read("rope_factors_long.weight")
	if err != nil {
		return err
	}
	if freqs != nil {
		r.Kind = "llama3"
		r.InvFreq = freqs
	}
	if short != nil && long != nil {
		r.Kind = "longrope"
		r.InvFreq = short
		r.Long = long
		r.Restart = c.arch.RestartRope
		r.Original = f.count("rope.scaling.original_context_length", c.MaxPositions, 1)
		r.Factor = f.number("rope.scaling.attn_factor", 1)
	} else if r.Kind == "longrope" {
		return fmt.Errorf("%s: rope.scaling.type is longrope, but there is no tensor rope_factors_long.weight or rope_factors_short.weight", ck.Path())
	}
	return f.err
}

// powers returns the base to the power of 2i/dim for each pair of channels i. Like all
// arithmetic of frequencies in this file it rounds to float32 wherever transformers does:
// at position 30,000, frequencies that are more precise change weights by 1e-3.
func powers(theta float64, dim int) []float32 {
	out := make([]float32, dim/2)
	for i := range out {
		out[i] = float32(math.Pow(float64(float32(theta)), float64(float32(2*i)/float32(dim))))
	}
	return out
}

// plainFreq returns the frequencies of a base without scaling.
func plainFreq(theta float64, dim int) []float32 {
	inv := powers(theta, dim)
	for i, p := range inv {
		inv[i] = 1 / p
	}
	return inv
}

func scale(inv []float32, factor float64) {
	for i := range inv {
		inv[i] /= float32(factor)
	}
}

// adjust applies the scaling of the rotation's kind.
func (r *Rope) adjust(c *Config, f, p *fields) {
	switch r.Kind {
	case "default", "":
		r.Kind = "default"
	case "linear":
		scale(r.InvFreq, p.positive("factor", 0))
	case "dynamic":
		if slices.Contains(c.arch.RopeKeys, "alpha") && r.stretch(p) {
			return
		}
		r.Growth = p.positive("factor", 0)
		r.Original = max(1, c.MaxPositions)
		r.Positions = int(r.Growth * float64(r.Original))
		if r.Dim < 4 {
			p.bad("rope_type", "dynamic", "another kind if only two channels are rotated")
		}
	case "llama3":
		r.llama3(p, originalLength(c, f, p))
	case "yarn":
		r.yarn(p, originalLength(c, f, p))
	case "longrope", "su":
		r.longrope(c, p, originalLength(c, f, p))
	default:
		if f.err == nil {
			f.err = fmt.Errorf("%s: rope_type %q is not supported; these are: %s", p.source, r.Kind, strings.Join(RopeKinds, ", "))
		}
	}
}

// proportional gives the channels of a whole head frequencies, and makes those after the
// rotated part 0 (Gemma 4).
func (r *Rope) proportional(c *Config, p *fields, partial float64) {
	r.Dim = c.HeadDim
	scale := p.positive("factor", 1)
	if r.Theta <= 0 {
		p.bad("rope_theta", r.Theta, "a positive number")
	}
	if partial <= 0 || partial > 1 {
		p.bad("partial_rotary_factor", partial, "a number above 0, at most 1")
	}
	if p.err != nil {
		return
	}
	r.InvFreq = plainFreq(r.Theta, r.Dim)
	for i := range r.InvFreq {
		r.InvFreq[i] /= float32(scale)
	}
	clear(r.InvFreq[int(partial*float64(r.Dim))/2:])
}

// stretch makes the base larger by a factor that alpha states, and reports whether it is
// stated (Hunyuan).
func (r *Rope) stretch(p *fields) bool {
	alpha := p.number("alpha", 0)
	if alpha == 0 {
		return false
	}
	if alpha < 0 || r.Dim < 4 {
		p.bad("alpha", alpha, "a number above 0, and four rotated channels")
		return true
	}
	r.Theta *= math.Pow(alpha, float64(r.Dim)/float64(r.Dim-2))
	r.InvFreq = plainFreq(r.Theta, r.Dim)
	return true
}

// originalLength returns the number of positions before the rotation was stretched. The
// configuration's own field takes precedence over that of the rotation, unless layers
// have rotations of their own.
func originalLength(c *Config, f, p *fields) float64 {
	const name = "original_max_position_embeddings"
	n := p.number(name, float64(c.MaxPositions))
	if !p.nested {
		n = f.number(name, n)
	}
	if n <= 0 {
		p.bad(name, n, "a number above 0")
	}
	return n
}

// llama3 divides the low frequencies by a factor, leaves the high ones unchanged, and
// blends in between (the rule of Llama 3.1).
func (r *Rope) llama3(p *fields, original float64) {
	factor := float32(p.positive("factor", 0))
	low := p.positive("low_freq_factor", 0)
	high := p.positive("high_freq_factor", 0)
	if p.err == nil && low == high {
		p.bad("high_freq_factor", high, "another number than low_freq_factor")
	}
	for i, inv := range r.InvFreq {
		wave := float32(2*math.Pi) / inv
		switch {
		case wave > float32(original/low):
			r.InvFreq[i] = inv / factor
		case wave >= float32(original/high):
			smooth := (float32(original)/wave - float32(low)) / float32(high-low)
			r.InvFreq[i] = float32((1-smooth)*inv)/factor + float32(smooth*inv)
		}
	}
}

// yarn interpolates the low frequencies and keeps the high ones (arXiv:2309.00071).
func (r *Rope) yarn(p *fields, original float64) {
	factor := p.positive("factor", 0)
	r.Positions = int(factor * original)
	fast := orDefault(p.number("beta_fast", 0), 32)
	slow := orDefault(p.number("beta_slow", 0), 1)
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
	for i, power := range powers(r.Theta, r.Dim) {
		ramp := min(1, max(0, (float32(i)-float32(lo))/float32(hi-lo)))
		keep := 1 - ramp
		r.InvFreq[i] = float32(1/float32(float32(factor)*power)*(1-keep)) + float32(1/power*keep)
	}
	if m, all := p.number("mscale", 0), p.number("mscale_all_dim", 0); m != 0 && all != 0 {
		r.Factor = yarnScale(factor, m) / yarnScale(factor, all)
	} else {
		r.Factor = yarnScale(factor, 1)
	}
	r.Factor = p.number("attention_factor", r.Factor)
}

// yarnScale is what yarn multiplies queries and keys by, for a rotation that is stretched
// by a factor.
func yarnScale(factor, m float64) float64 {
	if factor <= 1 {
		return 1
	}
	return float64(0.1*m*math.Log(factor)) + 1
}

// orDefault returns x, or def if x is 0.
func orDefault(x, def float64) float64 {
	if x == 0 {
		return def
	}
	return x
}

// longrope divides each frequency by its own factor, from one list for sequences up to
// the original length and from another list for longer sequences (Phi-3).
func (r *Rope) longrope(c *Config, p *fields, original float64) {
	short := p.floats("short_factor", len(r.InvFreq))
	long := p.floats("long_factor", len(r.InvFreq))
	if p.err != nil {
		return
	}
	r.Original = int(original)
	r.Long = make([]float32, len(r.InvFreq))
	for i, power := range powers(r.Theta, r.Dim) {
		r.InvFreq[i] = 1 / float32(float32(short[i])*power)
		r.Long[i] = 1 / float32(float32(long[i])*power)
	}
	factor := p.number("factor", float64(c.MaxPositions)/original)
	if factor > 1 {
		r.Factor = math.Sqrt(1 + math.Log(factor)/math.Log(original))
	}
	r.Factor = p.number("attention_factor", r.Factor)
}

// turns holds the cosines and sines of n positions, [n, half] each. If half is 0,
// nothing is rotated.
type turns struct {
	cos, sin []float32
	half     int
	pairing  cpu.Pairing
	query    []float32 // factors of the queries, [n]; nil: 1
}

// add appends the turns of later positions.
func (t *turns) add(more turns) {
	t.cos = append(t.cos, more.cos...)
	t.sin = append(t.sin, more.sin...)
	t.half = more.half
	t.pairing = more.pairing
}

// turns returns the turns of positions pos0 to pos0+n-1.
func (r *Rope) turns(pos0, n int) turns {
	cos, sin := r.tables(pos0, n)
	return turns{cos: cos, sin: sin, half: len(r.InvFreq), pairing: r.Pairing}
}

// tables returns the cosines and sines of positions pos0 to pos0+n-1, each
// [n, Dim/2]. The angle is rounded to float32 first, as the reference does.
func (r *Rope) tables(pos0, n int) (cos, sin []float32) {
	half := len(r.InvFreq)
	cos = make([]float32, n*half)
	sin = make([]float32, n*half)
	for i := range n {
		for j, f := range r.InvFreq {
			angle := float64(float32(pos0+i) * f)
			cos[i*half+j] = float32(math.Cos(angle)) * float32(r.Factor)
			sin[i*half+j] = float32(math.Sin(angle)) * float32(r.Factor)
		}
	}
	return cos, sin
}

// rotations holds the turns of a range of positions for each rotation of a model.
type rotations struct {
	of    map[*Rope]turns
	query []float32 // factors of the queries, [n]; nil: 1
	still bool      // only the queries of layers that are not rotated have factors
}

// rotations returns the turns of positions pos0 to pos0+n-1 in a sequence of length
// tokens.
func (c *Config) rotations(length, pos0, n int) rotations {
	r := rotations{of: map[*Rope]turns{}, query: c.queryFactors(pos0, n), still: c.QueryFromOne}
	for _, rope := range c.ropes() {
		r.of[rope] = rope.at(length).turns(pos0, n)
	}
	return r
}

// add appends the turns of later positions.
func (r *rotations) add(more rotations) {
	r.query = append(r.query, more.query...)
	r.still = more.still
	for rope, t := range more.of {
		all := r.of[rope]
		all.add(t)
		r.of[rope] = all
	}
}

// queryFactors returns the factors of the queries at positions pos0 to pos0+n-1, or nil
// if they are 1. They are rounded as in transformers.
func (c *Config) queryFactors(pos0, n int) []float32 {
	if c.QueryGrowth == 0 {
		return nil
	}
	if c.QueryFromOne {
		pos0++
	}
	out := make([]float32, n)
	for i := range out {
		log := float32(math.Log1p(math.Floor(float64(pos0+i) / float64(c.QueryFrom))))
		out[i] = 1 + float32(float32(c.QueryGrowth)*log)
	}
	return out
}

// layer returns the turns of a layer.
func (r *rotations) layer(s *LayerShape) turns {
	t := r.of[s.Rope]
	if !r.still || s.Rope == nil {
		t.query = r.query
	}
	return t
}
