package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// maxFile is the largest tokenizer file that is read, in bytes.
const maxFile = 256 << 20

// Load reads the tokenizer of a model: of a folder in the layout of the hub, from
// tokenizer.json or else tokenizer.model, or of a GGUF file. If there is none, the error
// wraps ErrNoTokenizer.
func Load(path string) (*Tokenizer, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		ck, err := checkpoint.Open(path)
		if err != nil {
			return nil, err
		}
		defer ck.Close()
		return fromGGUF(path, ck.Config())
	}
	name := filepath.Join(path, "tokenizer.json")
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(path, "tokenizer.model")); err == nil {
			return loadSPM(path)
		}
		return nil, fmt.Errorf("%s: it has no tokenizer.json or tokenizer.model: %w", path, ErrNoTokenizer)
	}
	if err != nil {
		return nil, err
	}
	t, err := fromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.source = path
	return t, t.readConfig(path)
}

// readFile reads a file of at most maxFile bytes that is no Git LFS pointer.
func readFile(name string) ([]byte, error) { return checkpoint.ReadFile(name, maxFile) }

func newTokenizer() *Tokenizer {
	return &Tokenizer{
		unk: -1, bos: -1, eos: -1, isByte: map[int32]byte{},
		addedRaw: map[byte][]added{}, addedNorm: map[byte][]added{}, vocab: map[string]int32{},
	}
}

// file holds the fields of tokenizer.json that are read.
type file struct {
	AddedTokens   []added         `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         struct {
		Type         string          `json:"type"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
		UnkToken     *string         `json:"unk_token"`
		UnkID        *int32          `json:"unk_id"` // of a unigram model
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       *string         `json:"end_of_word_suffix"`
		FuseUnk      bool            `json:"fuse_unk"`
		Dropout      *float64        `json:"dropout"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
	} `json:"model"`
}

// fromJSON makes a tokenizer from a tokenizer.json.
func fromJSON(data []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	vocab, scores, err := f.vocabulary()
	if err != nil {
		return nil, err
	}
	for _, s := range []*string{f.Model.Prefix, f.Model.Suffix} {
		if s != nil && *s != "" {
			return nil, fmt.Errorf("continuing_subword_prefix or end_of_word_suffix %q is not supported", *s)
		}
	}
	if d := f.Model.Dropout; d != nil && *d != 0 {
		return nil, fmt.Errorf("dropout %g is not supported: the same text would give different tokens each time; "+
			"set dropout to null", *d)
	}
	t := newTokenizer()
	sum := sha256.Sum256(data)
	t.sha256 = hex.EncodeToString(sum[:])
	t.wholeRuns = true
	t.fuseUnk = f.Model.FuseUnk
	t.byteFallback = f.Model.ByteFallback
	t.ignoreMerges = f.Model.IgnoreMerges
	for _, step := range []func() error{
		func() error { return t.addNormalizer(f.Normalizer) },
		func() error { return t.addPreTokenizer(f.PreTokenizer) },
		func() error { return t.setVocab(vocab) },
		func() error { return t.setMerges(vocab, f.Model.Merges) },
		func() error { return t.setPostProcessor(f.PostProcessor) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if f.Model.UnkToken != nil {
		if id, ok := vocab[*f.Model.UnkToken]; ok {
			t.unk = id
		}
	}
	if scores != nil {
		t.unigram = newLattice(t.vocab, scores, nil)
		t.fuseUnk = true
		if id := f.Model.UnkID; id != nil && *id >= 0 && int(*id) < len(scores) {
			t.unk = *id
		}
	}
	if err := t.setDecoder(f.Decoder); err != nil {
		return nil, err
	}
	return t, t.addTokens(f.AddedTokens)
}

// vocabulary reads the vocabulary of a BPE or unigram model: ids by piece, and for a
// unigram model the scores by id.
func (f *file) vocabulary() (map[string]int32, []float64, error) {
	switch f.Model.Type {
	case "BPE", "":
		var vocab map[string]int32
		if err := json.Unmarshal(f.Model.Vocab, &vocab); err != nil {
			return nil, nil, fmt.Errorf("vocab: %w", err)
		}
		return vocab, nil, nil
	case "Unigram":
		var list []json.RawMessage
		if err := json.Unmarshal(f.Model.Vocab, &list); err != nil {
			return nil, nil, fmt.Errorf("vocab: %w", err)
		}
		if len(list) == 0 || len(list) > maxVocab {
			return nil, nil, fmt.Errorf("vocab: %d pieces, want 1 to %d", len(list), maxVocab)
		}
		vocab := make(map[string]int32, len(list))
		scores := make([]float64, len(list))
		for i, raw := range list {
			var piece string
			if err := json.Unmarshal(raw, &[]any{&piece, &scores[i]}); err != nil {
				return nil, nil, fmt.Errorf("vocab: piece %d: %w", i, err)
			}
			if _, twice := vocab[piece]; !twice && piece != "" {
				vocab[piece] = int32(i)
			}
		}
		return vocab, scores, nil
	}
	return nil, nil, fmt.Errorf("model type %q is not supported; BPE and Unigram are", f.Model.Type)
}

// maxVocab is the limit of ids, so that a hostile file cannot ask for a huge table.
const maxVocab = 1 << 24

// setVocab fills the tables from a map of ids by piece, as the file spells the pieces.
func (t *Tokenizer) setVocab(vocab map[string]int32) error {
	top := int32(-1)
	for piece, id := range vocab {
		if id < 0 || id >= maxVocab {
			return fmt.Errorf("token %q has id %d, want 0 to %d", piece, id, maxVocab)
		}
		top = max(top, id)
	}
	t.pieces = make([]string, top+1)
	t.special = make([]bool, top+1)
	for piece, id := range vocab {
		raw := piece
		ok := true
		if t.byteLevel {
			raw, ok = bytesOf(piece)
		}
		if ok {
			t.vocab[raw] = id
		}
		t.pieces[id] = raw
	}
	for b := range 256 {
		t.byteID[b] = -1
		if t.byteLevel {
			if id, ok := t.vocab[string([]byte{byte(b)})]; ok {
				t.byteID[b] = id
			}
		} else if id, ok := vocab[fmt.Sprintf("<0x%02X>", b)]; ok {
			t.byteID[b] = id
			t.isByte[id] = byte(b)
		}
	}
	return nil
}

// byteOf maps each printable character that byte-level files write instead of a byte to
// that byte.
var byteOf = func() map[rune]byte {
	m := map[rune]byte{}
	n := rune(256)
	for b := range 256 {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			m[rune(b)] = byte(b)
			continue
		}
		m[n] = byte(b)
		n++
	}
	return m
}()

// bytesOf returns the bytes of a byte-level piece. It returns false if the piece
// contains other characters, as an added token may.
func bytesOf(piece string) (string, bool) {
	out := make([]byte, 0, len(piece))
	for _, r := range piece {
		b, ok := byteOf[r]
		if !ok {
			return piece, false
		}
		out = append(out, b)
	}
	return string(out), true
}

// setMerges reads merges in either of two forms, ["a b"] or [["a", "b"]].
func (t *Tokenizer) setMerges(vocab map[string]int32, raw json.RawMessage) error {
	var pairs [][2]string
	if len(raw) == 0 {
		return nil
	}
	if json.Unmarshal(raw, &pairs) != nil {
		var lines []string
		if err := json.Unmarshal(raw, &lines); err != nil {
			return fmt.Errorf("merges: %w", err)
		}
		pairs = nil
		for _, line := range lines {
			a, b, _ := strings.Cut(line, " ")
			pairs = append(pairs, [2]string{a, b})
		}
	}
	for i, p := range pairs {
		a, okA := vocab[p[0]]
		b, okB := vocab[p[1]]
		c, okC := vocab[p[0]+p[1]]
		if !okA || !okB || !okC {
			return fmt.Errorf("merge %d, %q and %q, is not in the vocabulary", i, p[0], p[1])
		}
		t.merges.set(pair{a, b}, merge{int32(i), c}) // if a pair occurs twice, the last merge counts, as in the reference
	}
	return nil
}

// addTokens adds the tokens that are matched before the text is split.
func (t *Tokenizer) addTokens(list []added) error {
	for _, a := range list {
		if a.Content == "" {
			continue
		}
		if a.ID < 0 || a.ID >= maxVocab {
			return fmt.Errorf("added token %q has id %d, want 0 to %d", a.Content, a.ID, maxVocab)
		}
		for int(a.ID) >= len(t.pieces) {
			t.pieces = append(t.pieces, "")
			t.special = append(t.special, false)
		}
		t.pieces[a.ID] = a.Content
		t.special[a.ID] = a.Special
		m := t.addedRaw
		if a.Normalized {
			m = t.addedNorm
			for _, f := range t.normalizers {
				a.Content = f(a.Content)
			}
		}
		m[a.Content[0]] = append(m[a.Content[0]], a)
	}
	t.sortAdded()
	return nil
}

// sortAdded puts longer tokens first, since the first match wins.
func (t *Tokenizer) sortAdded() {
	for _, m := range []map[byte][]added{t.addedRaw, t.addedNorm} {
		for _, l := range m {
			slices.SortStableFunc(l, func(a, b added) int { return len(b.Content) - len(a.Content) })
		}
	}
}
