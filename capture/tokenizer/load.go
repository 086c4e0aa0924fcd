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

	"golang.org/x/text/unicode/norm"

	"github.com/attnscope/attnscope/capture/checkpoint"
)

// maxFile is the largest tokenizer file that is read.
const maxFile = 256 << 20

// Load reads the tokenizer of a folder in hub layout, or of a GGUF file. The
// error wraps ErrNoTokenizer where there is none.
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
	if fi, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(path, "tokenizer.model")); err == nil {
			return nil, fmt.Errorf("%s: tokenizer.model alone is not supported; convert it to tokenizer.json", path)
		}
		return nil, fmt.Errorf("%s: no tokenizer.json in it: %w", path, ErrNoTokenizer)
	} else if err != nil {
		return nil, err
	} else if fi.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, fi.Size(), maxFile)
	}
	data, err := os.ReadFile(name)
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

func newTokenizer() *Tokenizer {
	return &Tokenizer{unk: -1, bos: -1, eos: -1, cache: map[string][]int32{}, isByte: map[int32]byte{},
		addedRaw: map[byte][]added{}, addedNorm: map[byte][]added{}, vocab: map[string]int32{}, merges: map[pair]merge{}}
}

// file is tokenizer.json as far as it is read.
type file struct {
	AddedTokens   []added         `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         struct {
		Type         string           `json:"type"`
		Vocab        map[string]int32 `json:"vocab"`
		Merges       json.RawMessage  `json:"merges"`
		UnkToken     *string          `json:"unk_token"`
		Prefix       *string          `json:"continuing_subword_prefix"`
		Suffix       *string          `json:"end_of_word_suffix"`
		FuseUnk      bool             `json:"fuse_unk"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
	} `json:"model"`
}

func fromJSON(data []byte) (*Tokenizer, error) {
	var f file
	var kind struct {
		Model struct {
			Type string `json:"type"`
		} `json:"model"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	if k := kind.Model.Type; k != "BPE" && k != "" {
		return nil, fmt.Errorf("model type %q is not supported; BPE is", k)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	for _, s := range []*string{f.Model.Prefix, f.Model.Suffix} {
		if s != nil && *s != "" {
			return nil, fmt.Errorf("continuing_subword_prefix or end_of_word_suffix %q is not supported", *s)
		}
	}
	t := newTokenizer()
	sum := sha256.Sum256(data)
	t.sha256 = hex.EncodeToString(sum[:])
	t.fuseUnk, t.byteFallback, t.ignoreMerges = f.Model.FuseUnk, f.Model.ByteFallback, f.Model.IgnoreMerges
	for _, step := range []func() error{
		func() error { return t.addNormaliser(f.Normalizer) },
		func() error { return t.addPreTokenizer(f.PreTokenizer) },
		func() error { return t.setVocab(f.Model.Vocab) },
		func() error { return t.setMerges(f.Model.Vocab, f.Model.Merges) },
		func() error { return t.setPostProcessor(f.PostProcessor) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if f.Model.UnkToken != nil {
		if id, ok := f.Model.Vocab[*f.Model.UnkToken]; ok {
			t.unk = id
		}
	}
	t.stripSpace = strings.Contains(string(f.Decoder), `"Strip"`)
	return t, t.addTokens(f.AddedTokens)
}

// maxVocab bounds ids, so that a hostile file cannot ask for a huge table.
const maxVocab = 1 << 24

// setVocab fills the tables from pieces as files spell them.
func (t *Tokenizer) setVocab(vocab map[string]int32) error {
	top := int32(-1)
	for piece, id := range vocab {
		if id < 0 || id >= maxVocab {
			return fmt.Errorf("token %q has id %d, want 0 to %d", piece, id, maxVocab)
		}
		top = max(top, id)
	}
	t.pieces, t.special = make([]string, top+1), make([]bool, top+1)
	for piece, id := range vocab {
		raw, ok := piece, true
		if t.byteLevel {
			raw, ok = unspell(piece)
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

// byteOf maps the printable characters that byte-level files write for bytes.
var byteOf = func() map[rune]byte {
	m, n := map[rune]byte{}, rune(256)
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

// unspell turns a byte-level piece into its bytes; false for a piece that is
// no such spelling, as added tokens may be.
func unspell(piece string) (string, bool) {
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

// setMerges reads merges in either of their forms, ["a b"] or [["a", "b"]].
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
		t.merges[pair{a, b}] = merge{int32(i), c} // of equal ones the last holds, as in the reference
	}
	return nil
}

func (t *Tokenizer) addTokens(list []added) error {
	for _, a := range list {
		if a.Content == "" {
			continue
		}
		if a.ID < 0 || a.ID >= maxVocab {
			return fmt.Errorf("added token %q has id %d, want 0 to %d", a.Content, a.ID, maxVocab)
		}
		for int(a.ID) >= len(t.pieces) {
			t.pieces, t.special = append(t.pieces, ""), append(t.special, false)
		}
		t.pieces[a.ID], t.special[a.ID] = a.Content, a.Special
		m := t.addedRaw
		if a.Normalized {
			m = t.addedNorm
			for _, f := range t.normalise {
				a.Content = f(a.Content)
			}
		}
		m[a.Content[0]] = append(m[a.Content[0]], a)
	}
	for _, m := range []map[byte][]added{t.addedRaw, t.addedNorm} {
		for _, l := range m {
			slices.SortStableFunc(l, func(a, b added) int { return len(b.Content) - len(a.Content) })
		}
	}
	return nil
}

// node is a step of a tokenizer.json pipeline.
type node struct {
	Type          string            `json:"type"`
	Normalizers   []json.RawMessage `json:"normalizers"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
	Processors    []json.RawMessage `json:"processors"`
	Prepend       string            `json:"prepend"`
	Content       string            `json:"content"`
	Pattern       struct {
		String string
		Regex  string
	} `json:"pattern"`
	Behavior       string `json:"behavior"`
	Invert         bool   `json:"invert"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	UseRegex       *bool  `json:"use_regex"`
	Individual     bool   `json:"individual_digits"`
	PrependScheme  string `json:"prepend_scheme"`
	Replacement    string `json:"replacement"`
	Split          *bool  `json:"split"`
	Single         []struct {
		SpecialToken *struct{ ID string } `json:"SpecialToken"`
		Sequence     *struct{ ID string } `json:"Sequence"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

func parseNode(raw json.RawMessage) (*node, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	n := &node{}
	return n, json.Unmarshal(raw, n)
}

func (t *Tokenizer) addNormaliser(raw json.RawMessage) error {
	n, err := parseNode(raw)
	if n == nil || err != nil {
		return err
	}
	switch {
	case n.Type == "Sequence":
		for _, r := range n.Normalizers {
			if err := t.addNormaliser(r); err != nil {
				return err
			}
		}
		return nil
	case n.Type == "Prepend":
		t.normalise = append(t.normalise, func(s string) string {
			if s == "" {
				return s
			}
			return n.Prepend + s
		})
	case n.Type == "Replace" && n.Pattern.String != "":
		t.normalise = append(t.normalise, func(s string) string { return strings.ReplaceAll(s, n.Pattern.String, n.Content) })
	case n.Type == "NFC":
		t.normalise = append(t.normalise, norm.NFC.String)
	case n.Type == "NFKC":
		t.normalise = append(t.normalise, norm.NFKC.String)
	default:
		return fmt.Errorf("normalizer %s is not supported; Sequence, Prepend, Replace of a string, NFC and NFKC are", n.Type)
	}
	return nil
}

func (t *Tokenizer) addPreTokenizer(raw json.RawMessage) error {
	n, err := parseNode(raw)
	if n == nil || err != nil {
		return err
	}
	switch n.Type {
	case "Sequence":
		for _, r := range n.PreTokenizers {
			if err := t.addPreTokenizer(r); err != nil {
				return err
			}
		}
	case "ByteLevel":
		t.byteLevel = true
		if n.AddPrefixSpace {
			t.splits = append(t.splits, func(s string, emit func(string)) {
				if !strings.HasPrefix(s, " ") {
					s = " " + s
				}
				emit(s)
			})
		}
		if n.UseRegex == nil || *n.UseRegex {
			t.splits = append(t.splits, splitGPT2)
		}
	case "Digits":
		if !n.Individual {
			return errors.New("pre_tokenizer Digits without individual_digits is not supported")
		}
		t.splits = append(t.splits, splitDigits)
	case "Split":
		return t.addSplit(n)
	default:
		return fmt.Errorf("pre_tokenizer %s is not supported; Sequence, ByteLevel, Digits and Split are", n.Type)
	}
	return nil
}

func (t *Tokenizer) addSplit(n *node) error {
	switch {
	case n.Pattern.Regex != "" && n.Behavior == "Isolated" && !n.Invert:
		s, err := patternSplitter(n.Pattern.Regex)
		if err != nil {
			return fmt.Errorf("pre_tokenizer Split: pattern %q: %w", n.Pattern.Regex, err)
		}
		t.splits = append(t.splits, s)
	case n.Pattern.String != "" && n.Behavior == "MergedWithPrevious" && !n.Invert:
		t.splits = append(t.splits, func(s string, emit func(string)) {
			for s != "" {
				i := strings.Index(s, n.Pattern.String)
				if i < 0 {
					emit(s)
					return
				}
				i += len(n.Pattern.String)
				emit(s[:i])
				s = s[i:]
			}
		})
	default:
		return fmt.Errorf("pre_tokenizer Split with behavior %s (invert %v) is not supported", n.Behavior, n.Invert)
	}
	return nil
}

func (t *Tokenizer) setPostProcessor(raw json.RawMessage) error {
	n, err := parseNode(raw)
	if n == nil || err != nil {
		return err
	}
	switch n.Type {
	case "ByteLevel":
	case "Sequence":
		for _, r := range n.Processors {
			if err := t.setPostProcessor(r); err != nil {
				return err
			}
		}
	case "TemplateProcessing":
		dst := &t.before
		for _, part := range n.Single {
			if part.Sequence != nil {
				dst = &t.after
			} else if part.SpecialToken != nil {
				ids, ok := n.SpecialTokens[part.SpecialToken.ID]
				if !ok {
					return fmt.Errorf("post_processor: special token %q is not defined", part.SpecialToken.ID)
				}
				*dst = append(*dst, ids.IDs...)
			}
		}
	default:
		return fmt.Errorf("post_processor %s is not supported; ByteLevel, Sequence and TemplateProcessing are", n.Type)
	}
	return nil
}
