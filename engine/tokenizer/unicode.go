package tokenizer

import "unicode"

// Letters and numbers that were added in Unicode 15.1 and 16. The reference tokenizers
// include them, but Go's tables follow Unicode 15.0.
var (
	newLetters = &unicode.RangeTable{
		R16: []unicode.Range16{{0x1c89, 0x1c8a, 1}, {0xa7cb, 0xa7cd, 1}, {0xa7da, 0xa7dc, 1}},
		R32: []unicode.Range32{
			{0x105c0, 0x105f3, 1},
			{0x10d4a, 0x10d65, 1},
			{0x10d6f, 0x10d85, 1},
			{0x10ec2, 0x10ec4, 1},
			{0x11380, 0x11389, 1},
			{0x1138b, 0x1138b, 1},
			{0x1138e, 0x1138e, 1},
			{0x11390, 0x113b5, 1},
			{0x113b7, 0x113b7, 1},
			{0x113d1, 0x113d1, 1},
			{0x113d3, 0x113d3, 1},
			{0x11bc0, 0x11be0, 1},
			{0x13460, 0x143fa, 1},
			{0x16100, 0x1611d, 1},
			{0x16d40, 0x16d6c, 1},
			{0x18cff, 0x18cff, 1},
			{0x1e5d0, 0x1e5ed, 1},
			{0x1e5f0, 0x1e5f0, 1},
			{0x2ebf0, 0x2ee5d, 1},
		},
	}
	newNumbers = &unicode.RangeTable{
		R32: []unicode.Range32{
			{0x10d40, 0x10d49, 1},
			{0x116d0, 0x116e3, 1},
			{0x11bf0, 0x11bf9, 1},
			{0x16130, 0x16139, 1},
			{0x16d70, 0x16d79, 1},
			{0x1ccf0, 0x1ccf9, 1},
			{0x1e5f1, 0x1e5fa, 1},
		},
	}
)

// isLetter says whether r is in \p{L} of Unicode 16.
func isLetter(r rune) bool { return unicode.IsLetter(r) || r > 0x1c00 && unicode.Is(newLetters, r) }

// isNumber says whether r is in \p{N} of Unicode 16.
func isNumber(r rune) bool { return unicode.IsNumber(r) || r > 0x1c00 && unicode.Is(newNumbers, r) }

// newWords are the letters, marks and digits of words that were added in Unicode 15.1 and 16.
var newWords = &unicode.RangeTable{
	R16: []unicode.Range16{{0x897, 0x897, 1}, {0x1c89, 0x1c8a, 1}, {0xa7cb, 0xa7cd, 1}, {0xa7da, 0xa7dc, 1}},
	R32: []unicode.Range32{
		{0x105c0, 0x105f3, 1},
		{0x10d40, 0x10d65, 1},
		{0x10d69, 0x10d6d, 1},
		{0x10d6f, 0x10d85, 1},
		{0x10ec2, 0x10ec4, 1},
		{0x10efc, 0x10efc, 1},
		{0x11380, 0x11389, 1},
		{0x1138b, 0x1138b, 1},
		{0x1138e, 0x1138e, 1},
		{0x11390, 0x113b5, 1},
		{0x113b7, 0x113c0, 1},
		{0x113c2, 0x113c2, 1},
		{0x113c5, 0x113c5, 1},
		{0x113c7, 0x113ca, 1},
		{0x113cc, 0x113d3, 1},
		{0x113e1, 0x113e2, 1},
		{0x116d0, 0x116e3, 1},
		{0x11bc0, 0x11be0, 1},
		{0x11bf0, 0x11bf9, 1},
		{0x11f5a, 0x11f5a, 1},
		{0x13460, 0x143fa, 1},
		{0x16100, 0x16139, 1},
		{0x16d40, 0x16d6c, 1},
		{0x16d70, 0x16d79, 1},
		{0x18cff, 0x18cff, 1},
		{0x1ccf0, 0x1ccf9, 1},
		{0x1e5d0, 0x1e5fa, 1},
		{0x2ebf0, 0x2ee5d, 1},
	},
}

// isWord says whether r is a character of a word, as \w of the regular expressions of Rust
// has it: a letter or another alphabetic character, a mark, a decimal digit, a connector
// such as _, or a joiner. Other numbers, such as ², are not.
func isWord(r rune) bool {
	if r < unicode.MaxASCII {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic,
		unicode.Join_Control) || unicode.Is(newWords, r)
}
