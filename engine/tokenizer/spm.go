package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
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
	unk, bos, eos int32
}

// defaultSPM returns a model with the defaults of fields that a file omits.
func defaultSPM() *spm {
	return &spm{unigram: true, dummyPrefix: true, escapeSpaces: true, unk: 0, bos: 1, eos: 2}
}

// loadSPM reads DIR/tokenizer.model.
func loadSPM(dir string) (*Tokenizer, error) {
	name := filepath.Join(dir, "tokenizer.model")
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	t, err := fromSPM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.source = dir
	if err := t.readConfig(dir); err != nil {
		return nil, err
	}
	return t, t.readSPMConfig(dir)
}

// readSPMConfig reads the tokenizer_config.json of a model: whether BOS is added, which
// is the default, as in the Llama class, whether EOS is added, and whether a text after
// a special token begins with a space ("legacy").
func (t *Tokenizer) readSPMConfig(dir string) error {
	c := struct {
		AddBOS *bool `json:"add_bos_token"`
		AddEOS bool  `json:"add_eos_token"`
		Legacy *bool `json:"legacy"`
	}{}
	name := filepath.Join(dir, "tokenizer_config.json")
	if text, err := os.ReadFile(name); err == nil {
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	t.before = nil
	t.after = nil
	if t.bos >= 0 && (c.AddBOS == nil || *c.AddBOS) {
		t.before = []int32{t.bos}
	}
	if t.eos >= 0 && c.AddEOS {
		t.after = []int32{t.eos}
	}
	t.prependFirst = c.Legacy != nil && !*c.Legacy
	return nil
}

// fromSPM makes a tokenizer from a tokenizer.model.
func fromSPM(data []byte) (*Tokenizer, error) {
	m := defaultSPM()
	if err := m.parse(data); err != nil {
		return nil, err
	}
	t, err := m.tokenizer()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	t.sha256 = hex.EncodeToString(sum[:])
	return t, nil
}

// tokenizer makes the tokenizer of the model.
func (m *spm) tokenizer() (*Tokenizer, error) {
	if len(m.pieces) == 0 || len(m.pieces) > maxVocab {
		return nil, fmt.Errorf("%d pieces, want 1 to %d", len(m.pieces), maxVocab)
	}
	t := newTokenizer()
	if err := m.addPieces(t); err != nil {
		return nil, err
	}
	t.unk = m.unk
	t.fuseUnk = true
	var bos, eos string
	t.bos, bos = m.control(m.bos)
	t.eos, eos = m.control(m.eos)
	t.setSpecial("bos_token", bos)
	t.setSpecial("eos_token", eos)
	if err := m.addNormalizers(t); err != nil {
		return nil, err
	}
	if m.unigram {
		scores := make([]float64, len(m.scores))
		for i, s := range m.scores {
			scores[i] = float64(s)
		}
		t.unigram = newLattice(t.vocab, scores, m.types)
		return t, nil
	}
	if slices.Contains(m.types, pieceUnused) {
		return nil, errors.New("a BPE model with unused pieces is not supported")
	}
	t.mergesByScore(m.scores)
	return t, nil
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
			if m.types[i] == pieceUserDefined {
				t.addedNorm[p[0]] = append(t.addedNorm[p[0]], added{ID: id, Content: p})
			}
		case pieceUnknown:
			m.unk = id
			t.special[i] = true
		case pieceControl:
			t.special[i] = true
			if p != "" {
				t.addedRaw[p[0]] = append(t.addedRaw[p[0]], added{ID: id, Content: p, Special: true})
			}
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
	t.sortAdded()
	return nil
}

// control returns the id and the text of a control piece, or -1 if id is not a control
// piece.
func (m *spm) control(id int32) (int32, string) {
	if id >= 0 && int(id) < len(m.pieces) && m.types[id] == pieceControl {
		return id, m.pieces[id]
	}
	return -1, ""
}

// addNormalizers adds the steps that the model runs before it segments a text.
func (m *spm) addNormalizers(t *Tokenizer) error {
	if len(m.charsmap) > 0 {
		c, err := parseCharsmap(m.charsmap)
		if err != nil {
			return err
		}
		var userDefined []string // longer ones first
		for i, p := range m.pieces {
			if m.types[i] == pieceUserDefined {
				userDefined = append(userDefined, p)
			}
		}
		slices.SortFunc(userDefined, func(a, b string) int { return len(b) - len(a) })
		t.normalizers = append(t.normalizers, func(s string) string { return c.replace(s, userDefined) })
	}
	if !m.extraSpaces {
		t.normalizers = append(t.normalizers, collapse)
		t.stripSpaces = true
	}
	if m.escapeSpaces {
		t.normalizers = append(t.normalizers, func(s string) string { return strings.ReplaceAll(s, " ", "▁") })
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

// collapse strips spaces at both ends, and also ▁ at the end, and replaces each run of
// spaces by one space.
func collapse(s string) string {
	s = strings.TrimRight(strings.TrimLeft(s, " "), " ▁")
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

// mergesByScore adds the merges of SentencePiece's BPE: every pair of pieces that
// together spell a piece. The merges are ranked by the score of that piece, higher
// scores first.
func (t *Tokenizer) mergesByScore(scores []float32) {
	type ranked struct {
		piece string
		id    int32
	}
	var list []ranked
	for p, id := range t.vocab {
		list = append(list, ranked{p, id})
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
			if okA && okB {
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
func (m *spm) trainerField(field int, v uint64, _ []byte) error {
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
