package jinja

import (
	"fmt"
	"strings"
)

// expr is an expression.
type expr interface {
	eval(f *frame) any
}

type constant struct{ value any }

func (e *constant) eval(*frame) any { return e.value }

type nameExpr struct{ name string }

func (e *nameExpr) eval(f *frame) any { return f.lookup(e.name) }

// attributeTarget is an attribute of a namespace that is assigned to.
type attributeTarget struct {
	line            int
	namespace, name string
}

func (e *attributeTarget) eval(f *frame) any { return attribute(f.lookup(e.namespace), e.name) }

type tupleExpr struct{ items []expr }

func (e *tupleExpr) eval(f *frame) any { return tuple(evaluated(f, e.items)) }

type listExpr struct{ items []expr }

func (e *listExpr) eval(f *frame) any { return list(evaluated(f, e.items)) }

func evaluated(f *frame, items []expr) []any {
	v := make([]any, len(items))
	for i, e := range items {
		v[i] = e.eval(f)
	}
	return v
}

type dictExpr struct {
	line         int
	keys, values []expr
}

func (e *dictExpr) eval(f *frame) any {
	d := newDict()
	for i, k := range e.keys {
		key := k.eval(f)
		d.set(key, e.values[i].eval(f))
	}
	return d
}

type conditionExpr struct {
	line               int
	condition, yes, no expr // no is nil if there is no else
}

func (e *conditionExpr) eval(f *frame) any {
	switch {
	case truth(e.condition.eval(f)):
		return e.yes.eval(f)
	case e.no != nil:
		return e.no.eval(f)
	}
	return &undefined{message: fmt.Sprintf("the inline if-expression on line %d evaluated to false "+
		"and no else section was defined.", e.line)}
}

type orExpr struct{ left, right expr }

func (e *orExpr) eval(f *frame) any {
	if v := e.left.eval(f); truth(v) {
		return v
	}
	return e.right.eval(f)
}

type andExpr struct{ left, right expr }

func (e *andExpr) eval(f *frame) any {
	if v := e.left.eval(f); !truth(v) {
		return v
	}
	return e.right.eval(f)
}

type notExpr struct{ value expr }

func (e *notExpr) eval(f *frame) any { return !truth(e.value.eval(f)) }

// comparison is an operator and its right side.
type comparison struct {
	op    string
	value expr
}

type compareExpr struct {
	line  int
	first expr
	rest  []comparison
}

func (e *compareExpr) eval(f *frame) any {
	left := e.first.eval(f)
	for _, c := range e.rest {
		right := c.value.eval(f)
		f.r.line = e.line
		if !compare(c.op, left, right) {
			return false
		}
		left = right
	}
	return true
}

type binaryExpr struct {
	line        int
	op          string
	left, right expr
}

func (e *binaryExpr) eval(f *frame) any {
	left := e.left.eval(f)
	right := e.right.eval(f)
	f.r.line = e.line
	return arithmetic(e.op, left, right)
}

type concatExpr struct{ items []expr }

func (e *concatExpr) eval(f *frame) any {
	var b strings.Builder
	for _, item := range e.items {
		s := str(item.eval(f))
		checkText(b.Len() + len(s))
		b.WriteString(s)
	}
	return b.String()
}

type signExpr struct {
	line     int
	negative bool
	value    expr
}

func (e *signExpr) eval(f *frame) any {
	v := e.value.eval(f)
	f.r.line = e.line
	return signed(v, e.negative)
}

type attributeExpr struct {
	line  int
	value expr
	name  string
}

func (e *attributeExpr) eval(f *frame) any {
	v := e.value.eval(f)
	f.r.line = e.line
	return attribute(v, e.name)
}

type itemExpr struct {
	line         int
	value, index expr
}

func (e *itemExpr) eval(f *frame) any {
	v := e.value.eval(f)
	i := e.index.eval(f)
	f.r.line = e.line
	if s, ok := i.(*slice); ok {
		return cut(v, s)
	}
	return item(v, i)
}

// sliceExpr is a slice; what is nil is left out.
type sliceExpr struct{ from, to, step expr }

func (e *sliceExpr) eval(f *frame) any {
	var s slice
	for _, p := range []struct {
		e  expr
		to *any
	}{{e.from, &s.from}, {e.to, &s.to}, {e.step, &s.step}} {
		if p.e != nil {
			*p.to = p.e.eval(f)
		}
	}
	return &s
}

// arguments are the arguments of a call.
type arguments struct {
	values     []expr
	names      []string
	named      []expr
	list, dict expr // *list, **dict
}

// values are evaluated arguments.
type values struct {
	list  []any
	names []string
	named []any
}

// noNames fails if there are named arguments.
func (a *values) noNames() {
	if len(a.names) > 0 {
		fail("it takes no keyword argument %s", repr(a.names[0]))
	}
}

func (a *arguments) eval(f *frame) *values {
	v := &values{list: evaluated(f, a.values), names: a.names, named: evaluated(f, a.named)}
	if a.list != nil {
		v.list = append(v.list, items(a.list.eval(f))...)
	}
	if a.dict != nil {
		d, ok := a.dict.eval(f).(*dict)
		if !ok {
			fail("argument after ** must be a mapping")
		}
		v.names = append([]string(nil), v.names...)
		for i, k := range d.keys {
			s, ok := asText(k)
			if !ok {
				fail("keywords must be strings")
			}
			v.names = append(v.names, s)
			v.named = append(v.named, d.values[i])
		}
	}
	for i, n := range v.names {
		for _, m := range v.names[:i] {
			if m == n {
				fail("got multiple values for keyword argument %s", repr(n))
			}
		}
	}
	return v
}

type callExpr struct {
	line      int
	function  expr
	arguments arguments
}

func (e *callExpr) eval(f *frame) any { return e.with(f, nil) }

// with calls the function. caller is the body of a call tag, or nil.
func (e *callExpr) with(f *frame, caller *macro) any {
	fn := e.function.eval(f)
	a := e.arguments.eval(f)
	if caller != nil {
		a.names = append(append([]string(nil), a.names...), "caller")
		a.named = append(a.named, caller)
	}
	f.r.line = e.line
	v := call(f, fn, a)
	f.r.line = e.line
	return v
}

// call calls a value.
func call(f *frame, fn any, a *values) any {
	switch fn := fn.(type) {
	case *macro:
		return fn.call(f, a)
	case *function:
		return fn.call(f, a)
	case *method:
		return fn.call(a)
	case *joiner:
		return fn.call(a)
	case *loop:
		if fn.recurse == nil {
			fail("the loop must have the 'recursive' marker to be called recursively.")
		}
		return fn.recurse(bind("loop", a, "iterable")[0])
	case *undefined:
		fn.use()
	}
	fail("'%s' object is not callable", typeName(fn))
	return nil
}

type filterExpr struct {
	line      int
	value     expr // nil: the body of a tag
	name      string
	arguments arguments
}

func (e *filterExpr) eval(f *frame) any { return e.apply(f, e.value.eval(f)) }

func (e *filterExpr) apply(f *frame, v any) any {
	a := e.arguments.eval(f)
	f.r.line = e.line
	return filter(f, e.name, v, a)
}

type testExpr struct {
	line      int
	value     expr
	name      string
	arguments arguments
}

func (e *testExpr) eval(f *frame) any {
	v := e.value.eval(f)
	a := e.arguments.eval(f)
	f.r.line = e.line
	return test(f, e.name, v, a)
}
