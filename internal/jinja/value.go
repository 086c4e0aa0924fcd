package jinja

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A value is one of
//
//	nil, bool, int64, *big.Int (beyond 64 bits), float64, string,
//	markup     a string that is safe in HTML
//	list       a list, which no template can change
//	tuple
//	*dict      a dictionary in the order of its keys, which no template can change
//	*view      the keys, values or items of a dictionary
//	span       a range
//	*generator values that can be taken once
//	*undefined, *slice, *namespace, *loop, *macro, *function, *method, *cycler, *joiner
type (
	markup string
	list   []any
	tuple  []any
)

// undefined is what a name or an attribute that does not exist yields.
type undefined struct {
	message string
	unsafe  bool // it exists, but a template may not use it
}

// use fails, because something was done that an undefined value cannot do.
func (u *undefined) use() { fail("%s", u.message) }

// dict is a dictionary.
type dict struct {
	keys, values []any
	index        map[string]int
}

func newDict() *dict { return &dict{index: map[string]int{}} }

func (d *dict) len() int { return len(d.keys) }

func (d *dict) get(key any) (any, bool) {
	i, ok := d.index[hashed(key)]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func (d *dict) set(key, value any) {
	h := hashed(key)
	if i, ok := d.index[h]; ok {
		d.values[i] = value
		return
	}
	d.index[h] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, value)
}

// hashable reports whether a value can be a key.
func hashable(v any) bool {
	switch v := v.(type) {
	case list, *dict, *view, *slice:
		return false
	case tuple:
		return !slices.ContainsFunc(v, func(x any) bool { return !hashable(x) })
	}
	return true
}

// hashed is a text that is the same for keys which are equal.
func hashed(key any) string {
	switch k := key.(type) {
	case string:
		return "s" + k
	case markup:
		return "s" + string(k)
	case nil:
		return "none"
	case bool:
		if k {
			return "1"
		}
		return "0"
	case int64:
		return strconv.FormatInt(k, 10)
	case *big.Int:
		return k.String()
	case float64:
		if k == math.Trunc(k) && !math.IsInf(k, 0) {
			v, _ := big.NewFloat(k).Int(nil)
			return v.String()
		}
		return "f" + strconv.FormatFloat(k, 'g', -1, 64)
	case tuple:
		var b strings.Builder
		b.WriteByte('t')
		for _, v := range k {
			h := hashed(v)
			fmt.Fprintf(&b, "%d:%s", len(h), h)
		}
		return b.String()
	case *undefined:
		return "undefined"
	case span:
		return fmt.Sprintf("range %d %d %d", k.from, k.step, k.size)
	case *generator, *namespace, *loop, *macro, *function, *method, *cycler, *joiner:
		return fmt.Sprintf("%p", k)
	}
	fail("unhashable type: '%s'", typeName(key))
	return ""
}

// view is what the methods keys, values and items of a dictionary return.
type view struct {
	kind string // "dict_keys", "dict_values" or "dict_items"
	list list
}

// span is a range.
type span struct{ from, step, size int64 }

func (s span) at(i int64) int64 { return s.from + i*s.step }

func (s span) items() list {
	v := make(list, s.size)
	for i := range v {
		v[i] = s.at(int64(i))
	}
	return v
}

// generator yields values, each once.
type generator struct {
	kind string // as Python names it
	next func() (any, bool)
}

// slice is the index of a[from:to:step]; what is left out is nil.
type slice struct{ from, to, step any }

// namespace holds variables that loops can change.
type namespace struct{ dict *dict }

func (n *namespace) set(name string, v any) {
	checkNamespace(name)
	n.dict.set(name, v)
}

func checkNamespace(name string) {
	if strings.HasPrefix(name, "_") {
		fail("chat templates cannot store underscore-prefixed attributes on a namespace, but got %s. "+
			"Please rename the attribute.", repr(name))
	}
}

// function is a function of the environment.
type function struct {
	name string
	call func(f *frame, a *values) any
}

// asText returns a string value.
func asText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// typeName is the name of the type of a value in Python.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case list:
		return "list"
	case tuple:
		return "tuple"
	case *dict:
		return "dict"
	case *view:
		return v.kind
	case span:
		return "range"
	case *generator:
		return v.kind
	case *undefined:
		return "Undefined"
	case *slice:
		return "slice"
	case *namespace:
		return "TemplateNamespace"
	case *loop:
		return "LoopContext"
	case *macro:
		return "Macro"
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	}
	return "function"
}

// described names a value's type in errors about attributes, as jinja2 does.
func described(v any) string {
	if v == nil {
		return "None"
	}
	return typeName(v) + " object"
}

// truth is the truth of a value.
func truth(v any) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case *namespace:
		return true
	}
	if n := lengthOf(v); n >= 0 {
		return n > 0
	}
	return true
}

// lengthOf is the length of a value, or -1 if it has none. That of a loop is not counted.
func lengthOf(v any) int {
	switch v := v.(type) {
	case string:
		return count(v)
	case markup:
		return count(string(v))
	case list:
		return len(v)
	case tuple:
		return len(v)
	case *dict:
		return v.len()
	case *view:
		return len(v.list)
	case span:
		return int(v.size)
	case *undefined:
		return 0
	}
	return -1
}

// length is the length of a value.
func length(v any) int {
	if l, ok := v.(*loop); ok {
		return l.length()
	}
	n := lengthOf(v)
	if n < 0 {
		fail("object of type '%s' has no len()", typeName(v))
	}
	return n
}

// isIterable reports whether the items of a value can be taken.
func isIterable(v any) bool {
	switch v.(type) {
	case *generator, *loop:
		return true
	}
	return lengthOf(v) >= 0
}

// iterate returns a function that yields the items of a value.
func iterate(v any) func() (any, bool) {
	var all []any
	switch v := v.(type) {
	case list:
		all = v
	case tuple:
		all = v
	case *dict:
		all = v.keys
	case *view:
		all = v.list
	case *generator:
		return v.next
	case string:
		return letters(v)
	case markup:
		return letters(string(v))
	case span:
		i := int64(-1)
		return func() (any, bool) {
			i++
			return v.at(i), i < v.size
		}
	case *undefined:
		if v.unsafe {
			v.use()
		}
	default:
		fail("'%s' object is not iterable", typeName(v))
	}
	i := -1
	return func() (any, bool) {
		i++
		if i >= len(all) {
			return nil, false
		}
		return all[i], true
	}
}

// letters yields the characters of a string.
func letters(s string) func() (any, bool) {
	return func() (any, bool) {
		if s == "" {
			return nil, false
		}
		n := letter(s)
		c := s[:n]
		s = s[n:]
		return c, true
	}
}

// items are the items of a value.
func items(v any) []any {
	next := iterate(v)
	var all []any
	for {
		item, ok := next()
		if !ok {
			return all
		}
		if len(all) == maxItems {
			fail("a list of more than %d items", maxItems)
		}
		all = append(all, item)
	}
}

// generate makes a generator of a list of values.
func generate(kind string, all []any) *generator { return &generator{kind, iterate(list(all))} }

// checkText fails if a string is too long.
func checkText(n int) {
	if n > maxText || n < 0 {
		fail("a string of more than %d bytes", maxText)
	}
}

// str is the text of a value, as Python's str.
func str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case *undefined:
		return ""
	}
	return repr(v)
}

// repr is the text of a value in Python's notation.
func repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, 0)
	return b.String()
}

func writeRepr(b *strings.Builder, v any, depth int) {
	checkText(b.Len())
	if depth > maxNesting {
		fail("more than %d values in each other", maxNesting)
	}
	all := func(open string, items []any, end string) {
		b.WriteString(open)
		for i, item := range items {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, item, depth+1)
		}
		b.WriteString(end)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case *big.Int:
		b.WriteString(v.String())
	case float64:
		b.WriteString(floatText(v))
	case string:
		quote(b, v)
	case markup:
		b.WriteString("Markup(")
		quote(b, string(v))
		b.WriteString(")")
	case list:
		all("[", v, "]")
	case tuple:
		end := ")"
		if len(v) == 1 {
			end = ",)"
		}
		all("(", v, end)
	case *dict:
		b.WriteString("{")
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, k, depth+1)
			b.WriteString(": ")
			writeRepr(b, v.values[i], depth+1)
		}
		b.WriteString("}")
	case *view:
		all(v.kind+"([", v.list, "])")
	case span:
		if v.step == 1 {
			fmt.Fprintf(b, "range(%d, %d)", v.from, v.at(v.size))
		} else {
			fail("a range with a step has no text here: make a list of it with |list")
		}
	case *undefined:
		b.WriteString("Undefined")
	case *namespace:
		b.WriteString("<Namespace ")
		writeRepr(b, v.dict, depth+1)
		b.WriteString(">")
	case *loop:
		fmt.Fprintf(b, "<LoopContext %d/%d>", v.index+1, v.length())
	case *macro:
		b.WriteString("<Macro " + repr(v.node.name) + ">")
	case *slice:
		all("slice(", []any{v.from, v.to, v.step}, ")")
	case *generator:
		fail("a %s is printed, whose text is an address in memory: make a list of it with |list", v.kind)
	default:
		fail("a %s is printed, whose text is an address in memory", typeName(v))
	}
}

// floatText is the shortest text of a number, as Python writes it.
func floatText(v float64) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote writes a string literal as Python's repr does.
func quote(b *strings.Builder, s string) {
	q := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	b.WriteRune(q)
	for i := 0; i < len(s); {
		n := letter(s[i:])
		r := []rune(s[i : i+n])[0]
		switch {
		case r == unicode.ReplacementChar && n == 1:
			fmt.Fprintf(b, `\udc%02x`, s[i]) // a byte that is not UTF-8
		case r == q || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case isPrintable(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
		i += n
	}
	b.WriteRune(q)
}

func isPrintable(r rune) bool {
	return r == ' ' || unicode.IsPrint(r) && !unicode.Is(unicode.Z, r)
}

// equal reports whether two values are equal in Python.
func equal(a, b any) bool {
	if s, ok := asText(a); ok {
		t, ok := asText(b)
		return ok && s == t
	}
	if x, ok := numberOf(a); ok {
		y, ok := numberOf(b)
		return ok && x.compare(y) == 0
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case list:
		b, ok := b.(list)
		return ok && slices.EqualFunc(a, b, equal)
	case tuple:
		b, ok := b.(tuple)
		return ok && slices.EqualFunc(a, b, equal)
	case *dict:
		b, ok := b.(*dict)
		if !ok || a.len() != b.len() {
			return false
		}
		for i, k := range a.keys {
			v, ok := b.get(k)
			if !ok || !equal(a.values[i], v) {
				return false
			}
		}
		return true
	case span:
		b, ok := b.(span)
		return ok && slices.EqualFunc(a.items(), b.items(), equal)
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *view:
		if b, ok := b.(*view); ok && (a.kind != "dict_values" || b.kind != "dict_values") {
			fail("views of dictionaries are compared: make lists of them with |list")
		}
	}
	return a == b
}

// numeric is a number: an integer, or a float if integer is nil.
type numeric struct {
	integer *big.Int
	float   float64
}

// numberOf returns a value as a number.
func numberOf(v any) (numeric, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return numeric{integer: big.NewInt(1)}, true
		}
		return numeric{integer: new(big.Int)}, true
	case int64:
		return numeric{integer: big.NewInt(v)}, true
	case *big.Int:
		return numeric{integer: v}, true
	case float64:
		return numeric{float: v}, true
	}
	return numeric{}, false
}

// compare returns -1, 0 or 1, or 2 if one of the numbers is NaN.
func (n numeric) compare(m numeric) int {
	if n.integer != nil && m.integer != nil {
		return n.integer.Cmp(m.integer)
	}
	x, y := n.asFloat(), m.asFloat()
	switch {
	case math.IsNaN(x) || math.IsNaN(y):
		return 2
	case math.IsInf(x, 0) || math.IsInf(y, 0):
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return n.exact().Cmp(m.exact())
}

// asFloat is the number as a float.
func (n numeric) asFloat() float64 {
	if n.integer == nil {
		return n.float
	}
	v, _ := new(big.Float).SetInt(n.integer).Float64()
	if math.IsInf(v, 0) {
		fail("int too large to convert to float")
	}
	return v
}

// exact is a finite number without rounding.
func (n numeric) exact() *big.Rat {
	if n.integer != nil {
		return new(big.Rat).SetInt(n.integer)
	}
	return new(big.Rat).SetFloat64(n.float)
}

// shrink is an integer as the type that values have.
func shrink(v *big.Int) any {
	if v.IsInt64() {
		return v.Int64()
	}
	return v
}

// integer returns an integer argument.
func integer(v any) int {
	switch v := v.(type) {
	case bool:
		if v {
			return 1
		}
		return 0
	case int64:
		return int(v)
	case *big.Int:
		fail("%s is too large", v)
	case *undefined:
		v.use()
	}
	fail("'%s' object cannot be interpreted as an integer", typeName(v))
	return 0
}
