package view

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// params reads a query; the first mistake is kept.
type params struct {
	q   url.Values
	err error
}

func query(r *http.Request) *params { return &params{q: r.URL.Query()} }

func (p *params) fail(name, want string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s=%q: want %s", name, p.q.Get(name), want)
	}
}

// int reads a number in [lo, hi]; without one it is fallback.
func (p *params) int(name string, fallback, lo, hi int) int {
	text := p.q.Get(name)
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

func (p *params) float(name string, fallback, lo, hi float64) float64 {
	text := p.q.Get(name)
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

func (p *params) ints(name string, fallback []int, lo, hi int) []int {
	return p.list(name, fallback, 64, fmt.Sprintf("up to 64 numbers from %d to %d", lo, hi), func(v int) bool { return v >= lo && v <= hi })
}

// layers reads recorded layers, each once; nil: none are named.
func (p *params) layers(recorded []int) []int {
	left := slices.Clone(recorded)
	return p.list("layers", nil, len(recorded), fmt.Sprintf("recorded layers, each once, of %v", recorded), func(v int) bool {
		i := slices.Index(left, v)
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		return i >= 0
	})
}

// list reads up to most numbers that are fit.
func (p *params) list(name string, fallback []int, most int, want string, fit func(v int) bool) []int {
	text := p.q.Get(name)
	if text == "" {
		return fallback
	}
	var list []int
	for _, part := range strings.SplitN(text, ",", most+1) {
		v, err := strconv.Atoi(part)
		if err != nil || len(list) == most || !fit(v) {
			p.fail(name, want)
			return fallback
		}
		list = append(list, v)
	}
	return list
}

func (p *params) choice(name string, list ...string) string {
	text := p.q.Get(name)
	if text == "" {
		return list[0]
	}
	if !slices.Contains(list, text) {
		p.fail(name, "one of "+strings.Join(list, ", "))
		return list[0]
	}
	return text
}

// capture reads c.
func (s *Server) capture(p *params) int { return p.int("c", 0, 0, len(s.captures)-1) }

// prompt reads c and p.
func (s *Server) readPrompt(p *params) (int, int, *dumps.Prompt) {
	c := s.capture(p)
	list := s.captures[c].Prompts()
	i := p.int("p", 0, 0, len(list)-1)
	return c, i, &list[i]
}

// place reads c, p and layer.
func (s *Server) place(p *params) (place, *dumps.Prompt) {
	c, i, info := s.readPrompt(p)
	layers := s.captures[c].Header().Plan.Layers
	layer := p.int("layer", layers[0], 0, math.MaxInt32)
	if !slices.Contains(layers, layer) {
		p.fail("layer", fmt.Sprintf("one of the recorded layers %v", layers))
	}
	return place{c, i, layer}, info
}

// rates reads how hit rates are computed: window, theta, and top or budget.
func (p *params) rates(prompt *dumps.Prompt) analysis.HitRateConfig {
	cfg := analysis.Paper
	cfg.By = nil
	most := min(prompt.WindowRows, prompt.PromptTokens-1)
	cfg.Windows = p.ints("window", []int{max(1, min(cfg.Windows[0], most))}, 1, max(1, most))
	cfg.Thetas = []float64{p.float("theta", cfg.Thetas[0], digest.LeastTheta, 1)}
	cfg.Tops = []float64{p.float("top", cfg.Tops[0], 0, 1)}
	if b := p.int("budget", 0, 0, math.MaxInt32); b > 0 {
		cfg.Tops, cfg.Budgets = nil, []int{b}
	}
	cfg.SkipFirst = p.int("skip", 0, 0, math.MaxInt32)
	cfg.Kernel = p.kernel(1)
	cfg.Pooling = p.pooling()
	return cfg
}

func (p *params) pooling() snapkv.Pooling { return choose(p, "pooling", snapkv.Poolings()) }

func (p *params) group() snapkv.Group { return choose(p, "group", snapkv.Groups()) }

// choose reads one of the values of a type; the first is the default.
func choose[T ~string](p *params, name string, values []T) T {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return T(p.choice(name, names...))
}

func (p *params) kernel(fallback int) int {
	k := p.int("kernel", fallback, 1, 9999)
	if k%2 == 0 {
		p.fail("kernel", "an odd number")
	}
	return k
}

// selection reads a method and its config.
func (p *params) selection(prompt *dumps.Prompt) (snapkv.Method, snapkv.Config) {
	m, err := snapkv.FindMethod(p.choice("method", snapkv.MethodNames()...))
	if err != nil && p.err == nil {
		p.err = err
	}
	c := snapkv.Presets["class"]
	c.Window = p.int("window", min(c.Window, prompt.WindowRows), 1, max(1, prompt.WindowRows))
	c.Capacity = p.int("capacity", c.Capacity, 1, math.MaxInt32)
	c.Kernel = p.kernel(c.Kernel)
	c.Pooling = p.pooling()
	c.Group = p.group()
	c.Seed = uint64(p.int("seed", 0, 0, math.MaxInt32))
	if err := c.Check(); err != nil && p.err == nil {
		p.err = err
	}
	if p.err == nil && c.Window >= prompt.PromptTokens {
		p.err = fmt.Errorf("prompt %q has %d tokens: window %d leaves no prefix", prompt.ID, prompt.PromptTokens, c.Window)
	}
	return m, c
}
