package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// spelled is the text of a run of byte tokens. In tokenizer.json a run that is
// not UTF-8 as a whole has no character at all; SentencePiece takes those there
// are.
func (t *Tokenizer) spelled(run []byte) string {
	if utf8.Valid(run) {
		return string(run)
	}
	if t.wholeRuns {
		return strings.Repeat("\uFFFD", len(run))
	}
	var b strings.Builder
	for _, r := range string(run) { // U+FFFD for each byte that begins none
		b.WriteRune(r)
	}
	return b.String()
}

// lossy replaces what is not UTF-8 by U+FFFD: once for the beginning of a
// character that breaks off, and for every other byte.
func lossy(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 {
			w = begun(s[i:])
		}
		b.WriteRune(r)
		i += w
	}
	return b.String()
}

// begun is the number of bytes of s that begin a character, 1 at least: by table
// 3-7 of the Unicode standard.
func begun(s string) int {
	lo, hi, size := byte(0x80), byte(0xbf), 1
	switch c := s[0]; {
	case c >= 0xc2 && c <= 0xdf:
		size = 2
	case c >= 0xe0 && c <= 0xef:
		size = 3
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		size = 4
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for n < size && n < len(s) && s[n] >= lo && s[n] <= hi {
		n, lo, hi = n+1, 0x80, 0xbf
	}
	return n
}
