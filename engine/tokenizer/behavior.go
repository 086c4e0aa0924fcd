package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// part is a stretch of a text that a pattern matches, or that lies between
// matches.
type part struct {
	text  string
	match bool
}

// behave says what a splitter does with the parts: tokenizers' SplitDelimiter-
// Behavior by its names in files.
func behave(name string) (func(parts []part, emit func(string)), error) {
	// join emits stretches of parts; begin says whether a part begins one.
	join := func(begin func(last, next part) bool) func([]part, func(string)) {
		return func(parts []part, emit func(string)) {
			word := ""
			for i, p := range parts {
				if i > 0 && begin(parts[i-1], p) {
					emit(word)
					word = ""
				}
				word += p.text
			}
			if word != "" {
				emit(word)
			}
		}
	}
	switch name {
	case "Isolated":
		return join(func(_, _ part) bool { return true }), nil
	case "Contiguous":
		return join(func(last, next part) bool { return last.match != next.match }), nil
	case "MergedWithPrevious":
		return join(func(last, next part) bool { return last.match || !next.match }), nil
	case "MergedWithNext":
		return join(func(last, next part) bool { return !last.match || next.match }), nil
	case "Removed":
		return func(parts []part, emit func(string)) {
			for _, p := range parts {
				if !p.match {
					emit(p.text)
				}
			}
		}, nil
	}
	return nil, fmt.Errorf("behavior %q is not supported; Isolated, Contiguous, MergedWithPrevious, MergedWithNext and Removed are", name)
}

func inverted(parts []part, invert bool) []part {
	if invert {
		for i := range parts {
			parts[i].match = !parts[i].match
		}
	}
	return parts
}

// eachString parts a text at every occurrence of a string.
func eachString(s, pattern string) []part {
	var list []part
	for s != "" {
		i := strings.Index(s, pattern)
		if i < 0 {
			return append(list, part{s, false})
		}
		if i > 0 {
			list = append(list, part{s[:i], false})
		}
		list = append(list, part{pattern, true})
		s = s[i+len(pattern):]
	}
	return list
}

// eachRune parts a text at every character of a class.
func eachRune(s string, class func(rune) bool) []part {
	var list []part
	start := 0
	for i, r := range s {
		if !class(r) {
			continue
		}
		if i > start {
			list = append(list, part{s[start:i], false})
		}
		_, w := utf8.DecodeRuneInString(s[i:])
		start = i + w
		list = append(list, part{s[i:start], true})
	}
	if start < len(s) {
		list = append(list, part{s[start:], false})
	}
	return list
}

// eachMatch parts a text at the matches of an expression.
func eachMatch(s string, re *regexp2.Regexp) []part {
	var list []part
	rs, at := []rune(s), 0
	eachFound(re, rs, func(m *regexp2.Match) {
		if m.Index > at {
			list = append(list, part{string(rs[at:m.Index]), false})
		}
		at = m.Index + m.Length
		list = append(list, part{string(rs[m.Index:at]), true})
	})
	if at < len(rs) {
		list = append(list, part{string(rs[at:]), false})
	}
	return list
}

// runs splits where the class of characters changes.
func runs(class func(rune) int) splitter {
	return func(s string, emit func(string)) {
		start, last := 0, -1
		for i, r := range s {
			if c := class(r); c != last {
				if i > start {
					emit(s[start:i])
				}
				start, last = i, c
			}
		}
		if start < len(s) {
			emit(s[start:])
		}
	}
}

// dropSpaces splits at white space, which goes.
func dropSpaces(s string, emit func(string)) {
	for _, word := range strings.FieldsFunc(s, unicode.IsSpace) {
		emit(word)
	}
}

// isPunctuation is tokenizers' class: ASCII signs and Unicode's P.
func isPunctuation(r rune) bool {
	return r > ' ' && r < 127 && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') || unicode.Is(unicode.P, r)
}
