package tokenizer

import (
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap are the normalisation rules of a SentencePiece model (its
// precompiled_charsmap): a double-array trie from source texts to places in a
// table of replacements, each ended by a zero byte.
type charsmap struct {
	units []uint32
	texts string
}

func parseCharsmap(data []byte) (*charsmap, error) {
	bad := errors.New("the normaliser's charsmap is damaged")
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

// longest finds the longest source text that s begins with: its length, 0 of
// none, and what replaces it. Units are those of Darts-clone: bit 31 and bits 0
// to 7 the label, bit 8 says that a value hangs below, the rest is the offset.
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
				n, with = i+1, c.texts[value:]
				if end := strings.IndexByte(with, 0); end >= 0 {
					with = with[:end]
				}
			}
		}
	}
	return n, with
}

// replace normalises a text; own are texts that stay as they are.
func (c *charsmap) replace(s string, own []string) string {
	var b strings.Builder
next:
	for i := 0; i < len(s); {
		for _, o := range own {
			if strings.HasPrefix(s[i:], o) {
				b.WriteString(o)
				i += len(o)
				continue next
			}
		}
		n, with := c.longest(s[i:])
		if n == 0 {
			r, w := utf8.DecodeRuneInString(s[i:])
			n, with = w, s[i:i+w]
			if r == utf8.RuneError && w == 1 {
				with = "\uFFFD"
			}
		}
		b.WriteString(with)
		i += n
	}
	return b.String()
}

// replaceGraphemes normalises as the package tokenizers does with the same
// rules: a short grapheme as a whole if a rule begins it, else each character; of
// several rules the shortest source.
func (c *charsmap) replaceGraphemes(s string) string {
	var b strings.Builder
	for state := -1; s != ""; {
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

// shortest is longest for the shortest source.
func (c *charsmap) shortest(s string) (n int, with string) {
	for i := 1; i <= len(s); i++ {
		if n, with = c.longest(s[:i]); n > 0 {
			return n, with
		}
	}
	return 0, ""
}
