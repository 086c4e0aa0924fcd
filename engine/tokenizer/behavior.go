package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// part is a part of a text: a match of a pattern, or the text between two matches.
type part struct {
	text  string
	match bool
}

// behave returns the function that joins the parts of a text to words for a behavior,
// given by its name in files (SplitDelimiterBehavior of the package tokenizers).
func behave(name string) (func(parts []part, emit func(string)), error) {
	// join emits runs of parts; begin says whether next begins a new run.
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
	return nil, fmt.Errorf("behavior %q is not supported; "+
		"Isolated, Contiguous, MergedWithPrevious, MergedWithNext and Removed are", name)
}

// inverted swaps matches and the text between them if invert is set.
func inverted(parts []part, invert bool) []part {
	if invert {
		for i := range parts {
			parts[i].match = !parts[i].match
		}
	}
	return parts
}

// eachString splits a text into the occurrences of a string and the text between them.
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

// eachRune splits a text into the characters of a class and the text between them.
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

// eachMatch splits a text into the matches of an expression and the text between them.
func eachMatch(s string, re *regexp2.Regexp) []part {
	var list []part
	rs := []rune(s)
	at := 0
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

// runs returns a splitter whose words are runs of characters of the same class.
func runs(class func(rune) int) splitter {
	return func(s string, emit func(string)) {
		start := 0
		last := -1
		for i, r := range s {
			if c := class(r); c != last {
				if i > start {
					emit(s[start:i])
				}
				start = i
				last = c
			}
		}
		if start < len(s) {
			emit(s[start:])
		}
	}
}

// dropSpaces is a splitter that splits at white space and drops it.
func dropSpaces(s string, emit func(string)) {
	for _, word := range strings.FieldsFunc(s, unicode.IsSpace) {
		emit(word)
	}
}

// isPunctuation reports whether the package tokenizers treats r as punctuation: an
// ASCII punctuation character, or a character of Unicode's class P.
func isPunctuation(r rune) bool {
	isAlnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return r > ' ' && r < 127 && !isAlnum || unicode.Is(unicode.P, r)
}
