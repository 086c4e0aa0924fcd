package jinja

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// testFunc applies a test to a value.
type testFunc func(f *frame, v any, a *values) bool

// tests are the tests of jinja2.
var tests map[string]testFunc

func init() {
	comparing := func(op string) testFunc {
		return func(_ *frame, v any, a *values) bool { return compare(op, v, bind(op, a, "/other")[0]) }
	}
	plain := func(fn func(v any) bool) testFunc {
		return func(_ *frame, v any, a *values) bool {
			bind("the test", a)
			return fn(v)
		}
	}
	tests = map[string]testFunc{
		"odd":         plain(func(v any) bool { return equal(arithmetic("%", v, int64(2)), int64(1)) }),
		"even":        plain(func(v any) bool { return equal(arithmetic("%", v, int64(2)), int64(0)) }),
		"divisibleby": testDivisible,
		"defined":     plain(func(v any) bool { return !isUndefined(v) }),
		"undefined":   plain(isUndefined),
		"filter":      plain(func(v any) bool { return isKey(v, filters) || isUnsupported(v) }),
		"test":        plain(func(v any) bool { return isKey(v, tests) }),
		"none":        plain(func(v any) bool { return v == nil }),
		"boolean":     plain(func(v any) bool { return v == true || v == false }),
		"false":       plain(func(v any) bool { return v == false }),
		"true":        plain(func(v any) bool { return v == true }),
		"integer":     plain(func(v any) bool { return typeName(v) == "int" }),
		"float":       plain(func(v any) bool { return typeName(v) == "float" }),
		"lower":       plain(func(v any) bool { return cased(str(v), unicode.IsLower, unicode.IsUpper) }),
		"upper":       plain(func(v any) bool { return cased(str(v), unicode.IsUpper, unicode.IsLower) }),
		"string": plain(func(v any) bool {
			_, ok := asText(v)
			return ok
		}),
		"mapping": plain(func(v any) bool { return typeName(v) == "dict" }),
		"number": plain(func(v any) bool {
			_, ok := numberOf(v)
			return ok
		}),
		"sequence": plain(isSequence),
		"iterable": plain(isIterable),
		"callable": plain(isCallable),
		"sameas":   testSameAs,
		"escaped":  plain(func(v any) bool { return typeName(v) == "Markup" }),
		"in":       func(_ *frame, v any, a *values) bool { return contains(bind("in", a, "seq")[0], v) },
	}
	for op, names := range map[string]string{
		"==": "== eq equalto", "!=": "!= ne", ">": "> gt greaterthan", ">=": ">= ge", "<": "< lt lessthan", "<=": "<= le",
	} {
		for _, name := range strings.Fields(names) {
			tests[name] = comparing(op)
		}
	}
}

func noTest(name string) string { return fmt.Sprintf("no test named '%s'", name) }

// test applies a test.
func test(f *frame, name string, v any, a *values) any {
	fn, ok := tests[name]
	if !ok {
		fail("%s", noTest(name))
	}
	return fn(f, v, a)
}

func isUndefined(v any) bool {
	_, ok := v.(*undefined)
	return ok
}

func isKey[T any](v any, m map[string]T) bool {
	s, ok := asText(v)
	if !ok {
		return false
	}
	_, ok = m[s]
	return ok
}

func isUnsupported(v any) bool {
	s, _ := asText(v)
	return slices.Contains(unsupportedFilters, s)
}

// isSequence reports whether a value has a length and items by index, as a dictionary and
// an undefined value do.
func isSequence(v any) bool {
	if _, ok := v.(*view); ok {
		return false
	}
	return lengthOf(v) >= 0
}

func isCallable(v any) bool {
	switch v.(type) {
	case *macro, *function, *method, *undefined, *joiner, *loop:
		return true
	}
	return false
}

func testDivisible(_ *frame, v any, a *values) bool {
	return equal(arithmetic("%", v, bind("divisibleby", a, "num")[0]), int64(0))
}

// testSameAs compares identities, which only none and the booleans are sure to have.
func testSameAs(_ *frame, v any, a *values) bool {
	other := bind("sameas", a, "other")[0]
	for _, x := range []any{v, other} {
		switch x.(type) {
		case nil, bool:
			return typeName(v) == typeName(other) && v == other
		}
	}
	if typeName(v) != typeName(other) {
		return false
	}
	fail("sameas of two values of type %s is not supported", typeName(v))
	return false
}
