// Package tokenizer turns text into the token ids that a model was trained with, and
// back. It reads tokenizer.json, SentencePiece's tokenizer.model and the vocabularies
// in GGUF files: byte-level BPE, BPE with byte fallback and unigram, with the special
// tokens, the post-processor and the chat template. If a file has a step that this
// package does not know, the package returns an error instead of guessing.
//
//	tok, err := tokenizer.Load("models/smollm2-135m-instruct")
//	if err != nil {
//		return err
//	}
//	ids, err := tok.TryEncode("Hello", true)
//
// Tests compare the ids with the results of the packages tokenizers, sentencepiece and
// llama.cpp.
package tokenizer

import (
	"errors"
	"strings"
	"sync"
	"unicode/utf8"
)

// ErrNoTokenizer reports that a checkpoint has no tokenizer. Its prompts must be given
// as input_ids.
var ErrNoTokenizer = errors.New("no tokenizer")

// Tokenizer is the tokenizer of one model. It is safe for concurrent use.
type Tokenizer struct {
	source string // path of the model
	sha256 string

	// The vocabulary.
	vocab   map[string]int32 // id of a piece, which is given as bytes
	pieces  []string         // by id: the bytes of a piece, or the text of an added token
	special []bool           // by id
	byteID  [256]int32       // id of the token that is a single byte, -1: none
	isByte  map[int32]byte   // the inverse of byteID, for byte fallback

	// Added tokens are matched in the text before it is split: addedRaw before it is
	// normalized, addedNorm afterwards.
	addedRaw  matcher
	addedNorm matcher

	// Encoding, in the order of the steps.
	normalizers  []normalizer
	prepend      string              // written before a normalized text that is not empty
	prependFirst bool                // write prepend only at the beginning of the whole text
	first        func(string) string // applied to the beginning of the text, before the splits
	splits       []splitter
	byteLevel    bool  // the smallest pieces are bytes, otherwise characters
	byteFallback bool  // a character outside the vocabulary becomes its bytes
	unk          int32 // id of the unknown token, -1: none
	fuseUnk      bool  // a run of unknown characters becomes one unknown token
	ignoreMerges bool  // a word of the vocabulary is one token, regardless of the merges

	wholeNewlines bool // the same for words that begin with a newline

	merges  mergeTable
	unigram *lattice // nil: BPE
	before  []int32  // ids that the post-processor puts before a text
	after   []int32  // ids that the post-processor puts after a text

	// Decoding.
	stripSpace  bool // drop the space that the normalizer put at the beginning
	stripSpaces bool // drop all leading spaces
	wholeRuns   bool // a run of byte tokens is text only if all of it is UTF-8

	bos, eos  int32             // -1: none
	specials  map[string]string // bos_token, pad_token, ...: what chat templates know
	templates map[string]*chatTemplate
	ignored   []string // settings that were ignored on request

	breaksOnce    sync.Once // guards breaksAtSpace, see spaceBreaks
	breaksAtSpace bool
	caches        sync.Pool // of *wordCache
}

// Encode returns the ids of a text. With addSpecial, they include the tokens that the
// post-processor adds, such as BOS. It panics if a regular expression of the tokenizer
// backtracks for too long; [Tokenizer.TryEncode] returns an error instead.
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
	t.addedRaw.each(text, func(part string, at int) {
		isStart := at == 0 && !(t.stripSpaces && strings.HasPrefix(part, " "))
		part = t.normalize(part)
		if part != "" && (!t.prependFirst || isStart && !strings.HasPrefix(part, t.prepend)) {
			part = t.prepend + part
		}
		t.addedNorm.each(part, func(x string, in int) {
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

// Ends returns, for each token, the byte offset in text at which it ends, or nil if the
// tokens do not spell the text because a normalizer changed it.
func (t *Tokenizer) Ends(text string, ids []int32) []int32 {
	ends := make([]int32, len(ids))
	at := 0
	fresh := true // the next token is the first or follows a special token, and may have a dummy space
	for i, id := range ids {
		n := t.spells(text[at:], t.bytes(id), fresh && t.stripSpace && (at == 0 || !t.prependFirst))
		if n < 0 && fresh {
			n = t.spells(text[at:], t.bytes(id), true) // a pre-tokenizer added a space before the word
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

// spells returns the number of bytes at the start of text that a piece spells, or -1 if
// text does not start with the piece. A ▁ of the piece also spells a space. With dummy,
// the first space of the piece is not in the text.
func (t *Tokenizer) spells(text, piece string, dummy bool) int {
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
			i += len("▁")
			at++
		case at < len(text) && piece[i] == text[at]:
			i++
			at++
		default:
			return -1
		}
	}
	return at
}

// bytes returns the bytes that a token represents.
func (t *Tokenizer) bytes(id int32) string {
	if b, ok := t.isByte[id]; ok {
		return string([]byte{b})
	}
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	return t.pieces[id]
}

// Decode returns the text of ids. Invalid UTF-8 becomes the same number of U+FFFD as in
// the reference implementation.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var b strings.Builder
	var run []byte // bytes of consecutive byte tokens
	flush := func() {
		b.WriteString(t.textOfBytes(run))
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

// Piece returns the text of one token for display. Bytes that do not form a whole
// character become the replacement character.
func (t *Tokenizer) Piece(id int32) string {
	s := t.bytes(id)
	if !t.byteLevel {
		s = strings.ReplaceAll(s, "▁", " ")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// VocabSize returns the highest id plus one.
func (t *Tokenizer) VocabSize() int { return len(t.pieces) }

// SHA256 returns the hash of the file that the tokenizer was read from or, for a GGUF
// file, of its vocabulary.
func (t *Tokenizer) SHA256() string { return t.sha256 }

// split splits a text by the steps from level on and appends the ids of the words.
func (t *Tokenizer) split(s string, level int, out *[]int32, cache *wordCache) {
	if level == len(t.splits) {
		t.word(s, out, cache)
		return
	}
	t.splits[level](s, func(p string) { t.split(p, level+1, out, cache) })
}

// word appends the ids of one word. A long word without a pre-tokenizer may be a whole
// text, so it is first divided at spaces if that does not change the ids.
func (t *Tokenizer) word(s string, out *[]int32, cache *wordCache) {
	for len(s) >= cacheWord && t.spaceBreaks() {
		n := nextSpace(s)
		if n == len(s) {
			break
		}
		t.undivided(s[:n], out, cache)
		s = s[n:]
	}
	t.undivided(s, out, cache)
}

// undivided appends the ids of a word, from the cache if possible.
func (t *Tokenizer) undivided(s string, out *[]int32, cache *wordCache) {
	if s == "" {
		return
	}
	place := cache.place(s)
	if place.word == s {
		*out = append(*out, place.ids...)
		return
	}
	if t.ignoreMerges || t.wholeNewlines && s[0] == '\n' {
		if id, ok := t.vocab[s]; ok {
			*out = append(*out, id)
			return
		}
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

// nextSpace returns the offset of the first ▁ of s that follows another character, or
// the length of s: the end of the first word of a text without pre-tokenizer.
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

// spaceBreaks says whether words that begin with ▁ can be merged separately: whether no
// merge joins a piece that begins with ▁ to a piece before it, unless the earlier piece
// consists of ▁.
func (t *Tokenizer) spaceBreaks() bool {
	t.breaksOnce.Do(func() {
		if _, known := t.vocab["▁"]; t.byteLevel || t.unigram != nil || !known {
			return
		}
		t.breaksAtSpace = true
		t.merges.all(func(p pair, _ merge) {
			if strings.HasPrefix(t.bytes(p.b), "▁") && strings.Trim(t.bytes(p.a), "▁") != "" {
				t.breaksAtSpace = false
			}
		})
	})
	return t.breaksAtSpace
}

// letters returns the smallest pieces of a word: its bytes or its characters.
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
		ids = t.appendPiece(ids, s[i:i+w], &unknown)
		i += w
	}
	return ids
}

// appendPiece appends the id of a piece. A piece outside the vocabulary becomes its
// bytes or else the unknown token; *unknown says whether the previous piece was
// unknown, so that a run of unknown pieces can be fused.
func (t *Tokenizer) appendPiece(ids []int32, s string, unknown *bool) []int32 {
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

// segment returns the ids of a word under a unigram model.
func (t *Tokenizer) segment(s string) []int32 {
	var ids []int32
	unknown := false
	t.unigram.split(s, func(piece string) { ids = t.appendPiece(ids, piece, &unknown) })
	return ids
}

// fallback returns the ids of a character's bytes, or nil if a byte has none.
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
