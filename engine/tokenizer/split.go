package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// splitter passes the words of a text to emit. Each word is merged separately.
type splitter func(s string, emit func(string))

// Patterns that have a hand-written scanner, spelled exactly as in the files. A cl100k
// pattern has a pattern for numbers between head and tail.
const (
	gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	cl100kHead  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`
	cl100kTail  = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// patternSplitter returns the splitter of a pattern: a hand-written scanner if there is
// one, otherwise a regular expression.
func patternSplitter(pattern string) (splitter, error) {
	if s := scanner(pattern); s != nil {
		return s, nil
	}
	return regexSplit(pattern)
}

// scanner returns the hand-written scanner of a pattern, or nil if there is none. Its
// matches cover the whole text.
func scanner(pattern string) splitter {
	if pattern == gpt2Pattern {
		return splitGPT2
	}
	numbers, isHead := strings.CutPrefix(pattern, cl100kHead)
	numbers, isTail := strings.CutSuffix(numbers, cl100kTail)
	if !isHead || !isTail {
		return nil
	}
	switch numbers {
	case `\p{N}{1,3}`:
		return cl100k(3)
	case `\p{N}`:
		return cl100k(1)
	}
	return nil
}

// splitDigits makes each digit a separate word.
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

// regexSplit returns a splitter whose words are the matches of a pattern and the text
// between them.
func regexSplit(pattern string) (splitter, error) {
	re, err := compilePattern(pattern)
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

// Classes of characters, as bits.
const (
	classLetter = 1 << iota
	classNumber
	classSpace
	classNewline // also a space
)

// asciiClass is classOf for ASCII.
var asciiClass [128]uint8

func init() {
	for r := rune(0); r < 128; r++ {
		asciiClass[r] = classOf(r)
	}
}

// classOf returns the class of a character, or 0 if it has none.
func classOf(r rune) uint8 {
	switch {
	case isLetter(r):
		return classLetter
	case isNumber(r):
		return classNumber
	case r == '\r' || r == '\n':
		return classSpace | classNewline
	case unicode.IsSpace(r):
		return classSpace
	}
	return 0
}

// decode returns the character at s[i:], its width in bytes and its class.
func decode(s string, i int) (r rune, w int, class uint8) {
	b := s[i]
	if b < 128 {
		return rune(b), 1, asciiClass[b]
	}
	r, w = utf8.DecodeRuneInString(s[i:])
	return r, w, classOf(r)
}

// contraction returns the length of the contraction at s[i:], such as 's or 've, or 0
// if there is none. With fold, case is ignored and the long s (U+017F) counts as an s.
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
	first, w := lo(i + 1)
	switch first {
	case 's', 't', 'm', 'd':
		return 1 + w
	}
	second, w2 := lo(i + 1 + w)
	if first == 'r' && second == 'e' || first == 'v' && second == 'e' || first == 'l' && second == 'l' {
		return 1 + w + w2
	}
	return 0
}

// cl100k returns the scanner of a cl100k pattern with numbers of at most digits digits.
func cl100k(digits int) splitter {
	return func(s string, emit func(string)) {
		for i := 0; i < len(s); {
			end := cl100kWord(s, i, digits)
			if end == i {
				i = space(s, i, true, emit)
				continue
			}
			emit(s[i:end])
			i = end
		}
	}
}

// cl100kWord returns the end of the word at s[i:], or i if white space begins there.
func cl100kWord(s string, i, digits int) int {
	if n := contraction(s, i, true); n > 0 {
		return i + n
	}
	r, w, class := decode(s, i)
	// [^\r\n\p{L}\p{N}]?\p{L}+
	if class&classLetter != 0 {
		return endOf(s, i+w, classLetter)
	}
	if class&(classNumber|classNewline) == 0 && i+w < len(s) {
		if _, w2, class2 := decode(s, i+w); class2&classLetter != 0 {
			return endOf(s, i+w+w2, classLetter)
		}
	}
	// \p{N}{1,digits}
	if class&classNumber != 0 {
		end := i + w
		for k := 1; k < digits && end < len(s); k++ {
			_, w2, class2 := decode(s, end)
			if class2&classNumber == 0 {
				break
			}
			end += w2
		}
		return end
	}
	// ` ?[^\s\p{L}\p{N}]+[\r\n]*`
	start := i
	if r == ' ' {
		start++
	}
	end := start
	for end < len(s) {
		_, w2, class2 := decode(s, end)
		if class2 != 0 {
			break
		}
		end += w2
	}
	if end == start {
		return i
	}
	for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
		end++
	}
	return end
}

// endOf returns the end of the characters of a class from s[i:] on.
func endOf(s string, i int, class uint8) int {
	for i < len(s) {
		_, w, c := decode(s, i)
		if c&class == 0 {
			break
		}
		i += w
	}
	return i
}

// space emits the word of white space at s[i:] and returns its end. The patterns are
// \s*[\r\n]+ (with newlines only), \s+(?!\S) and \s+.
func space(s string, i int, newlines bool, emit func(string)) int {
	afterNewline := -1 // offset after the last newline of the run
	last := i          // offset of its last character
	j := i
	for j < len(s) {
		_, w, class := decode(s, j)
		if class&classSpace == 0 {
			break
		}
		if class&classNewline != 0 {
			afterNewline = j + 1
		}
		last = j
		j += w
	}
	end := j
	if newlines && afterNewline >= 0 {
		end = afterNewline
	} else if j < len(s) && last > i {
		end = last
	}
	emit(s[i:end])
	return end
}

// splitGPT2 is the scanner of gpt2Pattern.
func splitGPT2(s string, emit func(string)) {
	for i := 0; i < len(s); {
		if n := contraction(s, i, false); n > 0 {
			emit(s[i : i+n])
			i += n
			continue
		}
		start := i
		if s[i] == ' ' && i+1 < len(s) {
			start++
		}
		_, w, class := decode(s, start)
		if class&classSpace != 0 {
			i = space(s, i, false, emit)
			continue
		}
		end := start + w
		for end < len(s) {
			_, w2, class2 := decode(s, end)
			if class2 != class {
				break
			}
			end += w2
		}
		emit(s[i:end])
		i = end
	}
}
