package jinja

import (
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// method is a method of a value.
type method struct {
	self any
	name string
}

// The attributes of Python's types. A template that uses one which this package does not
// have gets an error, not an undefined value.
var attributeNames = map[string][]string{
	"str": strings.Fields(`capitalize casefold center count encode endswith expandtabs find format format_map
		index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace
		istitle isupper join ljust lower lstrip maketrans partition removeprefix removesuffix replace rfind
		rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title translate
		upper zfill`),
	"list":  strings.Fields("append clear copy count extend index insert pop remove reverse sort"),
	"tuple": strings.Fields("count index"),
	"dict":  strings.Fields("clear copy fromkeys get items keys pop popitem setdefault update values"),
	"int": strings.Fields(`as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag numerator
		real to_bytes is_integer`),
	"float":       strings.Fields("as_integer_ratio conjugate fromhex hex imag is_integer real"),
	"range":       strings.Fields("count index start step stop"),
	"dict_keys":   strings.Fields("isdisjoint mapping"),
	"dict_values": strings.Fields("mapping"),
	"dict_items":  strings.Fields("isdisjoint mapping"),
	"generator":   strings.Fields("close gi_code gi_frame gi_running gi_suspended gi_yieldfrom send throw"),
	"Macro":       strings.Fields("explicit_caller"),
	"slice":       strings.Fields("indices start step stop"),
}

// The methods that change a value, which the sandbox forbids.
var changing = map[string][]string{
	"list": strings.Fields("append clear pop reverse insert sort extend remove"),
	"dict": strings.Fields("clear pop popitem setdefault update"),
}

// attribute is v.name: an attribute or, if there is none, an item.
func attribute(v any, name string) any {
	if u, ok := v.(*undefined); ok {
		u.use()
	}
	if a, ok := ownAttribute(v, name); ok {
		return a
	}
	if d, ok := v.(*dict); ok {
		if x, ok := d.get(name); ok {
			return x
		}
	}
	return missing(v, name)
}

// item is v[index]: an item or, if there is none and index is a string, an attribute.
func item(v, index any) any {
	if u, ok := v.(*undefined); ok {
		u.use()
	}
	if x, ok := subscript(v, index); ok {
		return x
	}
	if name, ok := asText(index); ok {
		if a, ok := ownAttribute(v, name); ok {
			return a
		}
	}
	return missing(v, index)
}

// missing is the undefined value for an attribute or item that does not exist.
func missing(v, name any) any {
	if _, ok := asText(name); ok {
		return &undefined{message: repr(described(v)) + " has no attribute " + repr(name)}
	}
	return &undefined{message: described(v) + " has no element " + repr(name)}
}

// ownAttribute returns an attribute of Python's type.
func ownAttribute(v any, name string) (any, bool) {
	switch v := v.(type) {
	case *namespace:
		return v.dict.get(name)
	case *loop:
		return v.attribute(name)
	case *cycler:
		return v.attribute(name)
	case *macro:
		if x, ok := v.attribute(name); ok {
			return x, true
		}
	case *function:
		if v.name == "dict" && name == "fromkeys" {
			fail("dict.fromkeys is not supported")
		}
	}
	kind := typeName(v)
	if kind == "Markup" || kind == "bool" {
		kind = map[string]string{"Markup": "str", "bool": "int"}[kind]
	}
	if strings.HasPrefix(name, "__") && strings.HasSuffix(name, "__") {
		return unsafeAttribute(v, name), true
	}
	if !slices.Contains(attributeNames[kind], name) {
		return nil, false
	}
	if slices.Contains(changing[kind], name) {
		return unsafeAttribute(v, name), true
	}
	return &method{v, name}, true
}

// unsafeAttribute is what the sandbox gives instead of an attribute that a template may not
// use: an undefined value.
func unsafeAttribute(v any, name string) *undefined {
	return &undefined{
		message: "access to attribute " + repr(name) + " of " + repr(typeName(v)) + " object is unsafe.",
		unsafe:  true,
	}
}

// subscript returns an item or a slice, or false if there is none.
func subscript(v, index any) (any, bool) {
	if d, ok := v.(*dict); ok {
		if !hashable(index) {
			return nil, false
		}
		return d.get(index)
	}
	n, ok := numberOf(index)
	size := lengthOf(v)
	if !ok || n.integer == nil || size < 0 || !n.integer.IsInt64() {
		return nil, false
	}
	i := int(n.integer.Int64())
	if i < 0 {
		i += size
	}
	if i < 0 || i >= size {
		return nil, false
	}
	switch v := v.(type) {
	case list:
		return v[i], true
	case tuple:
		return v[i], true
	case span:
		return v.at(int64(i)), true
	}
	if s, ok := asText(v); ok {
		from, to := offsets(s, i, i+1)
		return likeString(v, s[from:to]), true
	}
	return nil, false
}

// likeString is a string that is marked as safe if the value is.
func likeString(v any, s string) any {
	if _, ok := v.(markup); ok {
		return markup(s)
	}
	return s
}

// letter is the number of bytes of the first character of a string, which is not empty.
func letter(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// count is the number of characters of a string.
func count(s string) int { return utf8.RuneCountInString(s) }

// offsets are the bytes of a string at which characters from and to begin.
func offsets(s string, from, to int) (int, int) {
	if len(s) == count(s) {
		return from, to
	}
	at := 0
	for range from {
		at += letter(s[at:])
	}
	end := at
	for range to - from {
		end += letter(s[end:])
	}
	return at, end
}

// cut is v[from:to:step]. Unlike an item that does not exist, it fails if v has no slices.
func cut(v any, s *slice) any {
	size := lengthOf(v)
	switch v := v.(type) {
	case string, markup, list, tuple, span:
	case *undefined:
		v.use()
	case *dict:
		fail("unhashable type: 'slice'")
	default:
		fail("'%s' object is not subscriptable", typeName(v))
	}
	step := bounded(s.step, 1)
	if step == 0 {
		fail("slice step cannot be zero")
	}
	from, to := 0, size
	low, high := 0, size
	if step < 0 {
		from, to = size-1, -1
		low, high = -1, size-1
	}
	if s.from != nil {
		from = clamped(bounded(s.from, 0), size, low, high)
	}
	if s.to != nil {
		to = clamped(bounded(s.to, 0), size, low, high)
	}
	if text, ok := asText(v); ok && step == 1 {
		if to < from {
			to = from
		}
		a, b := offsets(text, from, to)
		return likeString(v, text[a:b])
	}
	if r, ok := v.(span); ok {
		part := span{from: r.at(int64(from)), step: r.step * int64(step)}
		if n := (to - from + step - sign(step)) / step; n > 0 {
			part.size = int64(n)
		}
		return part
	}
	all := items(v)
	var part []any
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		part = append(part, all[i])
	}
	switch v.(type) {
	case tuple:
		return tuple(part)
	case list:
		return list(part)
	}
	var b strings.Builder
	for _, c := range part {
		b.WriteString(c.(string))
	}
	return likeString(v, b.String())
}

// sign is 1 or -1.
func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// bounded is an index of a slice; beyond what a list can have, its size does not matter.
func bounded(v any, without int) int {
	const most = 1 << 30
	switch v := v.(type) {
	case nil:
		return without
	case *big.Int:
		return most * v.Sign()
	case bool, int64:
		return min(max(integer(v), -most), most)
	case *undefined:
		fail("slice indices must be integers or None or have an __index__ method, not Undefined (%s)", v.message)
	}
	fail("slice indices must be integers or None or have an __index__ method, not '%s'", typeName(v))
	return 0
}

// clamped is the position that an index of a slice means.
func clamped(i, size, low, high int) int {
	if i < 0 {
		i += size
	}
	return min(max(i, low), high)
}
