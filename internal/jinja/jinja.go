// Package jinja renders chat templates: the language of jinja2 3.1 in the environment that
// transformers 5 gives to a chat template. That environment is an immutable sandbox with
// trim_blocks, lstrip_blocks, the tags break, continue and generation, a tojson filter that
// does not escape HTML, and the functions raise_exception and strftime_now.
//
// Values are Python's: undefined variables, the order of keys, the text of numbers, string
// methods and errors are those of the reference. What a template uses and this package does
// not have is an error that names it and its line; nothing is approximated.
//
// Inside the package an error is a panic with a *Error, which Compile and Render return, as
// in text/template.
package jinja

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Limits of a template.
const (
	maxNesting = 200      // tags and brackets in each other
	maxCalls   = 250      // macros in each other; the reference ends at about as many
	maxText    = 64 << 20 // bytes of a string, and of the output
	maxItems   = 1 << 22  // items of a list
	maxRange   = 100000   // numbers of a range, as in the reference
)

// Error is what is wrong with a template, or what it found wrong with its values.
type Error struct {
	Line    int // of the template, 0: unknown
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// fail ends the compilation or rendering with an error.
func fail(format string, args ...any) {
	panic(&Error{Message: fmt.Sprintf(format, args...)})
}

// caught turns a panic with an *Error into an error.
func caught(line *int, err *error) {
	switch x := recover().(type) {
	case nil:
	case *Error:
		if x.Line == 0 {
			x.Line = *line
		}
		*err = x
	default:
		panic(x)
	}
}

// Template is a compiled template. It may be rendered by several goroutines.
type Template struct {
	body []node
}

// Compile parses a template. Names of filters and tests are checked where the reference
// checks them: everywhere but in the branches of conditions, where they fail when they are
// reached.
func Compile(source string) (t *Template, err error) {
	p := &parser{}
	defer caught(&p.line, &err)
	p.tokens = lex(source, &p.line)
	p.line = 1
	body := p.body(nil)
	if len(p.unknown) > 0 {
		panic(p.unknown[0])
	}
	return &Template{body}, nil
}

// Options are the surroundings of a rendering.
type Options struct {
	Now  time.Time    // what strftime_now prints
	Stop *atomic.Bool // ends the rendering with an error when it becomes true; may be nil
}

// Render renders the template with variables, which are values of DecodeJSON.
func (t *Template) Render(variables map[string]any, o Options) (text string, err error) {
	r := &renderer{options: o}
	defer caught(&r.line, &err)
	globals := &scope{names: r.globals()}
	root := &scope{names: map[string]any{}, parent: globals}
	for name, v := range variables {
		root.names[name] = v
	}
	var out strings.Builder
	f := frame{r: r, scope: &scope{names: map[string]any{}, parent: root}, out: &out}
	f.run(t.body)
	return out.String(), nil
}

// renderer is the state of one rendering.
type renderer struct {
	options Options
	line    int // of the statement or call that runs
	calls   int // macros that run
}

// step is called often enough that no rendering outlives its Stop.
func (r *renderer) step() {
	if r.options.Stop != nil && r.options.Stop.Load() {
		fail("stopped")
	}
}

// scope holds the variables of a body; names that it lacks are those of its parent.
type scope struct {
	names  map[string]any
	parent *scope
}

// frame is where a body runs.
type frame struct {
	r     *renderer
	scope *scope
	out   *strings.Builder
}

// inner is a frame with a scope of its own, for a body whose assignments end with it.
func (f *frame) inner() *frame {
	return &frame{f.r, &scope{names: map[string]any{}, parent: f.scope}, f.out}
}

// captured runs a body in a scope of its own and returns its output.
func (f *frame) captured(body []node) string {
	in := f.inner()
	in.out = &strings.Builder{}
	in.run(body)
	return in.out.String()
}

// lookup returns a variable, or an undefined value with its name.
func (f *frame) lookup(name string) any {
	for s := f.scope; s != nil; s = s.parent {
		if v, ok := s.names[name]; ok {
			return v
		}
	}
	return &undefined{message: repr(name) + " is undefined"}
}

// write adds to the output.
func (f *frame) write(s string) {
	if len(s) > maxText-f.out.Len() {
		fail("its output has more than %d bytes", maxText)
	}
	f.out.WriteString(s)
}
