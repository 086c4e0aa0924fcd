// Package tokenizer turns text into token ids as the model was trained with:
// byte-level and byte-fallback BPE from tokenizer.json or GGUF metadata, the
// special tokens, the post-processor and the chat template. What a file asks
// for and this package does not know is an error, never a guess.
package tokenizer

import (
	"errors"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// ErrNoTokenizer says that a checkpoint has no tokenizer: prompts must give
// input_ids.
var ErrNoTokenizer = errors.New("no tokenizer")

// Tokenizer is safe for concurrent use.
type Tokenizer struct {
	source string
	sha256 string

	vocab        map[string]int32 // piece as bytes -> id
	pieces       []string         // id -> bytes; added tokens by their text
	special      []bool
	merges       mergeTable
	byteID       [256]int32 // id of a byte, -1 if it has none
	isByte       map[int32]byte
	byteLevel    bool
	byteFallback bool
	fuseUnk      bool
	ignoreMerges bool
	unk          int32
	unigram      *lattice // nil: BPE
	normalise    []func(string) string
	prepend      string // put before a normalised text that is not empty
	prependFirst bool   // only before one at the very beginning
	splits       []splitter
	first        func(string) string // applied to what begins the text, before the splits
	addedRaw     map[byte][]added
	addedNorm    map[byte][]added
	before       []int32 // ids the post-processor puts before a text
	after        []int32
	stripSpace   bool // decoding drops the space the normaliser put first
	stripSpaces  bool // and all spaces after it
	wholeRuns    bool // byte tokens are characters only where their whole run is

	bosToken, eosToken string
	bos, eos           int32 // -1: none
	template           *chatTemplate

	breaks sync.Once // spaceBreaks is worked out when it is first asked for
	spaces bool
	caches sync.Pool // of *wordCache
}

// added is a token matched in the text before any splitting.
type added struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// Encode returns the ids of a text; with addSpecial also what the
// post-processor adds, such as BOS. It panics where an expression of the
// tokenizer backtracks without end: see [Tokenizer.TryEncode].
func (t *Tokenizer) Encode(text string, addSpecial bool) []int32 {
	out := make([]int32, 0, len(text)/3+4)
	cache, _ := t.caches.Get().(*wordCache)
	if cache == nil {
		cache = newWordCache()
	}
	defer t.caches.Put(cache)
	if addSpecial {
		out = append(out, t.before...)
	}
	t.matchAdded(text, t.addedRaw, func(part string, at int) {
		for _, f := range t.normalise {
			part = f(part)
		}
		if part != "" && (at == 0 || !t.prependFirst) {
			part = t.prepend + part
		}
		t.matchAdded(part, t.addedNorm, func(x string, in int) {
			if t.first != nil && at == 0 && in == 0 {
				x = t.first(x)
			}
			t.split(x, 0, &out, cache)
		}, &out)
	}, &out)
	if addSpecial {
		out = append(out, t.after...)
	}
	return out
}

// Ends returns, for each token, the byte in text where it ends, or nil where
// the tokens do not spell the text (a normaliser changed it).
func (t *Tokenizer) Ends(text string, ids []int32) []int32 {
	ends, at := make([]int32, len(ids)), 0
	fresh := true // a dummy space may come: at the beginning, and after a special token
	for i, id := range ids {
		n := t.taken(text[at:], t.bytes(id), fresh && t.stripSpace && (at == 0 || !t.prependFirst))
		if n < 0 && fresh {
			n = t.taken(text[at:], t.bytes(id), true) // a space that a pre-tokeniser puts first
		}
		if n < 0 {
			if i == 0 && len(t.before) > 0 && id == t.before[0] {
				continue
			}
			return nil
		}
		at += n
		ends[i] = int32(at)
		fresh = int(id) < len(t.special) && t.special[id]
	}
	if at != len(text) {
		return nil
	}
	return ends
}

// taken is the number of bytes of text that a piece spells, -1 if it does not
// begin with it. Where ▁ is a space it stands for either; with dummy the piece's
// first space is not in the text.
func (t *Tokenizer) taken(text, piece string, dummy bool) int {
	if dummy {
		if t.byteLevel {
			piece = strings.TrimPrefix(piece, " ")
		} else {
			piece = strings.TrimPrefix(piece, "▁")
		}
	}
	if t.byteLevel {
		if strings.HasPrefix(text, piece) {
			return len(piece)
		}
		return -1
	}
	at := 0
	for i := 0; i < len(piece); {
		switch {
		case strings.HasPrefix(piece[i:], "▁") && strings.HasPrefix(text[at:], " "):
			i, at = i+len("▁"), at+1
		case at < len(text) && piece[i] == text[at]:
			i, at = i+1, at+1
		default:
			return -1
		}
	}
	return at
}

// bytes are the bytes a token stands for.
func (t *Tokenizer) bytes(id int32) string {
	if b, ok := t.isByte[id]; ok {
		return string([]byte{b})
	}
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	return t.pieces[id]
}

// Decode returns the text of ids. Bytes that spell no character become U+FFFD as
// the reference has it.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var b strings.Builder
	var run []byte // of bytes that stand for themselves
	flush := func() {
		b.WriteString(t.spelled(run))
		run = run[:0]
	}
	for _, id := range ids {
		if skipSpecial && id >= 0 && int(id) < len(t.special) && t.special[id] {
			continue
		}
		if c, ok := t.isByte[id]; ok {
			run = append(run, c)
			continue
		}
		flush()
		b.WriteString(t.bytes(id))
	}
	flush()
	s := b.String()
	if t.byteLevel {
		s = lossy(s)
	} else {
		s = strings.ReplaceAll(s, "▁", " ")
		switch {
		case t.stripSpaces:
			s = strings.TrimLeft(s, " ")
		case t.stripSpace:
			s = strings.TrimPrefix(s, " ")
		}
	}
	return s
}

// Piece is the text of one token for display; bytes that are no whole
// character show as the replacement character.
func (t *Tokenizer) Piece(id int32) string {
	s := t.bytes(id)
	if !t.byteLevel {
		s = strings.ReplaceAll(s, "▁", " ")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// VocabSize is one more than the highest id.
func (t *Tokenizer) VocabSize() int { return len(t.pieces) }

// SHA256 is the hash of the file the tokenizer was read from.
func (t *Tokenizer) SHA256() string { return t.sha256 }

// BOS is the beginning-of-sequence token, if there is one.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos >= 0 }

// EOS is the end-of-sequence token, if there is one.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos >= 0 }

// matchAdded passes the text between added tokens to rest.
func (t *Tokenizer) matchAdded(s string, m map[byte][]added, rest func(part string, at int), out *[]int32) {
	cur := 0
	for i := 0; i < len(s) && len(m) > 0; {
		a, b, e := match(s, i, cur, m[s[i]])
		if a == nil {
			i++
			continue
		}
		if b > cur {
			rest(s[cur:b], cur)
		}
		*out = append(*out, a.ID)
		cur, i = e, e
	}
	if cur < len(s) {
		rest(s[cur:], cur)
	}
}

// match finds the added token at i, and what of s it takes.
func match(s string, i, cur int, list []added) (*added, int, int) {
	for at := range list {
		a := &list[at]
		if !strings.HasPrefix(s[i:], a.Content) {
			continue
		}
		b, e := i, i+len(a.Content)
		if a.SingleWord && (wordEnds(s[:b]) || wordBegins(s[e:])) {
			continue
		}
		if a.LStrip {
			b = cur + len(strings.TrimRightFunc(s[cur:b], unicode.IsSpace))
		}
		if a.RStrip {
			e = len(s) - len(strings.TrimLeftFunc(s[e:], unicode.IsSpace))
		}
		return a, b, e
	}
	return nil, 0, 0
}

func wordEnds(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && (isLetter(r) || isNumber(r) || r == '_')
}

func wordBegins(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && (isLetter(r) || isNumber(r) || r == '_')
}

func (t *Tokenizer) split(s string, level int, out *[]int32, cache *wordCache) {
	if level == len(t.splits) {
		t.word(s, out, cache)
		return
	}
	t.splits[level](s, func(p string) { t.split(p, level+1, out, cache) })
}

// word appends the ids of one word.
func (t *Tokenizer) word(s string, out *[]int32, cache *wordCache) {
	for len(s) >= cacheWord && t.spaceBreaks() {
		n := nextSpace(s)
		if n == len(s) {
			break
		}
		t.whole(s[:n], out, cache)
		s = s[n:]
	}
	t.whole(s, out, cache)
}

// whole appends the ids of a word that is not parted any more.
func (t *Tokenizer) whole(s string, out *[]int32, cache *wordCache) {
	if s == "" {
		return
	}
	place := cache.place(s)
	if place.word == s {
		*out = append(*out, place.ids...)
		return
	}
	if id, whole := t.vocab[s]; whole && t.ignoreMerges {
		*out = append(*out, id)
		return
	}
	var ids []int32
	switch {
	case t.unigram != nil:
		ids = t.segment(s)
	case len(s) > 48:
		ids = t.mergeHeap(t.letters(s))
	default:
		ids = t.mergeSmall(t.letters(s))
	}
	*out = append(*out, ids...)
	place.keep(s, ids)
}

// nextSpace is where the next word of a text without pre-tokeniser begins: at a
// ▁ after something else.
func nextSpace(s string) int {
	for at := 0; at < len(s); {
		n := strings.Index(s[at:], "▁")
		if n < 0 {
			break
		}
		if at += n; at > 0 && !strings.HasSuffix(s[:at], "▁") {
			return at
		}
		at += len("▁")
	}
	return len(s)
}

// spaceBreaks says that no merge reaches over the beginning of a word, so that
// words can be merged each on its own: nothing but ▁s merges with what begins
// with one.
func (t *Tokenizer) spaceBreaks() bool {
	t.breaks.Do(func() {
		if _, known := t.vocab["▁"]; t.byteLevel || t.unigram != nil || !known {
			return
		}
		t.spaces = true
		t.merges.all(func(p pair, _ merge) {
			if strings.HasPrefix(t.bytes(p.b), "▁") && strings.Trim(t.bytes(p.a), "▁") != "" {
				t.spaces = false
			}
		})
	})
	return t.spaces
}

// letters are the smallest pieces of a word.
func (t *Tokenizer) letters(s string) []int32 {
	ids := make([]int32, 0, len(s))
	if t.byteLevel {
		for i := range len(s) {
			if id := t.byteID[s[i]]; id >= 0 {
				ids = append(ids, id)
			} else if t.unk >= 0 {
				ids = append(ids, t.unk)
			}
		}
		return ids
	}
	unknown := false
	for i := 0; i < len(s); {
		_, w := utf8.DecodeRuneInString(s[i:])
		ids = t.piece(ids, s[i:i+w], &unknown)
		i += w
	}
	return ids
}

// piece appends the id of a piece; of one that is not in the vocabulary its
// bytes, or the unknown token, once for a run where they are fused.
func (t *Tokenizer) piece(ids []int32, s string, unknown *bool) []int32 {
	if id, ok := t.vocab[s]; ok {
		*unknown = false
		return append(ids, id)
	}
	if bytes := t.fallback(s); bytes != nil {
		*unknown = false
		return append(ids, bytes...)
	}
	if t.unk >= 0 && (!*unknown || !t.fuseUnk) {
		ids = append(ids, t.unk)
	}
	*unknown = true
	return ids
}

// segment are the ids of a word under a unigram model.
func (t *Tokenizer) segment(s string) []int32 {
	var ids []int32
	unknown := false
	t.unigram.split(s, func(piece string) { ids = t.piece(ids, piece, &unknown) })
	return ids
}

// fallback spells a character by its bytes, nil where it cannot.
func (t *Tokenizer) fallback(char string) []int32 {
	if !t.byteFallback {
		return nil
	}
	var ids []int32
	for i := range len(char) {
		if t.byteID[char[i]] < 0 {
			return nil
		}
		ids = append(ids, t.byteID[char[i]])
	}
	return ids
}
