package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Types of SentencePiece pieces. GGUF files use the same numbers.
const (
	pieceNormal      = 1
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
	pieceUnused      = 5
	pieceByte        = 6
)

// spm is a SentencePiece model from a tokenizer.model, or from a GGUF file whose
// vocabulary is "llama" or "t5".
type spm struct {
	pieces        []string
	scores        []float32
	types         []int
	unigram       bool
	dummyPrefix   bool   // a space is put before every text
	extraSpaces   bool   // all spaces are kept; otherwise spaces at the ends are stripped and runs of spaces collapse
	escapeSpaces  bool   // spaces become ▁
	charsmap      []byte // rules of the normalizer, see charsmap.go
	hub           bool   // segment as transformers 5 does, not as SentencePiece, where the two differ
	unk, bos, eos int32
	unkPiece      string
	bosPiece      string
	eosPiece      string
}

// defaultSPM returns a model with the defaults of fields that a file omits.
func defaultSPM() *spm {
	return &spm{
		unigram: true, dummyPrefix: true, escapeSpaces: true, unk: 0, bos: 1, eos: 2,
		unkPiece: "<unk>", bosPiece: "<s>", eosPiece: "</s>",
	}
}

// loadSPM reads DIR/tokenizer.model, as AutoTokenizer of transformers 5 does.
func loadSPM(dir string, o Options) (*Tokenizer, error) {
	name := filepath.Join(dir, "tokenizer.model")
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(dir, o)
	if err != nil {
		return nil, err
	}
	t, err := c.fromSPM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.source = dir
	return t, t.readTemplates(dir, c.values["chat_template"])
}

// fromSPM makes a tokenizer from a tokenizer.model with the configuration.
func (c *config) fromSPM(data []byte) (*Tokenizer, error) {
	m := defaultSPM()
	if err := m.parse(data); err != nil {
		return nil, err
	}
	k, err := c.class(false)
	if err != nil {
		return nil, err
	}
	c.spm = true
	if c.older["additional_special_tokens"] {
		c.drop("additional_special_tokens") // the pieces of the model replace them
	}
	for i, p := range m.pieces {
		if m.types[i] == pieceControl || m.types[i] == pieceUserDefined && k.rebuild != nil {
			c.extra = append(c.extra, specialToken{flags: true, added: added{Content: p, Special: m.types[i] == pieceControl}})
		}
	}
	var t *Tokenizer
	switch {
	case k.rebuild == nil:
		t, err = c.asIsSPM(m, k)
	case slices.Contains(spmClasses, k.name):
		t, err = c.rebuildSPM(m, k)
	default:
		err = fmt.Errorf("tokenizer_class %s is not supported for a tokenizer.model: --ignore-config tokenizer_class "+
			"segments as SentencePiece does", k.name)
	}
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%x %s %v %v", sha256.Sum256(data), k.name, t.before, t.after)
	for _, key := range []string{"legacy", "add_prefix_space", "split_special_tokens"} {
		fmt.Fprintf(h, " %s", c.values[key])
	}
	fmt.Fprintf(h, " %+v", c.decoder)
	t.sha256 = hex.EncodeToString(h.Sum(nil))
	return t, nil
}

// spmClasses are the classes of transformers 5 that rebuild the tokenizer of a
// tokenizer.model.
var spmClasses = []string{"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"}

// asIsSPM makes the tokenizer that segments as SentencePiece does, with the special tokens
// and control pieces matched in the text before.
func (c *config) asIsSPM(m *spm, k class) (*Tokenizer, error) {
	m.hub = c.isModel
	m.rename(c.decoder)
	t, list, err := m.tokenizer()
	if err != nil {
		return nil, err
	}
	for _, d := range []struct {
		id          int32
		name, piece string
	}{{m.bos, "bos_token", m.bosPiece}, {m.eos, "eos_token", m.eosPiece}, {m.unk, "unk_token", m.unkPiece}} {
		if d.id >= 0 {
			k.tokens = append(k.tokens, named(d.name, d.piece)...)
		}
	}
	again := slices.Clone(c.decoder)
	for i := range again {
		again[i].Normalized = again[i].Normalized && !m.dummyPrefix
	}
	if err := c.finish(t, list, again, k); err != nil {
		return nil, err
	}
	m.matchUserDefined(t)
	if legacy, given := c.values["legacy"]; given {
		t.prependFirst = string(legacy) != "true"
	}
	return t, nil
}

// rename gives pieces of a BPE model the texts that added_tokens_decoder has for their ids,
// unless another piece has that text.
func (m *spm) rename(decoder []added) {
	if m.unigram {
		return
	}
	ids := map[int32]bool{}
	for _, a := range decoder {
		ids[a.ID] = true
	}
	kept := map[string]bool{}
	for i, p := range m.pieces {
		kept[p] = kept[p] || !ids[int32(i)]
	}
	for _, a := range decoder {
		if int(a.ID) >= len(m.pieces) || kept[a.Content] {
			continue
		}
		m.pieces[a.ID] = a.Content
		if m.types[a.ID] == pieceByte {
			m.types[a.ID] = pieceControl // it is no byte any more
		}
	}
}

// rebuildSPM makes the tokenizer of a class that takes only the pieces of the model.
func (c *config) rebuildSPM(m *spm, k class) (*Tokenizer, error) {
	if len(m.pieces) == 0 || len(m.pieces) > maxVocab {
		return nil, fmt.Errorf("%d pieces, want 1 to %d", len(m.pieces), maxVocab)
	}
	f := &file{vocab: m.ids()}
	f.pairs = mergesOf(f.vocab)
	k.rebuild(f, c)
	t, list, err := f.build()
	if err != nil {
		return nil, err
	}
	return t, c.finish(t, list, c.decoder, k)
}

// ids returns the ids of all pieces.
func (m *spm) ids() map[string]int32 {
	ids := make(map[string]int32, len(m.pieces))
	for i, p := range m.pieces {
		ids[p] = int32(i)
	}
	return ids
}

// mergesOf returns every pair of pieces that together spell a piece, in the order of the
// ids of the whole pieces and then of the lengths of the first parts.
func mergesOf(vocab map[string]int32) [][2]string {
	pieces := slices.SortedFunc(maps.Keys(vocab), func(a, b string) int { return int(vocab[a]) - int(vocab[b]) })
	pairs := [][2]string{}
	for _, p := range pieces {
		for at := range p {
			if at == 0 {
				continue
			}
			_, okA := vocab[p[:at]]
			_, okB := vocab[p[at:]]
			if okA && okB {
				pairs = append(pairs, [2]string{p[:at], p[at:]})
			}
		}
	}
	return pairs
}

// tokenizer makes the tokenizer of the model and the empty list of its added tokens:
// setAdded and matchUserDefined must follow.
func (m *spm) tokenizer() (*Tokenizer, *addedTokens, error) {
	if len(m.pieces) == 0 || len(m.pieces) > maxVocab {
		return nil, nil, fmt.Errorf("%d pieces, want 1 to %d", len(m.pieces), maxVocab)
	}
	t := newTokenizer()
	if err := m.addPieces(t); err != nil {
		return nil, nil, err
	}
	t.unk = m.unk
	t.fuseUnk = true
	if err := m.addNormalizers(t); err != nil {
		return nil, nil, err
	}
	list := newAddedTokens(m.ids())
	if !m.unigram && !m.hub && slices.Contains(m.types, pieceUnused) {
		return nil, nil, errors.New("a BPE model with unused pieces is not supported")
	}
	if !m.unigram {
		t.mergesByScore(m)
	}
	types := m.types
	if m.hub {
		// The package tokenizers knows no types: every piece is one like any other.
		t.vocab = m.ids()
		t.ignoreMerges = !m.unigram && slices.Contains(types, pieceUserDefined)
		types = nil
	}
	if m.unigram {
		scores := make([]float64, len(m.scores))
		for i, s := range m.scores {
			scores[i] = float64(s)
		}
		t.unigram = newLattice(t.vocab, scores, types)
	}
	return t, list, nil
}

// matchUserDefined makes the tokenizer match user-defined pieces in the normalized text:
// they are never divided or merged.
func (m *spm) matchUserDefined(t *Tokenizer) {
	for i, p := range m.pieces {
		if m.types[i] == pieceUserDefined {
			t.addedNorm.add(p, token{added: added{ID: int32(i), Content: p}})
		}
	}
}

// addPieces fills the vocabulary of t by the types of the pieces, and sets m.unk if a
// piece is the unknown token.
func (m *spm) addPieces(t *Tokenizer) error {
	t.pieces = slices.Clone(m.pieces)
	t.special = make([]bool, len(m.pieces))
	for b := range t.byteID {
		t.byteID[b] = -1
	}
	for i, p := range m.pieces {
		id := int32(i)
		if math.IsNaN(float64(m.scores[i])) {
			return fmt.Errorf("piece %d, %q: its score is not a number", i, p)
		}
		switch m.types[i] {
		case pieceNormal, pieceUserDefined:
			if p == "" {
				return fmt.Errorf("piece %d is empty", i)
			}
			if _, twice := t.vocab[p]; !twice {
				t.vocab[p] = id
			}
		case pieceUnknown:
			m.unk = id
			t.special[i] = true
		case pieceControl:
			t.special[i] = true
		case pieceByte:
			var b int
			if _, err := fmt.Sscanf(p, "<0x%02X>", &b); err != nil || b < 0 || b > 255 {
				return fmt.Errorf("piece %d, %q, has the type of a byte: want <0x00> to <0xFF>", i, p)
			}
			t.byteID[b] = id
			t.isByte[id] = byte(b)
			t.byteFallback = true
		case pieceUnused:
		default:
			return fmt.Errorf("piece %d, %q, has type %d, want 1 to 6", i, p, m.types[i])
		}
	}
	return nil
}

// addNormalizers adds the steps that the model runs before it segments a text.
func (m *spm) addNormalizers(t *Tokenizer) error {
	if len(m.charsmap) > 0 {
		c, err := parseCharsmap(m.charsmap)
		if err != nil {
			return err
		}
		keep := &matcher{}
		for i, p := range m.pieces {
			if m.types[i] == pieceUserDefined && p != "" {
				keep.add(p, token{})
			}
		}
		t.normalizers = append(t.normalizers, func(s string, limit int) string { return c.replace(s, keep, limit) })
	}
	if !m.extraSpaces {
		end := " ▁"
		if m.hub {
			end = " "
		}
		t.normalizers = append(t.normalizers, plain(func(s string) string { return collapse(s, end) }))
		t.stripSpaces = true
	}
	if m.escapeSpaces {
		t.normalizers = append(t.normalizers, plain(func(s string) string { return strings.ReplaceAll(s, " ", "▁") }))
	}
	if m.dummyPrefix {
		t.stripSpace = true
		t.prepend = " "
		if m.escapeSpaces {
			t.prepend = "▁"
		}
	}
	return nil
}

// collapse strips spaces from the beginning and the characters of end from the end, and
// replaces each run of spaces by one space.
func collapse(s, end string) string {
	s = strings.TrimRight(strings.TrimLeft(s, " "), end)
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

// mergesByScore adds the merges of SentencePiece's BPE: every pair of pieces that
// together spell a piece. The merges are ranked by the score of that piece, higher
// scores first.
func (t *Tokenizer) mergesByScore(m *spm) {
	scores := m.scores
	type ranked struct {
		piece string
		id    int32
	}
	var list []ranked
	for p, id := range t.vocab {
		if !m.hub || m.types[id] == pieceNormal {
			list = append(list, ranked{p, id})
		}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		switch {
		case scores[a.id] > scores[b.id]:
			return -1
		case scores[a.id] < scores[b.id]:
			return 1
		}
		return int(a.id - b.id)
	})
	rank := int32(-1)
	for i, x := range list {
		if i == 0 || scores[x.id] != scores[list[i-1].id] {
			rank = int32(i)
		}
		for at := range x.piece {
			if at == 0 || !utf8.RuneStart(x.piece[at]) {
				continue
			}
			a, okA := t.vocab[x.piece[:at]]
			b, okB := t.vocab[x.piece[at:]]
			if okA && okB && (!m.hub || m.types[a] == pieceNormal && m.types[b] == pieceNormal) {
				t.merges.set(pair{a, b}, merge{rank, x.id})
			}
		}
	}
}

// parse reads the protocol buffer of sentencepiece_model.proto: pieces (1),
// trainer_spec (2) and normalizer_spec (3).
func (m *spm) parse(data []byte) error {
	return eachField(data, func(field int, _ uint64, b []byte) error {
		switch field {
		case 1:
			return m.parsePiece(b)
		case 2:
			return eachField(b, m.trainerField)
		case 3:
			return eachField(b, m.normalizerField)
		}
		return nil
	})
}

func (m *spm) parsePiece(data []byte) error {
	piece := ""
	score := float32(0)
	kind := pieceNormal
	err := eachField(data, func(field int, v uint64, b []byte) error {
		switch field {
		case 1:
			piece = string(b)
		case 2:
			score = math.Float32frombits(uint32(v))
		case 3:
			kind = int(v)
		}
		return nil
	})
	m.pieces = append(m.pieces, piece)
	m.scores = append(m.scores, score)
	m.types = append(m.types, kind)
	return err
}

// trainerField reads a field of trainer_spec.
func (m *spm) trainerField(field int, v uint64, b []byte) error {
	switch field {
	case 3:
		if m.unigram = v == 1; v > 2 {
			return fmt.Errorf("model type %d is not supported; unigram (1) and BPE (2) are", v)
		}
	case 24:
		if v != 0 {
			return errors.New("treat_whitespace_as_suffix is not supported")
		}
	case 40:
		m.unk = int32(v)
	case 41:
		m.bos = int32(v)
	case 42:
		m.eos = int32(v)
	case 45:
		m.unkPiece = string(b)
	case 46:
		m.bosPiece = string(b)
	case 47:
		m.eosPiece = string(b)
	}
	return nil
}

// normalizerField reads a field of normalizer_spec.
func (m *spm) normalizerField(field int, v uint64, b []byte) error {
	switch field {
	case 2:
		m.charsmap = b
	case 3:
		m.dummyPrefix = v != 0
	case 4:
		m.extraSpaces = v == 0
	case 5:
		m.escapeSpaces = v != 0
	}
	return nil
}

var errProto = errors.New("not a SentencePiece model, or truncated: fetch the file again")

// eachField calls visit for the fields of a protocol buffer message. v is the value of a
// varint or fixed number, b the bytes of a string or message.
func eachField(data []byte, visit func(field int, v uint64, b []byte) error) error {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 || key>>3 == 0 {
			return errProto
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch key & 7 {
		case 0:
			if v, n = binary.Uvarint(data); n <= 0 {
				return errProto
			}
		case 1:
			if n = 8; len(data) < n {
				return errProto
			}
			v = binary.LittleEndian.Uint64(data)
		case 2:
			size, k := binary.Uvarint(data)
			if k <= 0 || size > uint64(len(data)-k) {
				return errProto
			}
			n = k + int(size)
			b = data[k:n]
		case 5:
			if n = 4; len(data) < n {
				return errProto
			}
			v = uint64(binary.LittleEndian.Uint32(data))
		default:
			return errProto
		}
		data = data[n:]
		if err := visit(int(key>>3), v, b); err != nil {
			return err
		}
	}
	return nil
}
