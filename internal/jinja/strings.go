package jinja

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// isSpace reports whether Python's str.isspace does.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// absent is the value of a parameter that was not given.
type absent struct{}

// bind assigns arguments to parameters. A name ending in ? is optional, and its value is
// absent if it is not given. A name that begins with / can only be given by position.
func bind(function string, a *values, parameters ...string) []any {
	v := make([]any, len(parameters))
	if len(a.list) > len(parameters) {
		fail("%s takes at most %d arguments, got %d", function, len(parameters), len(a.list))
	}
	for i := range v {
		v[i] = absent{}
	}
	copy(v, a.list)
	for i, n := range a.names {
		at := slices.IndexFunc(parameters, func(p string) bool { return strings.TrimSuffix(p, "?") == n })
		if at < 0 {
			fail("%s got an unexpected keyword argument %s", function, repr(n))
		}
		if at < len(a.list) {
			fail("%s got multiple values for argument %s", function, repr(n))
		}
		v[at] = a.named[i]
	}
	for i, p := range parameters {
		if v[i] == (absent{}) && !strings.HasSuffix(p, "?") {
			fail("%s is missing the argument %s", function, repr(strings.TrimPrefix(p, "/")))
		}
	}
	return v
}

// given reports whether an optional argument was given.
func given(v any) bool { return v != absent{} }

// argText is an argument that must be a string.
func argText(what string, v any) string {
	s, ok := asText(v)
	if !ok {
		if u, isUndefined := v.(*undefined); isUndefined {
			fail("%s must be str, not Undefined (%s)", what, u.message)
		}
		fail("%s must be str, not %s", what, typeName(v))
	}
	return s
}

// call calls a method.
func (m *method) call(a *values) any {
	switch v := m.self.(type) {
	case string:
		return stringMethod(v, m.name, a)
	case markup:
		if len(a.list)+len(a.names) > 0 {
			fail("%s with arguments is not supported for markup: make a string of it with |string", m.name)
		}
		r := stringMethod(string(v), m.name, a)
		if s, ok := r.(string); ok {
			return markup(s)
		}
		return r
	case *dict:
		return dictMethod(v, m.name, a)
	case list:
		return listMethod(v, v, m.name, a)
	case tuple:
		return listMethod(v, v, m.name, a)
	case float64:
		if m.name == "is_integer" {
			bind(m.name, a)
			return v == float64(int64(v))
		}
	}
	fail("the attribute %s of a %s is not supported", m.name, typeName(m.self))
	return nil
}

func dictMethod(d *dict, name string, a *values) any {
	switch name {
	case "get":
		v := bind("get", a, "/key", "/default?")
		if x, ok := d.get(v[0]); ok {
			return x
		}
		if given(v[1]) {
			return v[1]
		}
		return nil
	case "keys":
		bind(name, a)
		return &view{"dict_keys", d.keys}
	case "values":
		bind(name, a)
		return &view{"dict_values", d.values}
	case "items":
		bind(name, a)
		return &view{"dict_items", pairs(d)}
	case "copy":
		bind(name, a)
		return d
	}
	fail("dict.%s is not supported", name)
	return nil
}

// pairs are the keys and values of a dictionary.
func pairs(d *dict) list {
	all := make(list, d.len())
	for i, k := range d.keys {
		all[i] = tuple{k, d.values[i]}
	}
	return all
}

func listMethod(v any, all []any, name string, a *values) any {
	switch name {
	case "copy":
		bind(name, a)
		return v
	case "count":
		x := bind(name, a, "/value")[0]
		n := 0
		for _, item := range all {
			if equal(item, x) {
				n++
			}
		}
		return int64(n)
	case "index":
		p := bind(name, a, "/value", "/start?", "/stop?")
		from, to := window(p[1], p[2], len(all))
		for i := from; i < to; i++ {
			if equal(all[i], p[0]) {
				return int64(i)
			}
		}
		fail("%s is not in list", repr(p[0]))
	}
	fail("%s.%s is not supported", typeName(v), name)
	return nil
}

// window is what optional arguments start and stop mean for something of a size.
func window(start, stop any, size int) (from, to int) {
	to = size
	if given(start) && start != nil {
		from = clamped(bounded(start, 0), size, 0, size)
	}
	if given(stop) && stop != nil {
		to = clamped(bounded(stop, size), size, 0, size)
	}
	return from, max(to, from)
}

// stringMethod calls a method of a string.
func stringMethod(s, name string, a *values) any {
	switch name {
	case "strip", "lstrip", "rstrip":
		return strip(s, name, bind(name, a, "/chars?")[0])
	case "split", "rsplit":
		p := bind(name, a, "sep?", "maxsplit?")
		most := -1
		if given(p[1]) {
			most = integer(p[1])
		}
		return texts(split(s, p[0], most, name == "rsplit"))
	case "splitlines":
		p := bind(name, a, "keepends?")
		return texts(lines(s, given(p[0]) && truth(p[0])))
	case "join":
		return join(s, items(bind(name, a, "/iterable")[0]))
	case "replace":
		p := bind(name, a, "/old", "/new", "/count?")
		most := -1
		if given(p[2]) {
			most = integer(p[2])
		}
		return replace(s, argText("replace() argument 1", p[0]), argText("replace() argument 2", p[1]), most)
	case "startswith", "endswith":
		return affix(s, name, bind(name, a, "/prefix", "/start?", "/end?"))
	case "find", "index", "rfind", "rindex", "count":
		return find(s, name, bind(name, a, "/sub", "/start?", "/end?"))
	case "removeprefix":
		return strings.TrimPrefix(s, argText("removeprefix() argument", bind(name, a, "/prefix")[0]))
	case "removesuffix":
		return strings.TrimSuffix(s, argText("removesuffix() argument", bind(name, a, "/suffix")[0]))
	case "partition", "rpartition":
		sep := argText("must", bind(name, a, "/sep")[0])
		if sep == "" {
			fail("empty separator")
		}
		i := strings.Index(s, sep)
		if name == "rpartition" {
			i = strings.LastIndex(s, sep)
		}
		switch {
		case i >= 0:
			return tuple{s[:i], sep, s[i+len(sep):]}
		case name == "partition":
			return tuple{s, "", ""}
		}
		return tuple{"", "", s}
	case "center", "ljust", "rjust":
		p := bind(name, a, "/width", "/fillchar?")
		fill := " "
		if given(p[1]) {
			fill = argText("the fill character", p[1])
		}
		if count(fill) != 1 {
			fail("the fill character must be exactly one character long")
		}
		return justified(s, name, integer(p[0]), fill)
	case "zfill":
		n := integer(bind(name, a, "/width")[0]) - count(s)
		checkText(n)
		sign := ""
		if s != "" && (s[0] == '-' || s[0] == '+') {
			sign = s[:1]
		}
		return sign + strings.Repeat("0", max(n, 0)) + s[len(sign):]
	case "expandtabs":
		p := bind(name, a, "tabsize?")
		size := 8
		if given(p[0]) {
			size = integer(p[0])
		}
		return expandTabs(s, size)
	case "format":
		return format(s, a)
	}
	bind(name, a)
	switch name {
	case "upper":
		return upper(s)
	case "lower":
		return lower(s)
	case "casefold":
		return cases.Fold().String(s)
	case "capitalize":
		return capitalize(s)
	case "title":
		return title(s)
	case "swapcase":
		return swapCase(s)
	case "isascii":
		return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	case "isspace":
		return every(s, isSpace)
	case "isalpha":
		return every(s, unicode.IsLetter)
	case "isdecimal":
		return every(s, unicode.IsDigit)
	case "isdigit", "isnumeric", "isalnum":
		if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf && !unicode.IsLetter(r) }) >= 0 {
			fail("%s of characters beyond ASCII is not supported", name)
		}
		return every(s, func(r rune) bool {
			return unicode.IsDigit(r) || name == "isalnum" && unicode.IsLetter(r)
		})
	case "islower":
		return cased(s, unicode.IsLower, unicode.IsUpper)
	case "istitle":
		return isTitle(s)
	case "isupper":
		return cased(s, unicode.IsUpper, unicode.IsLower)
	}
	fail("str.%s is not supported", name)
	return nil
}

// every reports whether a string is not empty and all its characters are of a kind.
func every(s string, is func(rune) bool) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
}

// cased reports whether a string has characters of one case and none of the other.
func cased(s string, is, isOther func(rune) bool) bool {
	return strings.IndexFunc(s, is) >= 0 && strings.IndexFunc(s, func(r rune) bool {
		return isOther(r) || unicode.IsTitle(r)
	}) < 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func upper(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und).String(s)
}

// capitalize is the first character in title case and the rest in lower case.
func capitalize(s string) string {
	if s == "" {
		return s
	}
	n := letter(s)
	return titled(s[:n]) + lower(s[n:])
}

// titled is a character in title case.
func titled(c string) string {
	if isASCII(c) {
		return strings.ToUpper(c)
	}
	return cases.Title(language.Und, cases.NoLower).String(c)
}

// title is a string with words that begin with a capital; a word is a run of letters.
func title(s string) string {
	var b strings.Builder
	inside := false
	for s != "" {
		n := letter(s)
		r, _ := utf8.DecodeRuneInString(s)
		isCased := unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
		switch {
		case !isCased:
			b.WriteString(s[:n])
		case inside:
			b.WriteString(lower(s[:n]))
		default:
			b.WriteString(titled(s[:n]))
		}
		inside = isCased
		s = s[n:]
	}
	return b.String()
}

// isTitle reports whether a string has words, and all begin with a capital as those of title.
func isTitle(s string) bool {
	words := false
	inside := false
	for _, r := range s {
		switch {
		case unicode.IsUpper(r) || unicode.IsTitle(r):
			if inside {
				return false
			}
			inside = true
			words = true
		case unicode.IsLower(r):
			if !inside {
				return false
			}
		default:
			inside = false
		}
	}
	return words
}

func swapCase(s string) string {
	var b strings.Builder
	for s != "" {
		n := letter(s)
		if r, _ := utf8.DecodeRuneInString(s); unicode.IsUpper(r) {
			b.WriteString(lower(s[:n]))
		} else {
			b.WriteString(upper(s[:n]))
		}
		s = s[n:]
	}
	return b.String()
}

// strip removes characters from the ends of a string: those of chars, or white space.
func strip(s, name string, chars any) string {
	is := isSpace
	if given(chars) && chars != nil {
		set := argText(name+" arg", chars)
		is = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if name != "rstrip" {
		s = strings.TrimLeftFunc(s, is)
	}
	if name != "lstrip" {
		s = strings.TrimRightFunc(s, is)
	}
	return s
}

// texts is a list of strings.
func texts(all []string) list {
	v := make(list, len(all))
	for i, s := range all {
		v[i] = s
	}
	return v
}

// split splits a string at most times, from the right if fromRight is set; -1 is without
// limit. Without a separator it splits at white space.
func split(s string, sep any, most int, fromRight bool) []string {
	if given(sep) && sep != nil {
		by := argText("the separator", sep)
		if by == "" {
			fail("empty separator")
		}
		checkItems(strings.Count(s, by))
		splits := -1
		if most >= 0 {
			splits = most + 1
		}
		if most < 0 || !fromRight {
			return strings.SplitN(s, by, splits)
		}
		var parts []string
		for len(parts) < most {
			i := strings.LastIndex(s, by)
			if i < 0 {
				break
			}
			parts = append(parts, s[i+len(by):])
			s = s[:i]
		}
		parts = append(parts, s)
		slices.Reverse(parts)
		return parts
	}
	if most < 0 {
		return strings.FieldsFunc(s, isSpace)
	}
	var parts []string
	if fromRight {
		for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
			i := strings.LastIndexFunc(s, isSpace)
			if len(parts) == most || i < 0 {
				parts = append(parts, s)
				break
			}
			i += letter(s[i:])
			parts = append(parts, s[i:])
			s = s[:i]
		}
		slices.Reverse(parts)
		return parts
	}
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		i := strings.IndexFunc(s, isSpace)
		if len(parts) == most || i < 0 {
			parts = append(parts, s)
			break
		}
		parts = append(parts, s[:i])
		s = s[i:]
	}
	return parts
}

// lines splits a string at all that Python takes for the end of a line.
func lines(s string, keep bool) []string {
	var all []string
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(all, s)
		}
		end := i + letter(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			end = i + 2
		}
		if keep {
			i = end
		}
		all = append(all, s[:i])
		s = s[end:]
	}
	return all
}

// join joins strings.
func join(sep string, all []any) string {
	var b strings.Builder
	for i, v := range all {
		s, ok := asText(v)
		if !ok {
			fail("sequence item %d: expected str instance, %s found", i, typeName(v))
		}
		if i > 0 {
			b.WriteString(sep)
		}
		checkText(b.Len() + len(s) + len(sep))
		b.WriteString(s)
	}
	return b.String()
}

// replace replaces at most times; -1 is without limit.
func replace(s, old, with string, most int) string {
	n := strings.Count(s, old)
	if most >= 0 {
		n = min(n, most)
	}
	if len(with) > 0 && n > maxText/len(with) {
		checkText(maxText + 1)
	}
	checkText(len(s) + n*(len(with)-len(old)))
	return strings.Replace(s, old, with, most)
}

// part is s[start:stop], or false if it begins after the end of s.
func part(s string, start, stop any) (string, int, bool) {
	if !given(start) && !given(stop) {
		return s, 0, true
	}
	n := count(s)
	from, to := window(start, stop, n)
	after := given(start) && start != nil && bounded(start, 0) > n
	a, b := offsets(s, from, to)
	return s[a:b], from, !after
}

func affix(s, name string, p []any) bool {
	within, _, ok := part(s, p[1], p[2])
	affixes, isTuple := p[0].(tuple)
	if !isTuple {
		affixes = tuple{p[0]}
	}
	for _, v := range affixes {
		x, isText := asText(v)
		if u, isUndefined := v.(*undefined); isUndefined {
			fail("%s first arg must be str or a tuple of str, not Undefined (%s)", name, u.message)
		}
		if !isText {
			fail("%s first arg must be str or a tuple of str, not %s", name, typeName(v))
		}
		if ok && (name == "startswith" && strings.HasPrefix(within, x) ||
			name == "endswith" && strings.HasSuffix(within, x)) {
			return true
		}
	}
	return false
}

// find searches in a string.
func find(s, name string, p []any) any {
	sub := argText("must", p[0])
	within, from, ok := part(s, p[1], p[2])
	if name == "count" {
		if !ok {
			return int64(0)
		}
		return int64(strings.Count(within, sub))
	}
	i := strings.Index(within, sub)
	if strings.HasPrefix(name, "r") {
		i = strings.LastIndex(within, sub)
	}
	if i < 0 || !ok {
		if strings.HasSuffix(name, "index") {
			fail("substring not found")
		}
		return int64(-1)
	}
	return int64(from + count(within[:i]))
}

// justified fills a string up to a width.
func justified(s, name string, width int, fill string) string {
	n := width - count(s)
	if n <= 0 {
		return s
	}
	checkText(n)
	left := 0
	switch name {
	case "rjust":
		left = n
	case "center":
		left = n/2 + n&width&1
	}
	return strings.Repeat(fill, left) + s + strings.Repeat(fill, n-left)
}

func expandTabs(s string, size int) string {
	var b strings.Builder
	column := 0
	for s != "" {
		n := letter(s)
		switch c := s[:n]; {
		case c == "\t":
			if size > 0 {
				fill := size - column%size
				checkText(b.Len() + fill)
				b.WriteString(strings.Repeat(" ", fill))
				column += fill
			}
		case c == "\n" || c == "\r":
			b.WriteString(c)
			column = 0
		default:
			b.WriteString(c)
			column++
		}
		s = s[n:]
	}
	return b.String()
}
