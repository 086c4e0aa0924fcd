package jinja

import (
	"fmt"
	"math"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// filterFunc applies a filter to a value.
type filterFunc func(f *frame, v any, a *values) any

// filters are the filters of jinja2, with transformers' tojson. Those of jinja2 that are
// missing here are in unsupportedFilters.
var filters map[string]filterFunc

var unsupportedFilters = strings.Fields("filesizeformat pprint random striptags urlize wordwrap xmlattr")

func init() {
	filters = map[string]filterFunc{
		"abs":         filterAbs,
		"attr":        filterAttr,
		"batch":       filterBatch,
		"capitalize":  textFilter(capitalize),
		"center":      filterCenter,
		"count":       filterLength,
		"d":           filterDefault,
		"default":     filterDefault,
		"dictsort":    filterDictSort,
		"e":           filterEscape,
		"escape":      filterEscape,
		"first":       filterFirst,
		"float":       filterFloat,
		"forceescape": filterForceEscape,
		"format":      filterFormat,
		"groupby":     filterGroupBy,
		"indent":      filterIndent,
		"int":         filterInt,
		"items":       filterItems,
		"join":        filterJoin,
		"last":        filterLast,
		"length":      filterLength,
		"list":        filterList,
		"lower":       textFilter(lower),
		"map":         filterMap,
		"max":         extreme(">"),
		"min":         extreme("<"),
		"reject":      selection("reject", false, false),
		"rejectattr":  selection("rejectattr", true, false),
		"replace":     filterReplace,
		"reverse":     filterReverse,
		"round":       filterRound,
		"safe":        filterSafe,
		"select":      selection("select", false, true),
		"selectattr":  selection("selectattr", true, true),
		"slice":       filterSlice,
		"sort":        filterSort,
		"string":      filterString,
		"sum":         filterSum,
		"title":       textFilter(titleWords),
		"tojson":      filterToJSON,
		"trim":        filterTrim,
		"truncate":    filterTruncate,
		"unique":      filterUnique,
		"upper":       textFilter(upper),
		"urlencode":   filterURLEncode,
		"wordcount":   filterWordCount,
	}
}

// noFilter says that there is no such filter.
func noFilter(name string) string {
	if slices.Contains(unsupportedFilters, name) {
		return fmt.Sprintf("the filter '%s' is not supported", name)
	}
	return fmt.Sprintf("no filter named '%s'", name)
}

// filter applies a filter.
func filter(f *frame, name string, v any, a *values) any {
	fn, ok := filters[name]
	if !ok {
		fail("%s", noFilter(name))
	}
	return fn(f, v, a)
}

// softText is the text of a value; markup stays markup.
func softText(v any) (s string, like func(string) any) {
	return str(v), func(s string) any { return likeString(v, s) }
}

// textFilter is a filter of the text of a value.
func textFilter(fn func(string) string) filterFunc {
	return func(_ *frame, v any, a *values) any {
		bind("the filter", a)
		s, like := softText(v)
		return like(fn(s))
	}
}

// wantNumber is a value that must be a number.
func wantNumber(v any) numeric {
	n, ok := numberOf(v)
	if !ok {
		if u, isUndefined := v.(*undefined); isUndefined {
			u.use()
		}
		fail("must be real number, not %s", typeName(v))
	}
	return n
}

func filterAbs(_ *frame, v any, a *values) any {
	bind("abs", a)
	n := wantNumber(v)
	if n.integer == nil {
		return math.Abs(n.float)
	}
	return shrink(new(big.Int).Abs(n.integer))
}

func filterAttr(_ *frame, v any, a *values) any {
	name := argText("attribute name", bind("attr", a, "name")[0])
	if u, ok := v.(*undefined); ok {
		u.use()
	}
	if x, ok := ownAttribute(v, name); ok {
		return x
	}
	return missing(v, name)
}

func filterBatch(_ *frame, v any, a *values) any {
	p := bind("batch", a, "linecount", "fill_with?")
	var next func() (any, bool)
	var size int
	var first []any
	return &generator{"generator", func() (any, bool) {
		if next == nil {
			next = iterate(v)
			size = integer(p[0])
		}
		batch := list(first)
		for {
			item, ok := next()
			if !ok {
				break
			}
			if len(batch) == size {
				first = []any{item}
				return batch, true
			}
			batch = append(batch, item)
		}
		first = nil
		if len(batch) == 0 {
			return nil, false
		}
		if given(p[1]) && p[1] != nil {
			checkItems(size)
			for len(batch) < size {
				batch = append(batch, p[1])
			}
		}
		next = func() (any, bool) { return nil, false }
		return batch, true
	}}
}

func filterCenter(_ *frame, v any, a *values) any {
	p := bind("center", a, "width?")
	width := 80
	if given(p[0]) {
		width = integer(p[0])
	}
	s, like := softText(v)
	return like(justified(s, "center", width, " "))
}

func filterLength(_ *frame, v any, a *values) any {
	bind("length", a)
	return int64(length(v))
}

func filterDefault(_ *frame, v any, a *values) any {
	p := bind("default", a, "default_value?", "boolean?")
	_, isUndefined := v.(*undefined)
	if !isUndefined && (!given(p[1]) || !truth(p[1]) || truth(v)) {
		return v
	}
	if given(p[0]) {
		return p[0]
	}
	return ""
}

// ignoreCase is a value for comparison: a string in lower case, or the value.
func ignoreCase(v any) any {
	if s, ok := asText(v); ok {
		return lower(s)
	}
	return v
}

// sorted sorts values by their keys, and keeps the order of those with equal keys.
func sorted(all []any, reverse bool, key func(any) any) []any {
	type keyed struct{ key, value any }
	v := make([]keyed, len(all))
	for i, x := range all {
		v[i] = keyed{key(x), x}
	}
	slices.SortStableFunc(v, func(a, b keyed) int {
		switch {
		case less(a.key, b.key, "<", false) != reverse && !equal(a.key, b.key):
			return -1
		case equal(a.key, b.key):
			return 0
		}
		return 1
	})
	out := make([]any, len(all))
	for i, x := range v {
		out[i] = x.value
	}
	return out
}

func flag(v any) bool { return given(v) && truth(v) }

func filterDictSort(_ *frame, v any, a *values) any {
	p := bind("dictsort", a, "case_sensitive?", "by?", "reverse?")
	by := 0
	if given(p[1]) {
		switch s, _ := asText(p[1]); s {
		case "key":
		case "value":
			by = 1
		default:
			fail(`you can only sort by either "key" or "value"`)
		}
	}
	d, ok := v.(*dict)
	if !ok {
		fail("'%s' object has no attribute 'items'", typeName(v))
	}
	return list(sorted(pairs(d), flag(p[2]), func(pair any) any {
		k := pair.(tuple)[by]
		if flag(p[0]) {
			return k
		}
		return ignoreCase(k)
	}))
}

// escapes are those of markupsafe.
var escapes = strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;")

func escaped(v any) markup {
	if m, ok := v.(markup); ok {
		return m
	}
	s := escapes.Replace(str(v))
	checkText(len(s))
	return markup(s)
}

func filterEscape(_ *frame, v any, a *values) any {
	bind("escape", a)
	return escaped(v)
}

func filterForceEscape(_ *frame, v any, a *values) any {
	bind("forceescape", a)
	return escaped(str(v))
}

func filterSafe(_ *frame, v any, a *values) any {
	bind("safe", a)
	return markup(str(v))
}

func filterString(_ *frame, v any, a *values) any {
	bind("string", a)
	s, like := softText(v)
	return like(s)
}

func filterFirst(_ *frame, v any, a *values) any {
	bind("first", a)
	if x, ok := iterate(v)(); ok {
		return x
	}
	return &undefined{message: "No first item, sequence was empty."}
}

func filterLast(_ *frame, v any, a *values) any {
	bind("last", a)
	if g, ok := v.(*generator); ok {
		fail("'%s' object is not reversible", g.kind)
	}
	all := items(v)
	if len(all) == 0 {
		return &undefined{message: "No last item, sequence was empty."}
	}
	return all[len(all)-1]
}

// parseInt is Python's int of a string.
func parseInt(s string, base int) (*big.Int, bool) {
	s = strings.ToLower(strings.TrimFunc(s, isSpace))
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") ||
		strings.Contains(digits, "__") || len(digits) > 4300 || !isASCII(digits) {
		return nil, false
	}
	for prefix, b := range map[string]int{"0x": 16, "0o": 8, "0b": 2} {
		if base == b {
			digits = strings.TrimPrefix(strings.TrimPrefix(digits, prefix), "_")
		}
	}
	v, ok := new(big.Int).SetString(strings.ReplaceAll(digits, "_", ""), base)
	if ok && strings.HasPrefix(s, "-") {
		v.Neg(v)
	}
	return v, ok && !strings.ContainsAny(digits, "+-")
}

// parseFloat is Python's float of a string.
func parseFloat(s string) (float64, bool) {
	s = strings.TrimFunc(s, isSpace)
	if strings.HasPrefix(strings.TrimLeft(strings.ToLower(s), "+-"), "0x") {
		return 0, false
	}
	bare := strings.ReplaceAll(s, "_", "")
	if bare != s && (strings.Contains(s, "__") || !betweenDigits(s)) {
		return 0, false
	}
	v, err := strconv.ParseFloat(bare, 64)
	if err != nil && !math.IsInf(v, 0) {
		return 0, false
	}
	return v, true
}

// betweenDigits reports whether every underscore is between two digits.
func betweenDigits(s string) bool {
	digit := func(i int) bool { return i >= 0 && i < len(s) && s[i] >= '0' && s[i] <= '9' }
	for i := range len(s) {
		if s[i] == '_' && (!digit(i-1) || !digit(i+1)) {
			return false
		}
	}
	return true
}

// truncated is the integer part of a float.
func truncated(v float64) (any, bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, false
	}
	n, _ := big.NewFloat(v).Int(nil)
	return shrink(n), true
}

func filterInt(_ *frame, v any, a *values) any {
	p := bind("int", a, "default?", "base?")
	base := 10
	if given(p[1]) {
		base = integer(p[1])
		if base != 2 && base != 8 && base != 10 && base != 16 {
			fail("int with base %d is not supported", base)
		}
	}
	if s, ok := asText(v); ok {
		if n, ok := parseInt(s, base); ok {
			return shrink(n)
		}
		if x, ok := parseFloat(s); ok {
			if n, ok := truncated(x); ok {
				return n
			}
		}
	} else if n, ok := numberOf(v); ok {
		if n.integer != nil {
			return shrink(n.integer)
		}
		if x, ok := truncated(n.float); ok {
			return x
		}
	} else if u, ok := v.(*undefined); ok {
		u.use()
	}
	if given(p[0]) {
		return p[0]
	}
	return int64(0)
}

func filterFloat(_ *frame, v any, a *values) any {
	p := bind("float", a, "default?")
	if s, ok := asText(v); ok {
		if x, ok := parseFloat(s); ok {
			return x
		}
	} else if n, ok := numberOf(v); ok {
		return n.asFloat()
	} else if u, ok := v.(*undefined); ok {
		u.use()
	}
	if given(p[0]) {
		return p[0]
	}
	return 0.0
}

func filterFormat(_ *frame, v any, a *values) any {
	if len(a.list) > 0 && len(a.names) > 0 {
		fail("can't handle positional and keyword arguments at the same time")
	}
	if len(a.names) == 0 {
		return percent(str(v), tuple(a.list))
	}
	d := newDict()
	for i, n := range a.names {
		d.set(n, a.named[i])
	}
	return percent(str(v), d)
}

// getter returns a function that looks up an attribute with dots in a value. alternative
// replaces what is undefined, unless it is nil.
func getter(attribute any, alternative any) func(any) any {
	var parts []any
	switch a := attribute.(type) {
	case nil, absent:
	case string:
		for _, p := range strings.Split(a, ".") {
			if n, ok := parseInt(p, 10); ok && every(p, unicode.IsDigit) {
				parts = append(parts, shrink(n))
			} else {
				parts = append(parts, p)
			}
		}
	default:
		parts = []any{a}
	}
	return func(v any) any {
		for _, p := range parts {
			v = item(v, p)
			if _, ok := v.(*undefined); ok && alternative != nil && given(alternative) {
				v = alternative
			}
		}
		return v
	}
}

func filterGroupBy(_ *frame, v any, a *values) any {
	p := bind("groupby", a, "attribute", "default?", "case_sensitive?")
	get := getter(p[0], p[1])
	key := get
	if !flag(p[2]) {
		key = func(v any) any { return ignoreCase(get(v)) }
	}
	var groups list
	var current list
	for _, x := range sorted(items(v), false, key) {
		if len(current) > 0 && !equal(key(current[0]), key(x)) {
			groups = append(groups, tuple{get(current[0]), current})
			current = nil
		}
		current = append(current, x)
	}
	if len(current) > 0 {
		groups = append(groups, tuple{get(current[0]), current})
	}
	return groups
}

func filterIndent(_ *frame, v any, a *values) any {
	p := bind("indent", a, "width?", "first?", "blank?")
	indent := strings.Repeat(" ", 4)
	if s, ok := asText(p[0]); ok {
		indent = s
	} else if given(p[0]) {
		n := max(integer(p[0]), 0)
		checkText(n)
		indent = strings.Repeat(" ", n)
	}
	s, ok := asText(v)
	if !ok {
		if u, isUndefined := v.(*undefined); isUndefined {
			u.use()
		}
		fail("indent needs a string, not a %s", typeName(v))
	}
	all := lines(s+"\n", false)
	checkText(len(s) + len(all)*len(indent))
	for i, l := range all {
		if i > 0 && (l != "" || flag(p[2])) {
			all[i] = indent + l
		}
	}
	s = strings.Join(all, "\n")
	if flag(p[1]) {
		s = indent + s
	}
	return likeString(v, s)
}

func filterItems(_ *frame, v any, a *values) any {
	bind("items", a)
	return late(func() []any {
		switch v := v.(type) {
		case *undefined:
			return nil
		case *dict:
			return pairs(v)
		}
		fail("can only get item pairs from a mapping")
		return nil
	})
}

// late makes a generator of values that are computed when the first is asked for.
func late(all func() []any) *generator {
	var next func() (any, bool)
	return &generator{"generator", func() (any, bool) {
		if next == nil {
			next = iterate(list(all()))
		}
		return next()
	}}
}

func filterJoin(_ *frame, v any, a *values) any {
	p := bind("join", a, "d?", "attribute?")
	sep := ""
	if given(p[0]) {
		sep = str(p[0])
	}
	all := items(v)
	get := getter(p[1], nil)
	for i, x := range all {
		all[i] = str(get(x))
	}
	return join(sep, all)
}

func filterList(_ *frame, v any, a *values) any {
	bind("list", a)
	return list(items(v))
}

// lazily makes a generator that passes on the values for which fn returns true.
func lazily(v any, fn func(any) (any, bool)) any {
	var next func() (any, bool)
	return &generator{"generator", func() (any, bool) {
		if next == nil {
			if !truth(v) {
				return nil, false
			}
			next = iterate(v)
		}
		for {
			x, ok := next()
			if !ok {
				return nil, false
			}
			if y, ok := fn(x); ok {
				return y, true
			}
		}
	}}
}

func filterMap(f *frame, v any, a *values) any {
	if len(a.list) == 0 {
		p := bind("map", a, "attribute?", "default?")
		if !given(p[0]) {
			fail("map requires a filter argument")
		}
		get := getter(p[0], p[1])
		return lazily(v, func(x any) (any, bool) { return get(x), true })
	}
	name := argText("the name of a filter", a.list[0])
	rest := &values{a.list[1:], a.names, a.named}
	return lazily(v, func(x any) (any, bool) { return filter(f, name, x, rest), true })
}

// selection is a filter that passes on the values, or values with an attribute, for which
// a test gives keep.
func selection(name string, byAttribute, keep bool) filterFunc {
	return func(f *frame, v any, a *values) any {
		get := func(x any) any { return x }
		rest := a.list
		if byAttribute {
			if len(rest) == 0 {
				fail("%s: missing parameter for attribute name", name)
			}
			get = getter(rest[0], nil)
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return lazily(v, func(x any) (any, bool) { return x, truth(get(x)) == keep })
		}
		testName := argText("the name of a test", rest[0])
		arguments := &values{rest[1:], a.names, a.named}
		return lazily(v, func(x any) (any, bool) {
			return x, truth(test(f, testName, get(x), arguments)) == keep
		})
	}
}

// extreme is the filter min or max.
func extreme(op string) filterFunc {
	return func(_ *frame, v any, a *values) any {
		p := bind("the filter", a, "case_sensitive?", "attribute?")
		get := getter(p[1], nil)
		key := func(x any) any {
			if x = get(x); flag(p[0]) {
				return x
			}
			return ignoreCase(x)
		}
		all := items(v)
		if len(all) == 0 {
			return &undefined{message: "No aggregated item, sequence was empty."}
		}
		best := all[0]
		for _, x := range all[1:] {
			if compare(op, key(x), key(best)) {
				best = x
			}
		}
		return best
	}
}

func filterReplace(_ *frame, v any, a *values) any {
	p := bind("replace", a, "old", "new", "count?")
	most := -1
	if given(p[2]) && p[2] != nil {
		most = integer(p[2])
	}
	return replace(str(v), str(p[0]), str(p[1]), most)
}

func filterReverse(_ *frame, v any, a *values) any {
	bind("reverse", a)
	all := slices.Clone(items(v))
	slices.Reverse(all)
	if _, ok := asText(v); ok {
		return likeString(v, join("", all))
	}
	if _, ok := v.(*generator); ok {
		return list(all)
	}
	return generate("list_reverseiterator", all)
}

func filterRound(_ *frame, v any, a *values) any {
	p := bind("round", a, "precision?", "method?")
	precision := 0
	if given(p[0]) {
		precision = integer(p[0])
	}
	method := "common"
	if given(p[1]) {
		method = str(p[1])
	}
	n := wantNumber(v)
	if precision < -300 || precision > 300 {
		fail("round to %d digits is not supported", precision)
	}
	switch method {
	case "common":
		if n.integer != nil {
			if precision < 0 {
				fail("round of an integer to %d digits is not supported", precision)
			}
			return shrink(n.integer)
		}
		if precision < 0 {
			fail("round to %d digits is not supported", precision)
		}
		x, _ := strconv.ParseFloat(strconv.FormatFloat(n.float, 'f', precision, 64), 64)
		return x
	case "ceil", "floor":
		scale := math.Pow(10, float64(precision))
		x := n.asFloat() * scale
		if method == "ceil" {
			return math.Ceil(x) / scale
		}
		return math.Floor(x) / scale
	}
	fail("method must be common, ceil or floor")
	return nil
}

func filterSlice(_ *frame, v any, a *values) any {
	p := bind("slice", a, "slices", "fill_with?")
	return late(func() []any { return parts(items(v), integer(p[0]), p[1]) })
}

// parts divides items into n lists of about the same size. fill is added to the shorter
// ones, unless it is absent or none.
func parts(all []any, n int, fill any) []any {
	checkItems(n)
	if n == 0 {
		fail("integer division or modulo by zero")
	}
	var out []any
	from := 0
	for i := range n {
		size := len(all) / n
		more := i < len(all)%n
		if more {
			size++
		}
		part := list(slices.Clone(all[from : from+size]))
		from += size
		if given(fill) && fill != nil && !more {
			part = append(part, fill)
		}
		out = append(out, part)
	}
	return out
}

func filterSort(_ *frame, v any, a *values) any {
	p := bind("sort", a, "reverse?", "case_sensitive?", "attribute?")
	attributes := []any{p[2]}
	if s, ok := asText(p[2]); ok {
		attributes = nil
		for _, name := range strings.Split(s, ",") {
			attributes = append(attributes, name)
		}
	}
	return list(sorted(items(v), flag(p[0]), func(x any) any {
		var key list
		for _, attribute := range attributes {
			k := getter(attribute, nil)(x)
			if !flag(p[1]) {
				k = ignoreCase(k)
			}
			key = append(key, k)
		}
		return key
	}))
}

func filterSum(_ *frame, v any, a *values) any {
	p := bind("sum", a, "attribute?", "start?")
	get := getter(p[0], nil)
	var total any = int64(0)
	if given(p[1]) {
		total = p[1]
	}
	if _, ok := asText(total); ok {
		fail("sum() can't sum strings [use ''.join(seq) instead]")
	}
	for _, x := range items(v) {
		total = arithmetic("+", total, get(x))
	}
	return total
}

// titleWords is the filter title, whose words begin after white space and brackets.
func titleWords(s string) string {
	var b strings.Builder
	first := true
	for s != "" {
		n := letter(s)
		r := []rune(s[:n])[0]
		switch {
		case strings.ContainsRune("-({[<", r) || isSpace(r):
			b.WriteString(s[:n])
			first = true
		case first:
			b.WriteString(upper(s[:n]))
			first = false
		default:
			b.WriteString(lower(s[:n]))
		}
		s = s[n:]
	}
	return b.String()
}

func filterTrim(_ *frame, v any, a *values) any {
	s, like := softText(v)
	return like(strip(s, "strip", bind("trim", a, "chars?")[0]))
}

func filterTruncate(_ *frame, v any, a *values) any {
	p := bind("truncate", a, "length?", "killwords?", "end?", "leeway?")
	size, end, leeway := 255, "...", 5
	if given(p[0]) {
		size = integer(p[0])
	}
	if given(p[2]) {
		end = argText("end", p[2])
	}
	if given(p[3]) && p[3] != nil {
		leeway = integer(p[3])
	}
	if size < count(end) || leeway < 0 {
		fail("truncate to %d characters with an end of %d", size, count(end))
	}
	if length(v) <= size+leeway {
		return v
	}
	s := argText("the value of truncate", v)
	_, to := offsets(s, 0, size-count(end))
	s = s[:to]
	if !flag(p[1]) {
		if i := strings.LastIndexByte(s, ' '); i >= 0 {
			s = s[:i]
		}
	}
	return likeString(v, s+end)
}

func filterUnique(_ *frame, v any, a *values) any {
	p := bind("unique", a, "case_sensitive?", "attribute?")
	get := getter(p[1], nil)
	seen := map[string]bool{}
	var next func() (any, bool)
	return &generator{"generator", func() (any, bool) {
		if next == nil {
			next = iterate(v)
		}
		for {
			x, ok := next()
			if !ok {
				return nil, false
			}
			k := get(x)
			if !flag(p[0]) {
				k = ignoreCase(k)
			}
			if h := hashed(k); !seen[h] {
				seen[h] = true
				return x, true
			}
		}
	}}
}

// urlQuoted quotes text for a URL; in a query a slash is quoted too, and a space is a plus.
func urlQuoted(v any, query bool) string {
	s := strings.ReplaceAll(url.QueryEscape(str(v)), "%7E", "~")
	if !query {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "+", "%20"), "%2F", "/")
	}
	return s
}

func filterURLEncode(_ *frame, v any, a *values) any {
	bind("urlencode", a)
	if _, ok := asText(v); ok || !isIterable(v) {
		return urlQuoted(v, false)
	}
	all := items(v)
	if d, ok := v.(*dict); ok {
		all = pairs(d)
	}
	for i, pair := range all {
		kv := items(pair)
		if len(kv) != 2 {
			fail("urlencode needs pairs, got %d values", len(kv))
		}
		all[i] = urlQuoted(kv[0], true) + "=" + urlQuoted(kv[1], true)
	}
	return join("&", all)
}

func filterWordCount(_ *frame, v any, a *values) any {
	bind("wordcount", a)
	words := strings.FieldsFunc(str(v), func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
	return int64(len(words))
}
