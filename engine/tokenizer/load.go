package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/internal/jsonerr"
)

// maxFile is the largest tokenizer file that is read, in bytes.
const maxFile = 64 << 20

// Options change how a tokenizer is read.
type Options struct {
	// IgnoreConfig are the names of settings that are ignored: keys of tokenizer_config.json
	// or of the metadata of a GGUF file.
	IgnoreConfig []string
}

// Load reads the tokenizer of a model: of a folder in the layout of the hub, from
// tokenizer.json or else tokenizer.model, or of a GGUF file. If there is none, the error
// wraps ErrNoTokenizer.
func Load(path string) (*Tokenizer, error) { return LoadWith(path, Options{}) }

// LoadWith is Load with options.
func LoadWith(path string, o Options) (*Tokenizer, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return loadFolder(path, o)
	}
	ck, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer ck.Close()
	return Of(ck, o)
}

// Of reads the tokenizer of a checkpoint, of which it needs no weights.
func Of(ck *checkpoint.Checkpoint, o Options) (t *Tokenizer, err error) {
	if ck.Format() != "gguf" {
		return loadFolder(ck.Path(), o)
	}
	defer recoverPattern(ck.Path(), &err)
	return loadGGUF(ck.Path(), ck.Config(), o)
}

// loadFolder reads the tokenizer of a folder in the layout of the hub.
func loadFolder(path string, o Options) (t *Tokenizer, err error) {
	defer recoverPattern(path, &err)
	name := filepath.Join(path, "tokenizer.json")
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(path, "tokenizer.model")); err == nil {
			return loadSPM(path, o)
		}
		return nil, fmt.Errorf("%s: it has no tokenizer.json or tokenizer.model: %w", path, ErrNoTokenizer)
	}
	if err != nil {
		return nil, err
	}
	f, err := parseFile(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c, err := readConfig(path, o)
	if err != nil {
		return nil, err
	}
	if t, err = c.tokenizer(f); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.source = path
	return t, t.readTemplates(path, c.values["chat_template"])
}

// readFile reads a file of at most maxFile bytes that is no Git LFS pointer.
func readFile(name string) ([]byte, error) { return checkpoint.ReadFile(name, maxFile) }

func newTokenizer() *Tokenizer {
	return &Tokenizer{
		unk: -1, bos: -1, eos: -1, isByte: map[int32]byte{},
		vocab: map[string]int32{},
	}
}

// file holds the fields of tokenizer.json that are read.
type file struct {
	AddedTokens   []added `json:"added_tokens"`
	Normalizer    *node   `json:"normalizer"`
	PreTokenizer  *node   `json:"pre_tokenizer"`
	PostProcessor *node   `json:"post_processor"`
	Decoder       *node   `json:"decoder"`
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

	data []byte

	// The vocabulary and the merges, if they are not in Model.
	vocab map[string]int32
	pairs [][2]string
}

// parseFile parses a tokenizer.json and checks its limits.
func parseFile(data []byte) (*file, error) {
	f := &file{data: data}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, jsonerr.Plain(data, err)
	}
	for _, step := range []struct {
		kind string
		node *node
	}{
		{"normalizer", f.Normalizer},
		{"pre_tokenizer", f.PreTokenizer},
		{"post_processor", f.PostProcessor},
		{"decoder", f.Decoder},
	} {
		steps := 0
		if err := step.node.check(step.kind, &steps); err != nil {
			return nil, err
		}
	}
	if len(f.AddedTokens) > maxAdded {
		return nil, fmt.Errorf("%d added tokens; at most %d are taken", len(f.AddedTokens), maxAdded)
	}
	return f, nil
}

// fromJSON makes a tokenizer from a tokenizer.json alone.
func fromJSON(data []byte) (t *Tokenizer, err error) {
	defer recoverPattern("tokenizer.json", &err)
	f, err := parseFile(data)
	if err != nil {
		return nil, err
	}
	return newConfig("").tokenizer(f)
}

// build makes the tokenizer of the file, with the file's added tokens in a list to which
// others can be added: setAdded must follow.
func (f *file) build() (*Tokenizer, *addedTokens, error) {
	vocab, scores, err := f.vocabulary()
	if err != nil {
		return nil, nil, err
	}
	for _, s := range []*string{f.Model.Prefix, f.Model.Suffix} {
		if s != nil && *s != "" {
			return nil, nil, fmt.Errorf("continuing_subword_prefix or end_of_word_suffix %.200q is not supported", *s)
		}
	}
	if d := f.Model.Dropout; d != nil && *d != 0 {
		return nil, nil, fmt.Errorf("dropout %g is not supported: the same text would give different tokens each time; "+
			"set dropout to null", *d)
	}
	t := newTokenizer()
	t.wholeRuns = true
	t.fuseUnk = f.Model.FuseUnk
	t.byteFallback = f.Model.ByteFallback
	t.ignoreMerges = f.Model.IgnoreMerges
	for _, step := range []func() error{
		func() error { return t.addNormalizer(f.Normalizer) },
		func() error { return t.addPreTokenizer(f.PreTokenizer) },
		func() error { return t.setVocab(vocab) },
		func() error { return t.setMerges(vocab, f) },
		func() error { return t.setPostProcessor(f.PostProcessor) },
	} {
		if err := step(); err != nil {
			return nil, nil, err
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
		return nil, nil, err
	}
	list := newAddedTokens(vocab)
	for _, a := range f.AddedTokens {
		if err := list.add(a); err != nil {
			return nil, nil, err
		}
	}
	return t, list, nil
}

// vocabulary reads the vocabulary of a BPE or unigram model: ids by piece, and for a
// unigram model the scores by id.
func (f *file) vocabulary() (map[string]int32, []float64, error) {
	if f.vocab != nil {
		return f.vocab, nil, nil
	}
	switch f.Model.Type {
	case "BPE", "":
		var vocab map[string]int32
		if err := json.Unmarshal(f.Model.Vocab, &vocab); err != nil {
			return nil, nil, fmt.Errorf("vocab: %w", jsonerr.Plain(nil, err))
		}
		return vocab, nil, nil
	case "Unigram":
		var list []json.RawMessage
		if err := json.Unmarshal(f.Model.Vocab, &list); err != nil {
			return nil, nil, fmt.Errorf("vocab: %w", jsonerr.Plain(nil, err))
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
const maxVocab = 1 << 21

// setVocab fills the tables from a map of ids by piece, as the file spells the pieces.
func (t *Tokenizer) setVocab(vocab map[string]int32) error {
	if len(vocab) > maxVocab {
		return fmt.Errorf("vocab: %d pieces, want at most %d", len(vocab), maxVocab)
	}
	top := int32(-1)
	for piece, id := range vocab {
		if id < 0 || id >= maxVocab {
			return fmt.Errorf("token %q has id %d, want 0 to %d", piece, id, maxVocab-1)
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

// mergePairs reads the merges in either of two forms, ["a b"] or [["a", "b"]]. As in the
// package tokenizers, a merge of other than two parts is an error.
func (f *file) mergePairs() ([][2]string, error) {
	if f.pairs != nil || len(f.Model.Merges) == 0 {
		return f.pairs, nil
	}
	var lists [][]string
	var lines []string
	if json.Unmarshal(f.Model.Merges, &lists) != nil {
		lists = nil
		if err := json.Unmarshal(f.Model.Merges, &lines); err != nil {
			return nil, fmt.Errorf("merges: %w", jsonerr.Plain(nil, err))
		}
	}
	for _, line := range lines {
		lists = append(lists, strings.Split(line, " "))
	}
	pairs := make([][2]string, len(lists))
	for i, list := range lists {
		if len(list) != 2 {
			return nil, fmt.Errorf("merge %d has %d parts, want 2: %.80q", i, len(list), list)
		}
		pairs[i] = [2]string{list[0], list[1]}
	}
	return pairs, nil
}

// setMerges sets the merges of the file.
func (t *Tokenizer) setMerges(vocab map[string]int32, f *file) error {
	pairs, err := f.mergePairs()
	if err != nil {
		return err
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
