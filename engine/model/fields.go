package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// fields reads config.json or GGUF metadata. Both use the field names of Llama's
// config.json. Missing or null fields take the family's defaults. The first error is
// kept for the caller to check at the end.
type fields struct {
	source   string // the file, for errors
	values   map[string]any
	defaults map[string]any    // Architecture.Defaults
	keys     map[string]string // name of a field in the source, if it differs
	prefix   string            // of the names in GGUF metadata: the architecture and a dot
	aliases  map[string]string // another name of a field in config.json, which takes precedence
	family   string            // for errors
	within   string            // the object that has the fields in config.json, and a dot
	asked    map[string]bool   // keys that were asked for; nil: they are not collected
	nested   bool              // of a rotation that only layers of one kind have
	err      error
}

// gguf reports whether the source is a GGUF file.
func (f *fields) gguf() bool { return f.prefix != "" }

// key returns the name of a field in the source.
func (f *fields) key(name string) string {
	if k, ok := f.keys[name]; ok {
		return f.prefix + k
	}
	return f.prefix + name
}

// get returns the value of a field. ok is false if it is missing or null and has no
// default.
func (f *fields) get(name string) (any, bool) {
	if f.asked != nil {
		f.asked[f.key(name)] = true
	}
	v, ok := f.values[f.key(name)]
	if alias := f.aliases[name]; alias != "" && !f.gguf() {
		f.asked[alias] = true
		if other := f.values[alias]; other != nil {
			v, ok = other, true
		}
	}
	if !ok {
		v, ok = f.defaults[name]
	}
	return v, ok && v != nil
}

// leave marks fields as read that have no effect because of others.
func (f *fields) leave(names ...string) {
	for _, name := range names {
		f.get(name)
	}
}

// bad keeps the error that a field has the value v instead of a value described by
// want.
func (f *fields) bad(name string, v any, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %s is %v, want %s", f.source, f.key(name), v, want)
	}
}

// number reads a finite number, or returns def.
func (f *fields) number(name string, def float64) float64 {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	n, err := toNumber(v)
	if err != nil {
		f.bad(name, v, "a number")
		return def
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		f.bad(name, n, "a finite number")
		return def
	}
	return n
}

// toNumber returns the value of a field as a number, which may be infinite or NaN.
func toNumber(v any) (float64, error) {
	switch x := v.(type) {
	case json.Number:
		return x.Float64()
	case uint64:
		return float64(x), nil
	case int64:
		return float64(x), nil
	case float64:
		return x, nil
	case int: // from defaults
		return float64(x), nil
	case map[string]any: // {"__float__": "Infinity"}
		text, _ := x["__float__"].(string)
		return strconv.ParseFloat(text, 64)
	}
	return 0, errors.New("not a number")
}

// numbers reads a list of n numbers, which may be infinite, or returns def.
func (f *fields) numbers(name string, n int, def ...float64) []float64 {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	list, ok := v.([]any)
	if !ok || len(list) != n {
		f.bad(name, jsonText(v), fmt.Sprintf("a list of %d numbers", n))
		return def
	}
	out := make([]float64, n)
	for i, x := range list {
		v, err := toNumber(x)
		if err != nil || math.IsNaN(v) {
			f.bad(name, jsonText(list), fmt.Sprintf("a list of %d numbers", n))
			return def
		}
		out[i] = v
	}
	return out
}

// count reads a whole number from lo to 2^31-1, or returns def.
func (f *fields) count(name string, def, lo int) int {
	n := f.number(name, float64(def))
	if n != math.Trunc(n) || n < float64(lo) || n > math.MaxInt32 {
		v, _ := f.get(name)
		if v == nil {
			v = "missing"
		}
		f.bad(name, v, fmt.Sprintf("a whole number from %d to %d", lo, math.MaxInt32))
		return lo
	}
	return int(n)
}

// layerCounts reads a whole number from 1, or a list of one for each layer, some of which
// may be 0. It returns the
// largest of them, and the list unless they are equal.
func (f *fields) layerCounts(name string, layers, def int) (most int, list []int) {
	list = f.perLayer(name)
	if list != nil && len(list) != layers {
		f.bad(name, fmt.Sprintf("a list of %d", len(list)), fmt.Sprintf("a number, or one for each of %d layers", layers))
	}
	most = f.most(name, def, 1)
	if f.err != nil || list == nil || slices.Min(list) == most {
		return most, nil
	}
	return most, list
}

// text reads a string, or returns def.
func (f *fields) text(name, def string) string {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		f.bad(name, v, "a string")
	}
	return s
}

// flag reads a Boolean, or returns def.
func (f *fields) flag(name string, def bool) bool {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		f.bad(name, v, "true or false")
	}
	return b
}

// ids reads a token id or a list of them; nil if missing.
func (f *fields) ids(name string) []int32 {
	v, ok := f.get(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int32
	for _, x := range list {
		one := fields{source: f.source, values: map[string]any{name: x}}
		if n := one.count(name, -1, 0); one.err == nil {
			out = append(out, int32(n))
		} else if f.err == nil {
			f.err = one.err
		}
	}
	return out
}

// object reads a JSON object; nil if missing.
func (f *fields) object(name string) *fields {
	v, ok := f.get(name)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		f.bad(name, v, "an object")
		return nil
	}
	return &fields{source: f.source + ": " + name, values: m}
}

// keep keeps an error of reading weights that decide what a field means.
func (f *fields) keep(err error) {
	if f.err == nil && err != nil {
		f.err = fmt.Errorf("%s: %w", f.source, err)
	}
}

// take keeps the error of a part of the fields, such as an object.
func (f *fields) take(part *fields) {
	if f.err == nil {
		f.err = part.err
	}
}

// positive reads a number above 0, or returns def. A def of 0 means that the field must
// be given.
func (f *fields) positive(name string, def float64) float64 {
	v := f.number(name, def)
	if v > 0 {
		return v
	}
	given, ok := f.get(name)
	if !ok {
		given = "missing"
	}
	f.bad(name, given, "a number above 0")
	return 1
}

// single replaces a list of equal values, one for each layer, by one of them.
func (f *fields) single(name string) {
	key := f.key(name)
	list, ok := f.values[key].([]any)
	if !ok || len(list) == 0 {
		return
	}
	for _, v := range list {
		if v != list[0] {
			f.bad(name, jsonText(list), "the same for all layers")
			return
		}
	}
	f.values = maps.Clone(f.values)
	f.values[key] = list[0]
}

// perLayer reads a list of whole numbers, one for each layer, which GGUF files have where
// layers differ; nil if the field is something else.
func (f *fields) perLayer(name string) []int {
	v, _ := f.get(name)
	list, _ := v.([]any)
	var out []int
	for _, x := range list {
		one := fields{source: f.source, values: map[string]any{name: x}}
		out = append(out, one.count(name, 0, 0))
		f.take(&one)
	}
	return out
}

// most reads a whole number from lo on, or the largest one of a list with one for each
// layer, or returns def.
func (f *fields) most(name string, def, lo int) int {
	list := f.perLayer(name)
	if len(list) == 0 {
		return f.count(name, def, lo)
	}
	n := slices.Max(list)
	if n < lo {
		f.bad(name, jsonText(list), fmt.Sprintf("a whole number from %d for some layer", lo))
		return lo
	}
	return n
}

// floats reads a list of n numbers that are not 0.
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

// everyNth returns a function that reports whether a layer has a sliding window: all
// layers do except every n-th one. n is the field sliding_window_pattern, or def. If
// the field is a list, the function is false everywhere, because slidingWindow reads
// the list itself.
func (f *fields) everyNth(def int) func(layer int) bool {
	if v, _ := f.get("sliding_window_pattern"); v != nil {
		if _, list := v.([]any); list {
			return func(int) bool { return false }
		}
	}
	if _, given := f.values["layer_types"].([]any); given {
		return func(int) bool { return false } // which slidingWindow reads; the pattern may be a word then
	}
	n := f.count("sliding_window_pattern", def, 1)
	return func(l int) bool { return (l+1)%n != 0 }
}
