package jinja

import "strings"

// Field is a field of an object.
type Field struct {
	Name  string
	Value any
}

// Object makes a dictionary. Of several fields with one name the first gives the place and
// the last the value.
func Object(fields []Field) any {
	d := newDict()
	for _, f := range fields {
		d.set(f.Name, f.Value)
	}
	return d
}

// List makes a list.
func List(items []any) any { return list(items) }

// Keys returns the keys of an object of DecodeJSON, or false if v is none.
func Keys(v any) ([]string, bool) {
	d, ok := v.(*dict)
	if !ok {
		return nil, false
	}
	keys := make([]string, d.len())
	for i, k := range d.keys {
		keys[i], _ = asText(k)
	}
	return keys, true
}

// Get returns a field of an object, or false if there is none.
func Get(v any, name string) (any, bool) {
	d, ok := v.(*dict)
	if !ok {
		return nil, false
	}
	return d.get(name)
}

// With is an object with another value of a field.
func With(v any, name string, value any) any {
	d := newDict()
	for i, k := range v.(*dict).keys {
		d.set(k, v.(*dict).values[i])
	}
	d.set(name, value)
	return d
}

// Items returns the items of a list, or false if v is none.
func Items(v any) ([]any, bool) {
	l, ok := v.(list)
	return l, ok
}

// Equal reports whether two values are equal.
func Equal(a, b any) bool { return equal(a, b) }

// Strip removes what Python takes for white space from both ends of a string.
func Strip(s string) string { return strings.TrimFunc(s, isSpace) }

// Text is a value of DecodeJSON as Python's str writes it.
func Text(v any) string { return str(v) }
