package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// textOfBytes returns the text of a run of byte tokens. If the run is not UTF-8, a
// tokenizer.json decodes each of its bytes as U+FFFD, whereas SentencePiece keeps the
// valid characters.
func (t *Tokenizer) textOfBytes(run []byte) string {
	if utf8.Valid(run) {
		return string(run)
	}
	if t.wholeRuns {
		return strings.Repeat("\uFFFD", len(run))
	}
	var b strings.Builder
	for _, r := range string(run) { // U+FFFD for each byte that is not UTF-8
		b.WriteRune(r)
	}
	return b.String()
}

// lossy replaces invalid UTF-8 by U+FFFD: one for the truncated start of a character,
// and one for every other invalid byte.
func lossy(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 {
			w = truncated(s[i:])
		}
		b.WriteRune(r)
		i += w
	}
	return b.String()
}

// truncated returns the number of bytes at the start of s that form the start of a
// character, at least 1, by table 3-7 of the Unicode standard.
func truncated(s string) int {
	lo, hi := byte(0x80), byte(0xbf) // range of the next byte
	size := 1
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
		n++
		lo, hi = 0x80, 0xbf
	}
	return n
}
