package answers

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// isSpace reports whether str.split and str.strip of Python take r for white space.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// isWord reports whether \w of Python's regular expressions matches r.
func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// lower is str.lower of Python. Unlike [strings.ToLower], it makes two characters of İ and
// has the final form of sigma.
func lower(text string) string {
	if !strings.ContainsAny(text, "İΣ") {
		return strings.ToLower(text)
	}
	var b strings.Builder
	for at, r := range text {
		switch {
		case r == 'İ':
			b.WriteString("i̇")
		case r == 'Σ' && endsWord(text, at):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// endsWord reports whether the sigma at a byte offset comes after a letter and before none.
// Characters without case, such as accents and apostrophes, do not count.
func endsWord(text string, at int) bool {
	before := strings.TrimRightFunc(text[:at], ignoresCase)
	after := strings.TrimLeftFunc(text[at+len("Σ"):], ignoresCase)
	last, _ := utf8.DecodeLastRuneInString(before)
	first, _ := utf8.DecodeRuneInString(after)
	return isCased(last) && !isCased(first)
}

// ignoresCase reports whether the rule of the final sigma skips r.
func ignoresCase(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:·’", r)
}

// isCased reports whether r is a letter with case.
func isCased(r rune) bool { return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt) }
