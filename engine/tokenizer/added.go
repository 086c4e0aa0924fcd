package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// added is a token that is matched in the text before any splitting.
type added struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// Limits of the added tokens of a model.
const (
	maxAdded      = 1 << 18 // tokens
	maxAddedText  = 1 << 10 // bytes of one token
	maxAddedTexts = 8 << 20 // bytes of all tokens
)

// addedTokens are the added tokens of a tokenizer, with the ids that the package tokenizers
// assigns them: a token of the vocabulary keeps its id there, and any other takes the next
// id after the vocabulary and the added tokens. The id that a file gives is not used.
type addedTokens struct {
	vocab     map[string]int32 // of the model, as the file spells the pieces
	ids       map[string]int32
	byID      map[int32]added
	order     []int32         // the ids, in the order in which they were added
	isSpecial map[string]bool // tokens that were special at some time
	top       int32           // the highest id, -1: none
	bytes     int
}

func newAddedTokens(vocab map[string]int32) *addedTokens {
	return &addedTokens{
		vocab: vocab, ids: map[string]int32{}, byID: map[int32]added{}, isSpecial: map[string]bool{}, top: -1,
	}
}

// id returns the id of a token that is added or in the vocabulary, or -1.
func (l *addedTokens) id(content string) int32 {
	if id, ok := l.ids[content]; ok {
		return id
	}
	if id, ok := l.vocab[content]; ok {
		return id
	}
	return -1
}

// add adds a token. A token that was added before takes the new properties.
func (l *addedTokens) add(a added) error {
	if a.Content == "" {
		return nil
	}
	if len(a.Content) > maxAddedText {
		return fmt.Errorf("added token %.40q... has %d bytes, at most %d are taken", a.Content, len(a.Content), maxAddedText)
	}
	id := l.id(a.Content)
	if id < 0 {
		id = int32(len(l.vocab))
		if l.top >= id {
			id = l.top + 1
		}
	}
	if id >= maxVocab {
		return fmt.Errorf("added token %q has id %d, want at most %d", a.Content, id, maxVocab-1)
	}
	a.ID = id
	if _, again := l.byID[id]; !again {
		l.order = append(l.order, id)
		l.bytes += len(a.Content)
	}
	if len(l.order) > maxAdded || l.bytes > maxAddedTexts {
		return fmt.Errorf("more than %d added tokens, or more than %d bytes of them", maxAdded, maxAddedTexts)
	}
	l.top = max(l.top, id)
	l.ids[a.Content] = id
	l.byID[id] = a
	l.isSpecial[a.Content] = l.isSpecial[a.Content] || a.Special
	return nil
}

// setAdded makes the tokenizer match the tokens. With splitSpecial, special tokens are
// text like any other.
func (t *Tokenizer) setAdded(l *addedTokens, splitSpecial bool) error {
	t.addedRaw = matcher{}
	t.addedNorm = matcher{}
	for _, id := range l.order {
		a := l.byID[id]
		text := a.Content
		m := &t.addedRaw
		if a.Normalized {
			m = &t.addedNorm
			if text = t.normalize(text); text == "" {
				return fmt.Errorf("added token %q: the normalizer leaves nothing of it", a.Content)
			}
		}
		m.add(text, token{added: a, skip: splitSpecial && l.isSpecial[a.Content]})
	}
	for _, id := range l.order {
		t.grow(id)
		t.pieces[id] = l.byID[id].Content
		t.special[id] = l.isSpecial[l.byID[id].Content]
	}
	return nil
}

// grow makes room for the pieces up to an id.
func (t *Tokenizer) grow(id int32) {
	if n := int(id) + 1 - len(t.pieces); n > 0 {
		t.pieces = append(t.pieces, make([]string, n)...)
		t.special = append(t.special, make([]bool, n)...)
	}
}

// token is an added token in a matcher.
type token struct {
	added
	skip bool // its text is covered, but stays text
}

// matcher finds added tokens in a text. It is a trie of their bytes.
type matcher struct {
	root   [256]int32     // the node after the first byte, 0: none
	next   map[edge]int32 // the node after further bytes
	ends   []int32        // by node: 1 + the index of the token that ends there, 0: none
	tokens []token
}

// edge leads from a node of the trie to the next by a byte.
type edge struct {
	node int32
	b    byte
}

// add adds a token under a text. The first token of a text counts.
func (m *matcher) add(text string, t token) {
	if m.next == nil {
		m.next = map[edge]int32{}
		m.ends = []int32{0} // node 0 is none
	}
	fresh := func() int32 {
		m.ends = append(m.ends, 0)
		return int32(len(m.ends) - 1)
	}
	node := m.root[text[0]]
	if node == 0 {
		node = fresh()
		m.root[text[0]] = node
	}
	for i := 1; i < len(text); i++ {
		e := edge{node, text[i]}
		to, ok := m.next[e]
		if !ok {
			to = fresh()
			m.next[e] = to
		}
		node = to
	}
	if m.ends[node] == 0 {
		m.tokens = append(m.tokens, t)
		m.ends[node] = int32(len(m.tokens))
	}
}

// longest returns the longest token that s begins with, and the length of its text, or nil.
func (m *matcher) longest(s string) (*token, int) {
	var found *token
	n := 0
	node := m.root[s[0]]
	for i := 1; node != 0; i++ {
		if at := m.ends[node]; at > 0 {
			found = &m.tokens[at-1]
			n = i
		}
		if i == len(s) {
			break
		}
		node = m.next[edge{node, s[i]}]
	}
	return found, n
}

// each appends the ids of the added tokens in s to out, and passes the text between them to
// rest, with its offset in s. Like the package tokenizers, it looks for the next token
// after the text of the last one, even if that one was not a whole word, or if it also took
// the white space behind it.
func (m *matcher) each(s string, rest func(part string, at int), out *[]int32) {
	if len(m.tokens) == 0 {
		if s != "" {
			rest(s, 0)
		}
		return
	}
	covered := 0
	for i := 0; i < len(s); {
		if m.root[s[i]] == 0 {
			i++
			continue
		}
		a, n := m.longest(s[i:])
		if a == nil {
			i++
			continue
		}
		b, e := i, i+n
		i = e
		if a.skip || a.SingleWord && (wordEnds(s[:b]) || wordBegins(s[e:])) {
			continue
		}
		if a.LStrip {
			b = max(covered, len(strings.TrimRightFunc(s[:b], unicode.IsSpace)))
		}
		if a.RStrip {
			e = len(s) - len(strings.TrimLeftFunc(s[e:], unicode.IsSpace))
		}
		if covered < b {
			rest(s[covered:b], covered)
		}
		*out = append(*out, a.ID)
		covered = e
	}
	if covered < len(s) {
		rest(s[covered:], covered)
	}
}

// wordEnds reports whether s ends with a character of a word.
func wordEnds(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

// wordBegins reports whether s begins with a character of a word.
func wordBegins(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}
