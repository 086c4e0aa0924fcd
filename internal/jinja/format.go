package jinja

import (
	"math/big"
	"strconv"
	"strings"
)

// spec is how a value is formatted: what stands after the colon of {:...}, or after %.
type spec struct {
	fill      string
	align     byte // '<', '>', '^', '=', or 0
	sign      byte // '+', ' ', or 0
	alternate bool
	width     int
	group     byte // ',', '_', or 0
	precision int  // -1: none
	kind      byte // of the conversion, 0: none
}

// percent is Python's s % v.
func percent(s string, v any) string {
	arguments, isTuple := v.(tuple)
	if !isTuple {
		arguments = tuple{v}
	}
	mapping, _ := v.(*dict)
	used := 0
	next := func() any {
		if used == len(arguments) {
			fail("not enough arguments for format string")
		}
		used++
		return arguments[used-1]
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		value := next
		if strings.HasPrefix(s, "(") {
			end := strings.IndexByte(s, ')')
			if end < 0 {
				fail("incomplete format key")
			}
			key := s[1:end]
			s = s[end+1:]
			if mapping == nil {
				fail("format requires a mapping")
			}
			used = len(arguments)
			value = func() any {
				x, ok := mapping.get(key)
				if !ok {
					fail("the key %s of a format is not there", repr(key))
				}
				return x
			}
		}
		p := spec{fill: " ", align: '>', precision: -1}
		for s != "" && strings.IndexByte("#0- +", s[0]) >= 0 {
			switch s[0] {
			case '#':
				p.alternate = true
			case '0':
				if p.align != '<' {
					p.fill = "0"
					p.align = '='
				}
			case '-':
				p.fill = " "
				p.align = '<'
			case '+':
				p.sign = '+'
			case ' ':
				p.sign = max(p.sign, ' ')
			}
			s = s[1:]
		}
		if strings.HasPrefix(s, "*") {
			fail("a width of * in a format is not supported")
		}
		p.width, s = leadingNumber(s, 0)
		if strings.HasPrefix(s, ".") {
			p.precision, s = leadingNumber(s[1:], 0)
		}
		s = strings.TrimLeft(s, "hlL")
		if s == "" {
			fail("incomplete format")
		}
		p.kind = s[0]
		s = s[1:]
		if p.kind == '%' {
			b.WriteByte('%')
			continue
		}
		text := p.percentText(value())
		checkText(b.Len() + len(text))
		b.WriteString(text)
	}
	if used < len(arguments) && (isTuple || !hasItems(v)) {
		fail("not all arguments converted during string formatting")
	}
	return b.String()
}

// hasItems reports whether a value that is not a string has items by index or key. Python
// does not mind if a format uses nothing of it.
func hasItems(v any) bool {
	_, isString := asText(v)
	return isSequence(v) && !isString
}

// percentText formats a value for a % conversion.
func (p spec) percentText(v any) string {
	switch p.kind {
	case 's', 'r':
		text := str(v)
		if p.kind == 'r' {
			text = repr(v)
		}
		if p.align == '=' {
			p.fill = " "
			p.align = '>'
		}
		p.kind = 's'
		p.sign = 0
		return p.text(text)
	case 'c':
		s, ok := asText(v)
		if !ok || count(s) != 1 {
			fail("%%c requires a single character here")
		}
		p.precision = -1
		if p.align == '=' {
			p.fill = " "
			p.align = '>'
		}
		return p.text(s)
	case 'd', 'i', 'u', 'x', 'X', 'o':
		n := wantNumber(v)
		if n.integer == nil {
			if p.kind != 'd' && p.kind != 'i' && p.kind != 'u' {
				fail("%%%c format: an integer is required, not float", p.kind)
			}
			whole, ok := truncated(n.float)
			if !ok {
				fail("cannot convert %s to integer", repr(v))
			}
			n = wantNumber(whole)
		}
		if p.kind == 'i' || p.kind == 'u' {
			p.kind = 'd'
		}
		if p.precision >= 0 {
			fail("a precision of an integer in a format is not supported")
		}
		return p.integer(n.integer)
	case 'f', 'F', 'e', 'E', 'g', 'G':
		return p.float(wantNumber(v).asFloat())
	}
	fail("unsupported format character '%c'", p.kind)
	return ""
}

// leadingNumber is the number at the beginning of s, or without, and the rest of s.
func leadingNumber(s string, without int) (int, string) {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == 0 {
		return without, s
	}
	v, err := strconv.Atoi(s[:n])
	if err != nil || v > maxText {
		fail("a width or precision of more than %d", maxText)
	}
	return v, s[n:]
}

// pad fills a text up to the width. sign is what comes before the filling with align =.
func (p spec) pad(sign, s string, align byte) string {
	if p.align != 0 {
		align = p.align
	}
	n := max(p.width-count(sign)-count(s), 0)
	checkText(n*len(p.fill) + len(s))
	switch align {
	case '<':
		return sign + s + strings.Repeat(p.fill, n)
	case '=':
		return sign + strings.Repeat(p.fill, n) + s
	case '^':
		return strings.Repeat(p.fill, n/2) + sign + s + strings.Repeat(p.fill, n-n/2)
	}
	return strings.Repeat(p.fill, n) + sign + s
}

// text formats a string.
func (p spec) text(s string) string {
	if p.kind != 0 && p.kind != 's' && p.kind != 'c' {
		fail("unknown format code '%c' for object of type 'str'", p.kind)
	}
	if p.sign != 0 || p.alternate || p.group != 0 || p.align == '=' {
		fail("this format is not allowed for a string")
	}
	if p.precision >= 0 {
		_, to := offsets(s, 0, min(p.precision, count(s)))
		s = s[:to]
	}
	return p.pad("", s, '<')
}

// grouped puts separators between groups of three digits.
func grouped(digits string, by byte) string {
	if by == 0 {
		return digits
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	var b strings.Builder
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(by)
		}
		b.WriteByte(whole[i])
	}
	if fraction != "" {
		b.WriteString("." + fraction)
	}
	return b.String()
}

// signOf is the sign of a number in front of it.
func (p spec) signOf(negative bool) string {
	switch {
	case negative:
		return "-"
	case p.sign != 0:
		return string(p.sign)
	}
	return ""
}

// integer formats an integer.
func (p spec) integer(v *big.Int) string {
	base := map[byte]int{0: 10, 'd': 10, 'n': 10, 'x': 16, 'X': 16, 'o': 8, 'b': 2}[p.kind]
	if base == 0 {
		return p.float(numeric{integer: v}.asFloat())
	}
	if p.precision >= 0 {
		fail("Precision not allowed in integer format specifier")
	}
	if p.group != 0 && (base != 10 || p.fill == "0" && p.align == '=') {
		fail("groups of digits in this format are not supported")
	}
	sign := p.signOf(v.Sign() < 0)
	digits := new(big.Int).Abs(v).Text(base)
	if p.kind == 'X' {
		digits = strings.ToUpper(digits)
	}
	if p.alternate && base != 10 {
		sign += "0" + string(p.kind)
	}
	return p.pad(sign, grouped(digits, p.group), '>')
}

// float formats a float.
func (p spec) float(v float64) string {
	if p.alternate || p.kind == 'n' || p.group != 0 && p.fill == "0" && p.align == '=' {
		fail("this format of a float is not supported")
	}
	precision := p.precision
	if precision > 1000 {
		fail("a precision of more than 1000 is not supported")
	}
	negative := strings.HasPrefix(floatText(v), "-")
	if negative {
		v = -v
	}
	var s string
	if t := floatText(v); t == "inf" || t == "nan" {
		s = t
	} else {
		switch p.kind {
		case 0:
			s = floatText(v)
			if precision >= 0 {
				fail("a precision of a float without a kind, such as f, is not supported")
			}
		case 'f', 'F', '%':
			if precision < 0 {
				precision = 6
			}
			if p.kind == '%' {
				v *= 100
			}
			s = strconv.FormatFloat(v, 'f', precision, 64)
		case 'e', 'E':
			if precision < 0 {
				precision = 6
			}
			s = strconv.FormatFloat(v, p.kind, precision, 64)
		case 'g', 'G':
			s = general(v, precision)
			if p.kind == 'G' {
				s = strings.ToUpper(s)
			}
		default:
			fail("unknown format code '%c' for object of type 'float'", p.kind)
		}
	}
	if p.kind == '%' {
		s += "%"
	}
	return p.pad(p.signOf(negative), grouped(s, p.group), '>')
}

// general is the format g: rounded to significant digits, without zeros at the end.
func general(v float64, precision int) string {
	if precision < 0 {
		precision = 6
	}
	precision = max(precision, 1)
	s := strconv.FormatFloat(v, 'e', precision-1, 64)
	mantissa, exponent, _ := strings.Cut(s, "e")
	e, _ := strconv.Atoi(exponent)
	if e < -4 || e >= precision {
		if strings.Contains(mantissa, ".") {
			mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		}
		return mantissa + "e" + exponent
	}
	s = strconv.FormatFloat(v, 'f', precision-1-e, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// format is Python's str.format.
func format(s string, a *values) string {
	var b strings.Builder
	automatic := 0
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		c := s[i]
		s = s[i+1:]
		if s != "" && s[0] == c {
			b.WriteByte(c)
			s = s[1:]
			continue
		}
		if c == '}' {
			fail("Single '}' encountered in format string")
		}
		end := strings.IndexByte(s, '}')
		if end < 0 {
			fail("expected '}' before end of string")
		}
		field := s[:end]
		s = s[end+1:]
		if strings.Contains(field, "{") {
			fail("a format in a format is not supported")
		}
		field, layout, _ := strings.Cut(field, ":")
		field, conversion, converted := strings.Cut(field, "!")
		v := fieldValue(field, a, &automatic)
		switch {
		case !converted:
		case conversion == "s":
			v = str(v)
		case conversion == "r":
			v = repr(v)
		default:
			fail("the conversion !%s of a format is not supported", conversion)
		}
		text := formatted(v, layout)
		checkText(b.Len() + len(text))
		b.WriteString(text)
	}
	return b.String()
}

// fieldValue is the value of a field: a number, a name or nothing, and then attributes and
// items.
func fieldValue(field string, a *values, automatic *int) any {
	n := strings.IndexAny(field, ".[")
	if n < 0 {
		n = len(field)
	}
	first, rest := field[:n], field[n:]
	i, err := strconv.Atoi(first)
	if first == "" {
		if *automatic < 0 {
			fail("cannot switch from manual field specification to automatic field numbering")
		}
		i = *automatic
		err = nil
		*automatic++
	} else if err == nil {
		if *automatic > 0 {
			fail("cannot switch from automatic field numbering to manual field specification")
		}
		*automatic = -1
	}
	var v any
	if err == nil {
		if i < 0 || i >= len(a.list) {
			fail("Replacement index %d out of range for positional args tuple", i)
		}
		v = a.list[i]
	} else {
		found := false
		for k, name := range a.names {
			if name == first {
				v = a.named[k]
				found = true
			}
		}
		if !found {
			fail("the key %s of a format is not there", repr(first))
		}
	}
	for rest != "" {
		if rest[0] == '.' {
			n := strings.IndexAny(rest[1:], ".[")
			if n < 0 {
				n = len(rest) - 1
			}
			v = attribute(v, rest[1:n+1])
			rest = rest[n+1:]
			continue
		}
		key, after, ok := strings.Cut(rest[1:], "]")
		if !ok || rest[0] != '[' {
			fail("Missing ']' in format string")
		}
		if n, err := strconv.Atoi(key); err == nil && n >= 0 {
			v = item(v, int64(n))
		} else {
			v = item(v, key)
		}
		rest = after
	}
	return v
}

// formatted formats a value as the layout after a colon says.
func formatted(v any, layout string) string {
	if layout == "" {
		return str(v)
	}
	p := parseSpec(layout)
	if s, ok := asText(v); ok {
		return p.text(s)
	}
	n, ok := numberOf(v)
	switch {
	case !ok:
		fail("unsupported format string passed to %s.__format__", typeName(v))
	case n.integer == nil:
		return p.float(n.float)
	}
	if _, isBool := v.(bool); isBool {
		fail("a format of a boolean is not supported")
	}
	return p.integer(n.integer)
}

// parseSpec parses [[fill]align][sign][#][0][width][group][.precision][kind].
func parseSpec(s string) spec {
	p := spec{fill: " ", precision: -1}
	n := letter(s)
	switch {
	case len(s) > n && strings.IndexByte("<>=^", s[n]) >= 0:
		p.fill = s[:n]
		p.align = s[n]
		s = s[n+1:]
	case strings.IndexByte("<>=^", s[0]) >= 0:
		p.align = s[0]
		s = s[1:]
	}
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		if s[0] != '-' {
			p.sign = s[0]
		}
		s = s[1:]
	}
	if strings.HasPrefix(s, "#") {
		p.alternate = true
		s = s[1:]
	}
	if strings.HasPrefix(s, "0") && p.align == 0 {
		p.fill = "0"
		p.align = '='
		s = s[1:]
	}
	p.width, s = leadingNumber(s, 0)
	if s != "" && (s[0] == ',' || s[0] == '_') {
		p.group = s[0]
		s = s[1:]
	}
	if strings.HasPrefix(s, ".") {
		p.precision, s = leadingNumber(s[1:], -1)
		if p.precision < 0 {
			fail("Format specifier missing precision")
		}
	}
	if len(s) > 1 {
		fail("Invalid format specifier")
	}
	if s != "" {
		p.kind = s[0]
	}
	return p
}
