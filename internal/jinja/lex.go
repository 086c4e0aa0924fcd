package jinja

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token.
type kind int

const (
	endOfTemplate kind = iota
	data
	variableBegin
	variableEnd
	blockBegin
	blockEnd
	name
	text   // a string literal
	number // value holds it
	operator
)

// token is a piece of a template.
type token struct {
	kind  kind
	line  int
	text  string // of data, names, strings and operators
	value any    // of numbers
}

// is reports whether the token is this name or operator.
func (t token) is(k kind, text string) bool { return t.kind == k && t.text == text }

// String describes the token in errors.
func (t token) String() string {
	switch t.kind {
	case endOfTemplate:
		return "the end of the template"
	case data:
		return "text"
	case variableBegin:
		return "{{"
	case variableEnd:
		return "}}"
	case blockBegin:
		return "{%"
	case blockEnd:
		return "%}"
	case number:
		return str(t.value)
	}
	return t.text
}

var (
	rawBegin = regexp.MustCompile(`^\{%([-+]?)\s*raw\s*(?:-%\}\s*|%\})`)
	rawEnd   = regexp.MustCompile(`(?s)\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)`)
	floats   = regexp.MustCompile(`^(?:[0-9]+_)*[0-9]+(?:\.(?:[0-9]+_)*[0-9]+(?:[eE][+-]?(?:[0-9]+_)*[0-9]+)?` +
		`|[eE][+-]?(?:[0-9]+_)*[0-9]+)`)
	integers = regexp.MustCompile(`^(?i:0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[0-9a-f])+|[1-9](?:_?[0-9])*|0(?:_?0)*)`)
	newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")
)

// operators in the order in which they are tried.
var operators = []string{
	"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
	">", "<", "=", ".", ":", "|", ",", ";",
}

// lexer splits a template into tokens.
type lexer struct {
	rest     string
	line     *int // where it is, for errors
	tokens   []token
	brackets []byte // closing brackets that are expected
	newLine  bool   // rest begins a line
}

// lex splits a template into tokens, ended by one of kind endOfTemplate.
func lex(source string, line *int) []token {
	l := &lexer{rest: strings.TrimSuffix(newlines.Replace(source), "\n"), line: line, newLine: true}
	*line = 1
	for l.rest != "" {
		l.root()
	}
	l.add(endOfTemplate, "")
	return l.tokens
}

func (l *lexer) add(k kind, s string) {
	l.tokens = append(l.tokens, token{kind: k, line: *l.line, text: s})
}

// take removes n bytes from the rest and returns them.
func (l *lexer) take(n int) string {
	s := l.rest[:n]
	l.rest = l.rest[n:]
	*l.line += strings.Count(s, "\n")
	if n > 0 {
		l.newLine = s[n-1] == '\n'
	}
	return s
}

// root reads text and the tag that follows it.
func (l *lexer) root() {
	at := 0
	for {
		i := strings.IndexByte(l.rest[at:], '{')
		if i < 0 || at+i+1 >= len(l.rest) {
			l.data(len(l.rest), "", false)
			return
		}
		at += i
		if c := l.rest[at+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		at++
	}
	tag := l.rest[at+1]
	raw := rawBegin.FindString(l.rest[at:])
	sign := ""
	if len(l.rest) > at+2 && strings.IndexByte("-+", l.rest[at+2]) >= 0 {
		sign = l.rest[at+2 : at+3]
	}
	l.data(at, sign, tag != '{')
	switch {
	case raw != "":
		l.take(len(raw))
		l.raw()
	case tag == '#':
		l.take(2 + len(sign))
		l.comment()
	case tag == '{':
		l.add(variableBegin, "")
		l.take(2 + len(sign))
		l.inside(variableEnd)
	default:
		l.add(blockBegin, "")
		l.take(2 + len(sign))
		l.inside(blockEnd)
	}
}

// data adds n bytes of text that stand before a tag with a sign. If the tag is not a
// variable, white space between the beginning of its line and the tag does not count.
func (l *lexer) data(n int, sign string, strips bool) {
	line := *l.line
	starts := l.newLine
	s := stripped(l.take(n), sign, strips, starts)
	if s != "" {
		l.tokens = append(l.tokens, token{kind: data, line: line, text: s})
	}
}

// stripped is the text before a tag without the white space that the tag removes.
func stripped(s, sign string, strips, starts bool) string {
	if sign == "-" {
		return strings.TrimRightFunc(s, isSpace)
	}
	if sign == "+" || !strips {
		return s
	}
	from := strings.LastIndexByte(s, '\n') + 1
	if from == 0 && !starts || strings.TrimLeftFunc(s[from:], isSpace) != "" {
		return s
	}
	return s[:from]
}

// raw reads the text of a raw block.
func (l *lexer) raw() {
	m := rawEnd.FindStringSubmatchIndex(l.rest)
	if m == nil {
		fail("the end of raw is missing")
	}
	sign := l.rest[m[2]:m[3]]
	end := l.rest[m[0]:m[1]]
	l.data(m[0], sign, true)
	l.take(len(end))
	if strings.HasSuffix(strings.TrimRightFunc(end, isSpace), "-%}") {
		l.skipSpace()
	}
}

// comment skips a comment.
func (l *lexer) comment() {
	end := strings.Index(l.rest, "#}")
	if end < 0 {
		fail("the end of a comment is missing")
	}
	sign := ""
	if end > 0 {
		sign = l.rest[end-1 : end]
	}
	l.take(end + 2)
	l.afterTag(sign)
}

// afterTag skips what the end of a tag removes: all white space, nothing, or one newline.
func (l *lexer) afterTag(sign string) {
	switch {
	case sign == "-":
		l.skipSpace()
	case sign != "+" && strings.HasPrefix(l.rest, "\n"):
		l.take(1)
	}
}

func (l *lexer) skipSpace() {
	l.take(len(l.rest) - len(strings.TrimLeftFunc(l.rest, isSpace)))
}

// inside reads the tokens of a tag, up to its end.
func (l *lexer) inside(end kind) {
	mark := "}}"
	signs := "-"
	if end == blockEnd {
		mark = "%}"
		signs = "-+"
	}
	for {
		if len(l.brackets) == 0 {
			sign := ""
			if l.rest != "" && strings.IndexByte(signs, l.rest[0]) >= 0 {
				sign = l.rest[:1]
			}
			if strings.HasPrefix(l.rest[len(sign):], mark) {
				l.add(end, "")
				l.take(len(sign) + 2)
				switch {
				case sign == "-":
					l.skipSpace()
				case end == blockEnd:
					l.afterTag(sign)
				}
				return
			}
		}
		if l.rest == "" {
			l.add(endOfTemplate, "")
			return
		}
		l.token()
	}
}

// token reads one token of a tag.
func (l *lexer) token() {
	if r, _ := utf8.DecodeRuneInString(l.rest); isSpace(r) {
		l.skipSpace()
		return
	}
	afterDot := len(l.tokens) > 0 && l.tokens[len(l.tokens)-1].is(operator, ".")
	if s := floats.FindString(l.rest); s != "" && !afterDot {
		v, _ := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
		l.tokens = append(l.tokens, token{number, *l.line, s, v})
		l.take(len(s))
		return
	}
	if s := integers.FindString(l.rest); s != "" {
		v, ok := new(big.Int).SetString(strings.ReplaceAll(s, "_", ""), 0)
		if strings.Trim(s, "0_") == "" {
			v, ok = new(big.Int), true
		}
		if !ok {
			fail("%s is not a number", s)
		}
		l.tokens = append(l.tokens, token{number, *l.line, s, shrink(v)})
		l.take(len(s))
		return
	}
	n := strings.IndexFunc(l.rest, func(r rune) bool { return !isWord(r) })
	if n < 0 {
		n = len(l.rest)
	}
	switch {
	case n > 0:
		l.add(name, l.rest[:n])
		l.take(n)
	case l.rest[0] == '"' || l.rest[0] == '\'':
		l.literal()
	default:
		l.operator()
	}
}

// isWord reports whether r may be in a name.
func isWord(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Mn, r)
}

// operator reads an operator and checks that brackets match.
func (l *lexer) operator() {
	for _, op := range operators {
		if !strings.HasPrefix(l.rest, op) {
			continue
		}
		switch op {
		case "(":
			l.brackets = append(l.brackets, ')')
		case "[":
			l.brackets = append(l.brackets, ']')
		case "{":
			l.brackets = append(l.brackets, '}')
		case ")", "]", "}":
			n := len(l.brackets)
			if n == 0 {
				fail("unexpected '%s'", op)
			}
			if l.brackets[n-1] != op[0] {
				fail("unexpected '%s', expected '%c'", op, l.brackets[n-1])
			}
			l.brackets = l.brackets[:n-1]
		}
		if len(l.brackets) > maxNesting {
			fail("more than %d brackets in each other", maxNesting)
		}
		l.add(operator, op)
		l.take(len(op))
		return
	}
	r, _ := utf8.DecodeRuneInString(l.rest)
	fail("unexpected char %s", repr(string(r)))
}

// literal reads a string literal, with the escapes of Python.
func (l *lexer) literal() {
	quote := l.rest[0]
	end := 1
	for end < len(l.rest) && l.rest[end] != quote {
		if l.rest[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(l.rest) {
		fail("unexpected char %s", repr(string(quote)))
	}
	l.add(text, unescape(l.rest[1:end]))
	l.take(end + 1)
}

// unescape replaces the escapes of a string literal.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	const simple = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v"
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		c := s[i+1]
		s = s[i+2:]
		switch {
		case c == '\n':
		case strings.IndexByte(simple, c)&1 == 0: // at an even index: the letter of an escape
			b.WriteByte(simple[strings.IndexByte(simple, c)+1])
		case c == 'x' || c == 'u' || c == 'U':
			n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			if n > len(s) {
				fail("truncated \\%c escape", c)
			}
			v, err := strconv.ParseUint(s[:n], 16, 32)
			if err != nil {
				fail("truncated \\%c escape", c)
			}
			if v > unicode.MaxRune || v >= 0xd800 && v < 0xe000 {
				fail("\\%c%s is not a character", c, s[:n])
			}
			b.WriteRune(rune(v))
			s = s[n:]
		case c == 'N':
			fail("\\N escapes are not supported")
		case c >= '0' && c <= '7':
			v := rune(c - '0')
			for k := 0; k < 2 && s != "" && s[0] >= '0' && s[0] <= '7'; k++ {
				v = v<<3 | rune(s[0]-'0')
				s = s[1:]
			}
			b.WriteRune(v)
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}
