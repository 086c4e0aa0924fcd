package view

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// params reads the parameters of a request. It keeps the first error.
type params struct {
	values url.Values
	err    error
}

// fail records that a parameter is not what was expected.
func (p *params) fail(name, want string) {
	p.failWith(fmt.Errorf("%s=%q: want %s", name, p.values.Get(name), want))
}

func (p *params) failWith(err error) {
	if p.err == nil {
		p.err = err
	}
}

// int reads a number from lo to hi; a missing one is fallback.
func (p *params) int(name string, fallback, lo, hi int) int {
	text := p.values.Get(name)
	if text == "" {
		return fallback
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < lo || v > hi {
		p.fail(name, fmt.Sprintf("a number from %d to %d", lo, hi))
		return fallback
	}
	return v
}

// float reads a number from lo to hi; a missing one is fallback.
func (p *params) float(name string, fallback, lo, hi float64) float64 {
	text := p.values.Get(name)
	if text == "" {
		return fallback
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= lo && v <= hi) {
		p.fail(name, fmt.Sprintf("a number from %g to %g", lo, hi))
		return fallback
	}
	return v
}

// ints reads numbers from lo to hi, separated by commas.
func (p *params) ints(name string, fallback []int, lo, hi int) []int {
	const most = 64
	want := fmt.Sprintf("up to %d numbers from %d to %d", most, lo, hi)
	return p.list(name, fallback, most, want, func(v int) bool { return v >= lo && v <= hi })
}

// list reads at most a number of integers that satisfy valid.
func (p *params) list(name string, fallback []int, most int, want string, valid func(v int) bool) []int {
	text := p.values.Get(name)
	if text == "" {
		return fallback
	}
	var list []int
	for _, part := range strings.SplitN(text, ",", most+1) {
		v, err := strconv.Atoi(part)
		if err != nil || len(list) == most || !valid(v) {
			p.fail(name, want)
			return fallback
		}
		list = append(list, v)
	}
	return list
}

// flag reads 0 or 1.
func (p *params) flag(name string) bool { return p.int(name, 0, 0, 1) == 1 }

// choice reads one of some words; the first is the default.
func (p *params) choice(name string, words ...string) string {
	text := p.values.Get(name)
	if text == "" {
		return words[0]
	}
	if !slices.Contains(words, text) {
		p.fail(name, "one of "+strings.Join(words, ", "))
		return words[0]
	}
	return text
}

// choose reads one of the values of a type; the first is the default.
func choose[T ~string](p *params, name string, values []T) T {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return T(p.choice(name, words...))
}

// kernel reads the number of positions that votes are pooled over.
func (p *params) kernel(fallback int) int {
	k := p.int("kernel", fallback, 1, 9999)
	if k%2 == 0 {
		p.fail("kernel", "an odd number")
	}
	return k
}

func (p *params) pooling() snapkv.Pooling { return choose(p, "pooling", snapkv.Poolings()) }

// layers reads recorded layers, each at most once; nil if none are named.
func (p *params) layers(recorded []int) []int {
	left := slices.Clone(recorded)
	want := fmt.Sprintf("recorded layers, each at most once, of %v", recorded)
	return p.list("layers", nil, len(recorded), want, func(v int) bool {
		i := slices.Index(left, v)
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
		return true
	})
}

// promptQuery names a prompt of a capture, both by index.
type promptQuery struct{ capture, prompt int }

// readPrompt reads c and p.
func (s *Server) readPrompt(p *params) promptQuery {
	capture := p.int("c", 0, 0, len(s.captures)-1)
	prompts := s.captures[capture].Prompts()
	return promptQuery{capture, p.int("p", 0, 0, len(prompts)-1)}
}

// readPlace reads c, p and layer.
func (s *Server) readPlace(p *params) place {
	q := s.readPrompt(p)
	layers := s.captures[q.capture].Header().Plan.Layers
	layer := p.int("layer", layers[0], 0, math.MaxInt32)
	if !slices.Contains(layers, layer) {
		p.fail("layer", fmt.Sprintf("one of the recorded layers %v", layers))
	}
	return place{q.capture, q.prompt, layer}
}

// headQuery names a head of a layer.
type headQuery struct {
	at   place
	head int // index among the recorded heads, or digest.AllHeads
}

// readHead reads c, p, layer and head.
func (s *Server) readHead(p *params) headQuery {
	at := s.readPlace(p)
	heads := s.header(at).HeadsOf(at.layer)
	id := p.int("head", digest.AllHeads, digest.AllHeads, math.MaxInt32)
	if id == digest.AllHeads {
		return headQuery{at, digest.AllHeads}
	}
	index := slices.Index(heads, id)
	if index < 0 {
		p.fail("head", fmt.Sprintf("one of the recorded heads %v, or %d for their mean", heads, digest.AllHeads))
		index = 0
	}
	return headQuery{at, index}
}

// layerQuery names one or several layers, and the prompts that they are rated on.
type layerQuery struct {
	at      place // of the single layer, and of the first prompt
	layers  []int // nil: the layer of at alone
	prompts []int // indices
}

// readLayers reads c, p, layer and layers. p=all means all prompts that have a reply and
// are longer than the default window, as in the tables. If there are none, it means all
// that have a reply, or the first prompt if none has one.
func (s *Server) readLayers(p *params) layerQuery {
	all := p.values.Get("p") == "all"
	if all {
		p.values.Set("p", "0")
	}
	q := layerQuery{at: s.readPlace(p)}
	q.layers = p.layers(s.header(q.at).Plan.Layers)
	for _, window := range []int{analysis.Paper.Windows[0], 0} {
		for i, prompt := range s.captures[q.at.capture].Prompts() {
			if all && prompt.ReplyTokens > 0 && prompt.PromptTokens > window {
				q.prompts = append(q.prompts, i)
			}
		}
		if len(q.prompts) > 0 {
			return q
		}
	}
	q.prompts = []int{q.at.prompt}
	return q
}

// readRates reads how hit rates are computed on the prompts of q: window, theta, top
// or budget, skip, kernel and pooling. The prompt with the fewest recorded rows
// bounds the window.
func (s *Server) readRates(p *params, q layerQuery) analysis.HitRateConfig {
	prompts := s.prompts(q.at.capture, q.prompts)
	shortest := prompts[0]
	for _, prompt := range prompts {
		if prompt.WindowRows < shortest.WindowRows {
			shortest = prompt
		}
	}
	longest := min(shortest.WindowRows, shortest.PromptTokens-1) // window
	cfg := analysis.Paper
	cfg.By = nil
	cfg.Windows = p.ints("window", []int{max(1, min(cfg.Windows[0], longest))}, 1, max(1, longest))
	cfg.Thetas = []float64{p.float("theta", cfg.Thetas[0], digest.LeastTheta, 1)}
	cfg.Tops = []float64{p.float("top", cfg.Tops[0], 0, 1)}
	if budget := p.int("budget", 0, 0, math.MaxInt32); budget > 0 {
		cfg.Tops = nil
		cfg.Budgets = []int{budget}
	}
	cfg.SkipFirst = p.int("skip", 0, 0, math.MaxInt32)
	cfg.Kernel = p.kernel(1)
	cfg.Pooling = p.pooling()
	return cfg
}

// defaultCapacity is used if a request gives no capacity.
func defaultCapacity() int { return snapkv.Default.Capacity }

// capacity reads the capacity of a selection.
func (p *params) capacity() int { return p.int("capacity", defaultCapacity(), 1, math.MaxInt32) }

// config reads the settings of a selection on a prompt: window, kernel, pooling,
// group and seed.
func (p *params) config(prompt *dumps.Prompt, capacity int) snapkv.Config {
	c := snapkv.Default
	c.Window = p.int("window", min(c.Window, prompt.WindowRows), 1, max(1, prompt.WindowRows))
	c.Capacity = capacity
	c.Kernel = p.kernel(c.Kernel)
	c.Pooling = p.pooling()
	c.Group = choose(p, "group", snapkv.Groups())
	c.Seed = uint64(p.int("seed", 0, 0, math.MaxInt32))
	if err := c.Check(); err != nil {
		p.failWith(err)
	}
	if c.Window >= prompt.PromptTokens {
		p.failWith(fmt.Errorf("prompt %q has %s: window %d leaves no prefix",
			prompt.ID, words.Count(prompt.PromptTokens, "token"), c.Window))
	}
	return c
}

// methods reads the names of methods, separated by commas.
func (p *params) methods(name string) []snapkv.Method {
	var list []snapkv.Method
	for _, word := range strings.Split(p.values.Get(name), ",") {
		m, err := snapkv.FindMethod(word)
		if err != nil {
			p.failWith(err)
		}
		list = append(list, m)
	}
	return list
}
