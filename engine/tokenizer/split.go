package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// splitter cuts a text into words; a word is merged on its own.
type splitter func(s string, emit func(string))

// The patterns that have a scanner of their own, as they stand in files.
const (
	gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	cl100kHead  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`
	cl100kTail  = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// patternSplitter returns a hand-written scanner for a known pattern, and a
// regular expression for any other.
func patternSplitter(pattern string) (splitter, error) {
	if s := scanner(pattern); s != nil {
		return s, nil
	}
	return regexSplit(pattern)
}

// scanner is the hand-written splitter of a known pattern, which leaves nothing
// between its matches; nil for any other.
func scanner(pattern string) splitter {
	if pattern == gpt2Pattern {
		return splitGPT2
	}
	if strings.HasPrefix(pattern, cl100kHead) && strings.HasSuffix(pattern, cl100kTail) && len(pattern) > len(cl100kHead)+len(cl100kTail) {
		switch pattern[len(cl100kHead) : len(pattern)-len(cl100kTail)] {
		case `\p{N}{1,3}`:
			return func(s string, e func(string)) { splitCL100K(s, 3, e) }
		case `\p{N}`:
			return func(s string, e func(string)) { splitCL100K(s, 1, e) }
		}
	}
	return nil
}

// splitDigits makes every digit a word of its own.
func splitDigits(s string, emit func(string)) {
	start := 0
	for i, r := range s {
		if !isNumber(r) {
			continue
		}
		if i > start {
			emit(s[start:i])
		}
		start = i + utf8.RuneLen(r)
		emit(s[i:start])
	}
	if start < len(s) {
		emit(s[start:])
	}
}

func regexSplit(pat string) (splitter, error) {
	re, err := compilePattern(pat)
	if err != nil {
		return nil, err
	}
	return func(s string, emit func(string)) {
		rs := []rune(s)
		cur := 0
		eachFound(re, rs, func(m *regexp2.Match) {
			if m.Index > cur {
				emit(string(rs[cur:m.Index]))
			}
			emit(string(rs[m.Index : m.Index+m.Length]))
			cur = m.Index + m.Length
		})
		if cur < len(rs) {
			emit(string(rs[cur:]))
		}
	}, nil
}

// class bits
const (
	cL = 1 << iota
	cN
	cS
	cNL
)

var ascii [128]uint8

func init() {
	for r := rune(0); r < 128; r++ {
		ascii[r] = slowClass(r)
	}
}

func slowClass(r rune) uint8 {
	switch {
	case isLetter(r):
		return cL
	case isNumber(r):
		return cN
	case r == '\r' || r == '\n':
		return cS | cNL
	case unicode.IsSpace(r):
		return cS
	}
	return 0
}

func decode(s string, i int) (r rune, w int, c uint8) {
	b := s[i]
	if b < 128 {
		return rune(b), 1, ascii[b]
	}
	r, w = utf8.DecodeRuneInString(s[i:])
	return r, w, slowClass(r)
}

// contraction at an apostrophe; fold: case-insensitive, with the long s (U+017F)
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' || i+1 >= len(s) {
		return 0
	}
	lo := func(j int) (byte, int) {
		if j >= len(s) {
			return 0, 0
		}
		b := s[j]
		if fold {
			if b >= 'A' && b <= 'Z' {
				return b + 32, 1
			}
			if b == 0xc5 && j+1 < len(s) && s[j+1] == 0xbf {
				return 's', 2
			}
		}
		return b, 1
	}
	a, w := lo(i + 1)
	switch a {
	case 's', 't', 'm', 'd':
		return 1 + w
	}
	b, w2 := lo(i + 1 + w)
	if a == 'r' && b == 'e' || a == 'v' && b == 'e' || a == 'l' && b == 'l' {
		return 1 + w + w2
	}
	return 0
}

func splitCL100K(s string, maxDig int, emit func(string)) {
	for i := 0; i < len(s); {
		if n := contraction(s, i, true); n > 0 {
			emit(s[i : i+n])
			i += n
			continue
		}
		r, w, c := decode(s, i)
		j := i
		// [^\r\n\p{L}\p{N}]?\p{L}+
		if c&cL == 0 && c&(cN|cNL) == 0 && i+w < len(s) {
			if _, w2, c2 := decode(s, i+w); c2&cL != 0 {
				j = i + w + w2
			}
		} else if c&cL != 0 {
			j = i + w
		}
		if j > i {
			for j < len(s) {
				_, w2, c2 := decode(s, j)
				if c2&cL == 0 {
					break
				}
				j += w2
			}
			emit(s[i:j])
			i = j
			continue
		}
		if c&cN != 0 {
			j = i + w
			for k := 1; k < maxDig && j < len(s); k++ {
				_, w2, c2 := decode(s, j)
				if c2&cN == 0 {
					break
				}
				j += w2
			}
			emit(s[i:j])
			i = j
			continue
		}
		//  ?[^\s\p{L}\p{N}]+[\r\n]*
		j = i
		if r == ' ' {
			j = i + 1
		}
		k := j
		for k < len(s) {
			_, w2, c2 := decode(s, k)
			if c2 != 0 {
				break
			}
			k += w2
		}
		if k > j {
			for k < len(s) && (s[k] == '\r' || s[k] == '\n') {
				k++
			}
			emit(s[i:k])
			i = k
			continue
		}
		i = space(s, i, true, emit)
	}
}

// space handles \s*[\r\n]+ | \s+(?!\S) | \s+ at i, where s[i] is white space.
func space(s string, i int, nl bool, emit func(string)) int {
	j, lastNL, last := i, -1, i
	for j < len(s) {
		_, w, c := decode(s, j)
		if c&cS == 0 {
			break
		}
		if c&cNL != 0 {
			lastNL = j + 1
		}
		last = j
		j += w
	}
	e := j
	if nl && lastNL >= 0 {
		e = lastNL
	} else if j < len(s) && last > i {
		e = last
	}
	emit(s[i:e])
	return e
}

func splitGPT2(s string, emit func(string)) {
	for i := 0; i < len(s); {
		if n := contraction(s, i, false); n > 0 {
			emit(s[i : i+n])
			i += n
			continue
		}
		j := i
		if s[i] == ' ' && i+1 < len(s) {
			j++
		}
		_, w, c := decode(s, j)
		if c&cS != 0 {
			i = space(s, i, false, emit)
			continue
		}
		k := j + w
		for k < len(s) {
			_, w2, c2 := decode(s, k)
			if c2 != c {
				break
			}
			k += w2
		}
		emit(s[i:k])
		i = k
	}
}
