package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// DecodeJSON reads a JSON value as Python's json.loads does: the order of keys is kept, the
// last of several equal keys counts, integers are exact, and bytes of strings which are not
// UTF-8 are kept.
func DecodeJSON(raw []byte) (v any, err error) {
	d := &jsonDecoder{text: string(raw)}
	defer func() {
		switch x := recover().(type) {
		case nil:
		case *Error:
			v = nil
			err = errors.New(x.Message)
		default:
			panic(x)
		}
	}()
	v = d.value(0)
	d.space()
	if d.at < len(d.text) {
		d.fail("expected the end")
	}
	return v, nil
}

type jsonDecoder struct {
	text string
	at   int
}

func (d *jsonDecoder) fail(want string) {
	seen := "the end"
	if d.at < len(d.text) {
		seen = strconv.Quote(d.text[d.at:min(d.at+10, len(d.text))])
	}
	fail("byte %d: %s, got %s", d.at, want, seen)
}

func (d *jsonDecoder) space() {
	for d.at < len(d.text) && strings.IndexByte(" \t\r\n", d.text[d.at]) >= 0 {
		d.at++
	}
}

// skip removes a text if it comes next.
func (d *jsonDecoder) skip(s string) bool {
	if strings.HasPrefix(d.text[d.at:], s) {
		d.at += len(s)
		return true
	}
	return false
}

func (d *jsonDecoder) value(depth int) any {
	if depth > maxNesting {
		fail("more than %d values in each other", maxNesting)
	}
	d.space()
	switch {
	case d.skip("null"):
		return nil
	case d.skip("true"):
		return true
	case d.skip("false"):
		return false
	case d.skip("NaN"):
		return math.NaN()
	case d.skip("Infinity"):
		return math.Inf(1)
	case d.skip("-Infinity"):
		return math.Inf(-1)
	case d.skip("["):
		v := list{}
		d.members("]", func() { v = append(v, d.value(depth+1)) })
		return v
	case d.skip("{"):
		v := newDict()
		d.members("}", func() {
			d.space()
			if !d.skip(`"`) {
				d.fail("expected a key")
			}
			key := d.literal()
			d.space()
			if !d.skip(":") {
				d.fail("expected :")
			}
			v.set(key, d.value(depth+1))
		})
		return v
	case d.skip(`"`):
		return d.literal()
	}
	return d.number()
}

// members reads members with commas up to a closing bracket.
func (d *jsonDecoder) members(end string, member func()) {
	d.space()
	if d.skip(end) {
		return
	}
	for {
		member()
		d.space()
		switch {
		case d.skip(end):
			return
		case !d.skip(","):
			d.fail("expected , or " + end)
		}
	}
}

func (d *jsonDecoder) number() any {
	from := d.at
	digits := func() bool {
		start := d.at
		for d.at < len(d.text) && '0' <= d.text[d.at] && d.text[d.at] <= '9' {
			d.at++
		}
		return d.at > start
	}
	d.skip("-")
	if !d.skip("0") && !digits() {
		d.at = from
		d.fail("expected a value")
	}
	isInt := true
	if at := d.at; d.skip(".") {
		isInt = !digits()
		if isInt {
			d.at = at
		}
	}
	if at := d.at; d.skip("e") || d.skip("E") {
		if !d.skip("-") {
			d.skip("+")
		}
		if digits() {
			isInt = false
		} else {
			d.at = at
		}
	}
	s := d.text[from:d.at]
	if !isInt {
		v, _ := strconv.ParseFloat(s, 64) // beyond the range: infinite, as in the reference
		return v
	}
	if len(s) > 4300 {
		fail("an integer of %d digits, at most 4300 are taken", len(s))
	}
	v, _ := new(big.Int).SetString(s, 10)
	return shrink(v)
}

// literal reads a string after its opening quote.
func (d *jsonDecoder) literal() string {
	var b strings.Builder
	for {
		n := strings.IndexAny(d.text[d.at:], "\"\\")
		if n < 0 {
			d.at = len(d.text)
			d.fail("expected the end of a string")
		}
		plain := d.text[d.at : d.at+n]
		if i := strings.IndexFunc(plain, func(r rune) bool { return r < ' ' }); i >= 0 {
			d.at += i
			d.fail("expected no control character in a string")
		}
		b.WriteString(plain)
		d.at += n
		if d.skip(`"`) {
			return b.String()
		}
		d.at++
		if d.at == len(d.text) {
			d.fail("expected an escape")
		}
		c := d.text[d.at]
		if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
			b.WriteByte("\"\\/\b\f\n\r\t"[i])
			d.at++
			continue
		}
		if c != 'u' {
			d.fail("expected an escape")
		}
		d.at++
		r := d.hex()
		if utf16.IsSurrogate(r) {
			at := d.at
			if !d.skip(`\u`) || utf16.DecodeRune(r, d.hex()) == unicode.ReplacementChar {
				d.at = at
				d.fail("expected the second half of a character after the half \\u" + strconv.FormatInt(int64(r), 16))
			}
			d.at = at + 2
			r = utf16.DecodeRune(r, d.hex())
		}
		b.WriteRune(r)
	}
}

func (d *jsonDecoder) hex() rune {
	if d.at+4 > len(d.text) {
		d.fail("expected four hexadecimal digits")
	}
	v, err := strconv.ParseUint(d.text[d.at:d.at+4], 16, 32)
	if err != nil {
		d.fail("expected four hexadecimal digits")
	}
	d.at += 4
	return rune(v)
}

// jsonStyle is how values are written.
type jsonStyle struct {
	ascii      bool
	indent     string
	lines      bool // one for each member
	comma      string
	colon      string
	sortedKeys bool
}

// filterToJSON is json.dumps with the defaults that transformers gives it.
func filterToJSON(_ *frame, v any, a *values) any {
	p := bind("tojson", a, "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	s := jsonStyle{ascii: flag(p[0]), comma: ", ", colon: ": ", sortedKeys: flag(p[3])}
	if given(p[1]) && p[1] != nil {
		s.lines = true
		s.comma = ","
		if text, ok := asText(p[1]); ok {
			s.indent = text
		} else {
			n := max(integer(p[1]), 0)
			checkText(n)
			s.indent = strings.Repeat(" ", n)
		}
	}
	if given(p[2]) && p[2] != nil {
		two := items(p[2])
		if len(two) != 2 {
			fail("tojson: separators are two strings, got %d values", len(two))
		}
		s.comma = argText("a separator of tojson", two[0])
		s.colon = argText("a separator of tojson", two[1])
	}
	var b strings.Builder
	s.write(&b, v, 0)
	return b.String()
}

func (s *jsonStyle) write(b *strings.Builder, v any, depth int) {
	if depth > maxNesting {
		fail("more than %d values in each other", maxNesting)
	}
	checkText(b.Len())
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64, *big.Int:
		b.WriteString(repr(v))
	case float64:
		b.WriteString(jsonFloat(v))
	case string:
		s.quote(b, v)
	case markup:
		s.quote(b, string(v))
	case list:
		s.members(b, "[]", len(v), depth, func(i int) { s.write(b, v[i], depth+1) })
	case tuple:
		s.members(b, "[]", len(v), depth, func(i int) { s.write(b, v[i], depth+1) })
	case *dict:
		order := make([]int, v.len())
		for i := range order {
			order[i] = i
		}
		if s.sortedKeys {
			slices.SortStableFunc(order, func(i, j int) int {
				switch {
				case less(v.keys[i], v.keys[j], "<", false):
					return -1
				case equal(v.keys[i], v.keys[j]):
					return 0
				}
				return 1
			})
		}
		s.members(b, "{}", v.len(), depth, func(i int) {
			s.quote(b, jsonKey(v.keys[order[i]]))
			b.WriteString(s.colon)
			s.write(b, v.values[order[i]], depth+1)
		})
	case *undefined:
		fail("Object of type Undefined is not JSON serializable (%s)", v.message)
	default:
		fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

// members writes the members of a list or a dictionary.
func (s *jsonStyle) members(b *strings.Builder, brackets string, n, depth int, member func(i int)) {
	b.WriteByte(brackets[0])
	newLine := func(depth int) {
		if s.lines {
			checkText(b.Len() + len(s.indent)*depth)
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(s.indent, depth))
		}
	}
	for i := range n {
		if i > 0 {
			b.WriteString(s.comma)
		}
		newLine(depth + 1)
		member(i)
	}
	if n > 0 {
		newLine(depth)
	}
	b.WriteByte(brackets[1])
}

// jsonKey is the text of a key.
func jsonKey(k any) string {
	switch k := k.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(k)
	case float64:
		return jsonFloat(k)
	case int64, *big.Int:
		return repr(k)
	}
	s, ok := asText(k)
	if !ok {
		fail("keys must be str, int, float, bool or None, not %s", typeName(k))
	}
	return s
}

func jsonFloat(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return floatText(v)
}

// quote writes a string.
func (s *jsonStyle) quote(b *strings.Builder, text string) {
	b.WriteByte('"')
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune("\b\f\n\r\t", r):
			b.WriteByte('\\')
			b.WriteByte("bfnrt"[strings.IndexRune("\b\f\n\r\t", r)])
		case r < ' ' || s.ascii && r > '~' && r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		case s.ascii && r >= 0x10000:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
}
