package jinja

import "strings"

// node is text or a tag.
type node interface {
	run(f *frame) jump
}

// jump says how a body ended.
type jump int

const (
	ends jump = iota
	breaks
	continues
)

// run runs a body up to its end, or up to a break or continue.
func (f *frame) run(body []node) jump {
	for _, n := range body {
		if j := n.run(f); j != ends {
			return j
		}
	}
	return ends
}

type textNode struct{ text string }

func (n *textNode) run(f *frame) jump {
	f.write(n.text)
	return ends
}

type outputNode struct {
	line  int
	value expr
}

func (n *outputNode) run(f *frame) jump {
	f.r.line = n.line
	f.write(str(n.value.eval(f)))
	return ends
}

// bodyNode runs a body in the scope around it.
type bodyNode struct{ body []node }

func (n *bodyNode) run(f *frame) jump { return f.run(n.body) }

// scopeNode runs a body in a scope of its own.
type scopeNode struct{ body []node }

func (n *scopeNode) run(f *frame) jump { return f.inner().run(n.body) }

type jumpNode struct{ jump jump }

func (n *jumpNode) run(*frame) jump { return n.jump }

// branch is a condition and what runs if it is true.
type branch struct {
	condition expr
	body      []node
}

type ifNode struct {
	branches  []branch
	otherwise []node
}

func (n *ifNode) run(f *frame) jump {
	for _, b := range n.branches {
		if truth(b.condition.eval(f)) {
			return f.run(b.body)
		}
	}
	return f.run(n.otherwise)
}

type forNode struct {
	line      int
	target    expr
	items     expr
	condition expr // nil: none
	body      []node
	otherwise []node
	recursive bool
}

func (n *forNode) run(f *frame) jump {
	f.r.line = n.line
	n.loop(f, n.items.eval(f), 0)
	return ends
}

// loop runs the body for the items of a value. depth counts the recursive loops around it.
func (n *forNode) loop(f *frame, items any, depth int) {
	source := iterate(items)
	next := source
	size := -1
	if n.condition == nil {
		size = lengthOf(items)
	} else {
		next = func() (any, bool) {
			for {
				v, ok := source()
				if !ok {
					return nil, false
				}
				in := f.inner()
				in.assign(n.target, v)
				if truth(n.condition.eval(in)) {
					return v, true
				}
			}
		}
	}
	l := &loop{next: next, size: size, index: -1, depth: depth}
	if n.recursive {
		l.recurse = func(items any) string {
			f.r.enter()
			defer f.r.leave()
			in := *f
			in.out = &strings.Builder{}
			n.loop(&in, items, depth+1)
			return in.out.String()
		}
	}
	for l.advance() {
		f.r.step()
		in := f.inner()
		in.scope.names["loop"] = l
		in.assign(n.target, l.item)
		j := in.run(n.body)
		if j == breaks {
			break
		}
		l.finished = l.finished || j == ends
	}
	// A loop of which no iteration came to its end counts as one without items, as in the
	// reference.
	if !l.finished {
		f.inner().run(n.otherwise)
	}
}

// loop is what a template knows as loop.
type loop struct {
	next     func() (any, bool)
	size     int // of the iterated value, -1: unknown
	index    int // from 0
	depth    int // from 0
	item     any
	before   any
	after    []any // items that were taken in advance
	finished bool  // an iteration came to its end
	last     any   // value of the last call of changed
	recurse  func(items any) string
}

// advance goes to the next item and reports whether there is one.
func (l *loop) advance() bool {
	v, ok := l.peek()
	if !ok {
		return false
	}
	l.after = l.after[1:]
	l.before = l.item
	l.item = v
	l.index++
	return true
}

// peek is the item after the current one.
func (l *loop) peek() (any, bool) {
	if len(l.after) == 0 {
		v, ok := l.next()
		if !ok {
			return nil, false
		}
		l.after = append(l.after, v)
	}
	return l.after[0], true
}

// length is the number of items, which are taken in advance if it is not known.
func (l *loop) length() int {
	if l.size < 0 {
		for {
			v, ok := l.next()
			if !ok {
				break
			}
			l.after = append(l.after, v)
		}
		l.size = l.index + 1 + len(l.after)
	}
	return l.size
}

// attribute returns an attribute of loop.
func (l *loop) attribute(name string) (any, bool) {
	switch name {
	case "index":
		return int64(l.index + 1), true
	case "index0":
		return int64(l.index), true
	case "revindex":
		return int64(l.length() - l.index), true
	case "revindex0":
		return int64(l.length() - l.index - 1), true
	case "first":
		return l.index == 0, true
	case "last":
		_, more := l.peek()
		return !more, true
	case "length":
		return int64(l.length()), true
	case "depth":
		return int64(l.depth + 1), true
	case "depth0":
		return int64(l.depth), true
	case "previtem":
		if l.index == 0 {
			return &undefined{message: "there is no previous item"}, true
		}
		return l.before, true
	case "nextitem":
		v, ok := l.peek()
		if !ok {
			return &undefined{message: "there is no next item"}, true
		}
		return v, true
	case "cycle":
		return &function{"cycle", func(_ *frame, a *values) any {
			a.noNames()
			if len(a.list) == 0 {
				fail("no items for cycling given")
			}
			return a.list[l.index%len(a.list)]
		}}, true
	case "changed":
		return &function{"changed", func(_ *frame, a *values) any {
			a.noNames()
			now := tuple(a.list)
			if l.last != nil && equal(l.last, now) {
				return false
			}
			l.last = now
			return true
		}}, true
	}
	return nil, false
}

// assign assigns a value to a target.
func (f *frame) assign(target expr, v any) {
	switch t := target.(type) {
	case *nameExpr:
		f.scope.names[t.name] = v
	case *attributeTarget:
		f.r.line = t.line
		ns, ok := f.lookup(t.namespace).(*namespace)
		if !ok {
			fail("cannot assign attribute on non-namespace object")
		}
		ns.set(t.name, v)
	case *tupleExpr:
		next := iterate(v)
		for i, e := range t.items {
			item, ok := next()
			if !ok {
				fail("not enough values to unpack (expected %d, got %d)", len(t.items), i)
			}
			f.assign(e, item)
		}
		if _, more := next(); more {
			fail("too many values to unpack (expected %d)", len(t.items))
		}
	}
}

type setNode struct {
	line   int
	target expr
	value  expr
}

func (n *setNode) run(f *frame) jump {
	f.r.line = n.line
	f.assign(n.target, n.value.eval(f))
	return ends
}

type setBlockNode struct {
	line   int
	target expr
	filter expr // filters of the body, nil: none
	body   []node
}

func (n *setBlockNode) run(f *frame) jump {
	s := f.captured(n.body)
	f.r.line = n.line
	f.assign(n.target, filtered(f, n.filter, s))
	return ends
}

type filterNode struct {
	line   int
	filter expr
	body   []node
}

func (n *filterNode) run(f *frame) jump {
	s := f.captured(n.body)
	f.r.line = n.line
	f.write(str(filtered(f, n.filter, s)))
	return ends
}

// filtered passes a string through a chain of filters, the first of which has no value.
func filtered(f *frame, chain expr, s string) any {
	e, ok := chain.(*filterExpr)
	if !ok {
		return s
	}
	return e.apply(f, filtered(f, e.value, s))
}

type withNode struct {
	line    int
	targets []expr
	values  []expr
	body    []node
}

func (n *withNode) run(f *frame) jump {
	f.r.line = n.line
	in := f.inner()
	for i, t := range n.targets {
		in.assign(t, n.values[i].eval(f))
	}
	return in.run(n.body)
}

type macroNode struct {
	name       string
	parameters []string
	defaults   []expr // nil: none
	body       []node

	caller, kwargs, varargs bool // the body reads these
}

func (n *macroNode) run(f *frame) jump {
	f.scope.names[n.name] = &macro{n, f}
	return ends
}

type callNode struct {
	line   int
	call   *callExpr
	caller *macroNode
}

func (n *callNode) run(f *frame) jump {
	f.r.line = n.line
	f.write(str(n.call.with(f, &macro{n.caller, f})))
	return ends
}

// macro is a macro together with the frame in which it was defined.
type macro struct {
	node  *macroNode
	frame *frame
}

// attribute returns an attribute of a macro.
func (m *macro) attribute(name string) (any, bool) {
	switch name {
	case "name":
		return m.node.name, true
	case "arguments":
		return tuple(texts(m.node.parameters)), true
	case "caller":
		return m.node.caller, true
	case "catch_kwargs":
		return m.node.kwargs, true
	case "catch_varargs":
		return m.node.varargs, true
	}
	return nil, false
}

// enter and leave count the macros that run in each other.
func (r *renderer) enter() {
	r.calls++
	if r.calls > maxCalls {
		fail("it calls itself without end: more than %d macros in each other", maxCalls)
	}
	r.step()
}

func (r *renderer) leave() { r.calls-- }

// call runs a macro and returns its output.
func (m *macro) call(f *frame, a *values) any {
	f.r.enter()
	defer f.r.leave()
	n := m.node
	in := &frame{f.r, &scope{names: map[string]any{}, parent: m.frame.scope}, &strings.Builder{}}
	rest := newDict()
	var varargs tuple
	given := len(a.list)
	if given > len(n.parameters) {
		varargs = append(varargs, a.list[len(n.parameters):]...)
		given = len(n.parameters)
	}
	names := in.scope.names
	for i, p := range n.parameters[:given] {
		names[p] = a.list[i]
	}
	for i, k := range a.names {
		late := false
		for _, p := range n.parameters[given:] {
			late = late || p == k
		}
		switch {
		case late:
			names[k] = a.named[i]
		case k == "caller" && n.caller:
			names["caller"] = a.named[i]
		default:
			rest.set(k, a.named[i])
		}
	}
	switch {
	case n.kwargs:
		names["kwargs"] = rest
	case rest.len() > 0:
		fail("macro %s takes no keyword argument %s", repr(n.name), repr(rest.keys[0]))
	}
	switch {
	case n.varargs:
		names["varargs"] = varargs
	case len(varargs) > 0:
		fail("macro %s takes not more than %d argument(s)", repr(n.name), len(n.parameters))
	}
	if _, ok := names["caller"]; n.caller && !ok {
		names["caller"] = &undefined{message: "No caller defined"}
	}
	for i, p := range n.parameters {
		if _, ok := names[p]; ok {
			continue
		}
		if n.defaults[i] == nil {
			names[p] = &undefined{message: "parameter " + repr(p) + " was not provided"}
		} else {
			names[p] = n.defaults[i].eval(in)
		}
	}
	in.run(n.body)
	return in.out.String()
}
