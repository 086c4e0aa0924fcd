package jinja

import (
	"slices"
)

// globals are the functions that every template has.
func (r *renderer) globals() map[string]any {
	all := map[string]any{}
	for name, fn := range map[string]func(f *frame, a *values) any{
		"range":           makeSpan,
		"dict":            func(_ *frame, a *values) any { return makeDict("dict", a) },
		"namespace":       makeNamespace,
		"cycler":          makeCycler,
		"joiner":          makeJoiner,
		"raise_exception": raise,
		"strftime_now": func(_ *frame, a *values) any {
			layout := argText("strftime() argument 1", bind("strftime_now", a, "format")[0])
			return strftime(layout, r.options.Now)
		},
		"lipsum": func(*frame, *values) any {
			fail("lipsum writes random text and is not supported")
			return nil
		},
	} {
		all[name] = &function{name, fn}
	}
	return all
}

// raise ends the rendering with a message of the template.
func raise(_ *frame, a *values) any {
	fail("%s", str(bind("raise_exception", a, "message")[0]))
	return nil
}

func makeSpan(_ *frame, a *values) any {
	a.noNames()
	n := make([]int64, len(a.list))
	for i, v := range a.list {
		n[i] = int64(integer(v))
	}
	s := span{step: 1}
	var to int64
	switch len(n) {
	case 1:
		to = n[0]
	case 2, 3:
		s.from = n[0]
		to = n[1]
		if len(n) == 3 {
			s.step = n[2]
		}
	default:
		fail("range expected 1 to 3 arguments, got %d", len(n))
	}
	const far = 1 << 40
	switch {
	case s.step == 0:
		fail("range() arg 3 must not be zero")
	case max(s.from, to, s.step) > far || min(s.from, to, s.step) < -far:
		fail("a range with numbers beyond %d is not supported", int64(far))
	case s.step > 0 && to > s.from:
		s.size = (to - s.from + s.step - 1) / s.step
	case s.step < 0 && to < s.from:
		s.size = (s.from - to - s.step - 1) / -s.step
	}
	if s.size > maxRange {
		fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxRange)
	}
	return s
}

// makeDict makes a dictionary of a dictionary or a list of pairs, and of named arguments.
func makeDict(name string, a *values) *dict {
	d := newDict()
	if len(a.list) > 1 {
		fail("%s expected at most 1 argument, got %d", name, len(a.list))
	}
	for _, v := range a.list {
		if from, ok := v.(*dict); ok {
			for i, k := range from.keys {
				d.set(k, from.values[i])
			}
			continue
		}
		for i, pair := range items(v) {
			kv := items(pair)
			if len(kv) != 2 {
				fail("dictionary update sequence element #%d has length %d; 2 is required", i, len(kv))
			}
			d.set(kv[0], kv[1])
		}
	}
	for i, n := range a.names {
		d.set(n, a.named[i])
	}
	return d
}

func makeNamespace(_ *frame, a *values) any {
	d := makeDict("namespace", a)
	for _, k := range d.keys {
		if name, ok := asText(k); ok {
			checkNamespace(name)
		}
	}
	return &namespace{d}
}

// cycler goes through values again and again.
type cycler struct {
	values []any
	at     int
}

func makeCycler(_ *frame, a *values) any {
	a.noNames()
	if len(a.list) == 0 {
		fail("at least one item has to be provided")
	}
	return &cycler{values: a.list}
}

func (c *cycler) attribute(name string) (any, bool) {
	switch name {
	case "current":
		return c.values[c.at], true
	case "next":
		return &function{name, func(_ *frame, a *values) any {
			bind(name, a)
			v := c.values[c.at]
			c.at = (c.at + 1) % len(c.values)
			return v
		}}, true
	case "reset":
		return &function{name, func(_ *frame, a *values) any {
			bind(name, a)
			c.at = 0
			return nil
		}}, true
	case "pos":
		return int64(c.at), true
	case "items":
		return tuple(slices.Clone(c.values)), true
	}
	return nil, false
}

// joiner is a separator that is empty the first time.
type joiner struct {
	sep  any
	used bool
}

func makeJoiner(_ *frame, a *values) any {
	j := &joiner{sep: ", "}
	if p := bind("joiner", a, "sep?"); given(p[0]) {
		j.sep = p[0]
	}
	return j
}

func (j *joiner) call(a *values) any {
	bind("joiner", a)
	if !j.used {
		j.used = true
		return ""
	}
	return j.sep
}
