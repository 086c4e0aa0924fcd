package tokenizer

import (
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap holds the normalization rules of a SentencePiece model, its
// precompiled_charsmap: a double-array trie maps source texts to offsets in a table of
// replacements, which end with a zero byte.
type charsmap struct {
	units []uint32 // units of the trie
	texts string   // the replacements
}

func parseCharsmap(data []byte) (*charsmap, error) {
	bad := errors.New("the normalizer's charsmap is damaged")
	if len(data) < 4 {
		return nil, bad
	}
	size := int64(binary.LittleEndian.Uint32(data))
	if data = data[4:]; size%4 != 0 || size == 0 || size > int64(len(data)) {
		return nil, bad
	}
	c := &charsmap{units: make([]uint32, size/4), texts: string(data[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return c, nil
}

// longest returns the length of the longest source text that s begins with, or 0 if
// there is none, and its replacement. The units are those of Darts-clone: bit 31 and
// bits 0 to 7 are the label, bit 8 is set if the node has a value, and the rest is the
// offset.
func (c *charsmap) longest(s string) (n int, with string) {
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
	at := offset(c.units[0])
	for i := range len(s) {
		at ^= uint32(s[i])
		if int(at) >= len(c.units) {
			return n, with
		}
		unit := c.units[at]
		if unit&(1<<31|0xff) != uint32(s[i]) {
			return n, with
		}
		at ^= offset(unit)
		if unit>>8&1 == 1 && int(at) < len(c.units) {
			value := int(c.units[at] & (1<<31 - 1))
			if value < len(c.texts) {
				n = i + 1
				with = c.texts[value:]
				if end := strings.IndexByte(with, 0); end >= 0 {
					with = with[:end]
				}
			}
		}
	}
	return n, with
}

// replace normalizes a text, except for the tokens in keep.
func (c *charsmap) replace(s string, keep *matcher, limit int) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if _, n := keep.longest(s[i:]); n > 0 {
			b.WriteString(s[i : i+n])
			i += n
			continue
		}
		n, with := c.longest(s[i:])
		if n == 0 {
			r, w := utf8.DecodeRuneInString(s[i:])
			n = w
			with = s[i : i+w]
			if r == utf8.RuneError && w == 1 {
				with = "\uFFFD"
			}
		}
		b.WriteString(with)
		checkGrowth(b.Len(), limit)
		i += n
	}
	return b.String()
}

// replaceGraphemes normalizes like the package tokenizers with the same rules: a short
// grapheme is replaced as a whole if a rule matches its beginning, otherwise its
// characters are replaced one by one. If several rules match, the one with the shortest
// source is used.
func (c *charsmap) replaceGraphemes(s string, limit int) string {
	var b strings.Builder
	for state := -1; s != ""; {
		checkGrowth(b.Len(), limit)
		var cluster string
		cluster, s, _, state = uniseg.FirstGraphemeClusterInString(s, state)
		if len(cluster) < 6 {
			if n, with := c.shortest(cluster); n > 0 {
				b.WriteString(with)
				continue
			}
		}
		for i := 0; i < len(cluster); {
			_, w := utf8.DecodeRuneInString(cluster[i:])
			char := cluster[i : i+w]
			if n, with := c.shortest(char); n > 0 {
				char = with
			}
			b.WriteString(char)
			i += w
		}
	}
	return b.String()
}

// shortest is like longest, but for the shortest source text.
func (c *charsmap) shortest(s string) (n int, with string) {
	for i := 1; i <= len(s); i++ {
		if n, with = c.longest(s[:i]); n > 0 {
			return n, with
		}
	}
	return 0, ""
}
