package tokenizer

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/dlclark/regexp2"
	"golang.org/x/text/unicode/norm"
)

// node is one step of the pipeline in a tokenizer.json: the fields of all types of step.
type node struct {
	Type          string  `json:"type"`
	Normalizers   []*node `json:"normalizers"`
	PreTokenizers []*node `json:"pretokenizers"`
	Processors    []*node `json:"processors"`
	Decoders      []*node `json:"decoders"`
	Prepend       string  `json:"prepend"`
	Content       string  `json:"content"`
	Pattern       struct {
		String string
		Regex  string
	} `json:"pattern"`
	Behavior       string  `json:"behavior"`
	Invert         bool    `json:"invert"`
	AddPrefixSpace *bool   `json:"add_prefix_space"`
	UseRegex       *bool   `json:"use_regex"`
	Individual     bool    `json:"individual_digits"`
	PrependScheme  *string `json:"prepend_scheme"`
	Replacement    string  `json:"replacement"`
	Split          *bool   `json:"split"`
	StripLeft      bool    `json:"strip_left"`
	StripRight     bool    `json:"strip_right"`
	Charsmap       *string `json:"precompiled_charsmap"`
	Start          int     `json:"start"`
	Stop           int     `json:"stop"`
	CLS, SEP       json.RawMessage
	Single         []struct {
		SpecialToken *struct{ ID string } `json:"SpecialToken"`
		Sequence     *struct{ ID string } `json:"Sequence"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// Limits of a pipeline, so that a small file cannot ask for endless work.
const (
	maxSteps   = 64       // normalizers, pre-tokenizers, post-processors or decoders
	maxPattern = 16 << 10 // bytes of a pattern
	maxContent = 16 << 10 // bytes of a text that a step inserts
)

// check reports what of a step and of the steps in it is beyond the limits; kind names
// them in errors. steps counts them.
func (n *node) check(kind string, steps *int) error {
	if n == nil {
		return nil
	}
	if *steps++; *steps > maxSteps {
		return fmt.Errorf("more than %d steps in %s; at most %d are taken", maxSteps, kind, maxSteps)
	}
	if size := max(len(n.Pattern.String), len(n.Pattern.Regex)); size > maxPattern {
		return fmt.Errorf("%s %s: a pattern of %d bytes; at most %d are taken", kind, n.Type, size, maxPattern)
	}
	if size := max(len(n.Content), len(n.Prepend)); size > maxContent {
		return fmt.Errorf("%s %s: it inserts a text of %d bytes; at most %d are taken", kind, n.Type, size, maxContent)
	}
	for _, list := range [][]*node{n.Normalizers, n.PreTokenizers, n.Processors, n.Decoders} {
		for _, inner := range list {
			if err := inner.check(kind, steps); err != nil {
				return err
			}
		}
	}
	return nil
}

// each calls add for the steps of a sequence, up to the first error.
func each(list []*node, add func(*node) error) error {
	for _, n := range list {
		if err := add(n); err != nil {
			return err
		}
	}
	return nil
}

// addNormalizer adds a normalizer, or all normalizers of a sequence.
func (t *Tokenizer) addNormalizer(n *node) error {
	if n == nil {
		return nil
	}
	var f normalizer
	switch n.Type {
	case "Sequence":
		return each(n.Normalizers, t.addNormalizer)
	case "Prepend":
		f = plain(func(s string) string {
			if s == "" {
				return s
			}
			return n.Prepend + s
		})
	case "Replace":
		var err error
		if f, err = replacer(n); err != nil {
			return err
		}
	case "NFC":
		f = plain(norm.NFC.String)
	case "NFD":
		f = plain(norm.NFD.String)
	case "NFKC":
		f = plain(norm.NFKC.String)
	case "NFKD":
		f = plain(norm.NFKD.String)
	case "Lowercase":
		f = plain(lowercase)
	case "Strip":
		f = plain(n.strip)
	case "StripAccents":
		f = plain(stripAccents)
	case "Nmt":
		f = plain(nmt)
	case "Precompiled":
		if n.Charsmap == nil || *n.Charsmap == "" {
			return nil
		}
		data, err := base64.StdEncoding.DecodeString(*n.Charsmap)
		if err != nil {
			return fmt.Errorf("normalizer Precompiled: %w", err)
		}
		c, err := parseCharsmap(data)
		if err != nil {
			return fmt.Errorf("normalizer Precompiled: %w", err)
		}
		f = c.replaceGraphemes
	default:
		return fmt.Errorf("normalizer %s is not supported; Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, "+
			"Lowercase, Strip, StripAccents, Nmt and Precompiled are", n.Type)
	}
	t.normalizers = append(t.normalizers, f)
	return nil
}

// normalizer is a step of the normalization. It panics with a patternError rather than
// return a text of more than limit bytes, or it at least does not take much more memory
// than that.
type normalizer func(text string, limit int) string

// plain is the normalizer that makes a text at most a few times as long.
func plain(f func(string) string) normalizer {
	return func(text string, _ int) string { return f(text) }
}

// normalize runs all normalizers. Unicode's normal forms make a text at most eleven times
// as long; a text that becomes much longer is refused with a panic of a patternError.
func (t *Tokenizer) normalize(text string) string {
	before := len(text)
	limit := before + min(15*before+64<<10, 64<<20)
	for _, f := range t.normalizers {
		text = f(text, limit)
		checkGrowth(len(text), limit)
	}
	return text
}

// checkGrowth panics if a normalized text is longer than the limit.
func checkGrowth(size, limit int) {
	if size > limit {
		panic(patternError{fmt.Errorf("the normalizer makes the text too long: more than %d bytes", limit)})
	}
}

// strip removes white space from the ends that the step specifies.
func (n *node) strip(s string) string {
	if n.StripLeft {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
	}
	if n.StripRight {
		s = strings.TrimRightFunc(s, unicode.IsSpace)
	}
	return s
}

// stripAccents removes combining marks.
func stripAccents(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, s)
}

// replacer returns the normalizer Replace, of a string or a regular expression.
func replacer(n *node) (normalizer, error) {
	if old := n.Pattern.String; old != "" {
		return func(s string, limit int) string {
			checkGrowth(len(s)+strings.Count(s, old)*(len(n.Content)-len(old)), limit)
			return strings.ReplaceAll(s, old, n.Content)
		}, nil
	}
	if n.Pattern.Regex == "" {
		return nil, errors.New("normalizer Replace has no pattern")
	}
	re, err := compilePattern(n.Pattern.Regex)
	if err != nil {
		return nil, fmt.Errorf("normalizer Replace: pattern %.200q: %w", n.Pattern.Regex, err)
	}
	return func(s string, limit int) string {
		inserted := 0
		out, err := re.ReplaceFunc(s, func(regexp2.Match) string {
			inserted += len(n.Content)
			checkGrowth(inserted, limit)
			return n.Content
		}, -1, -1)
		outOfTime(re, err)
		return out
	}, nil
}

// lowercase maps each character on its own, as the reference does.
func lowercase(s string) string {
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r == 0x130 {
			return r
		}
		return unicode.ToLower(r)
	}, s), "\u0130", "i\u0307")
}

// nmt drops control characters and replaces other white space by spaces.
func nmt(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0x1 && r <= 0x8, r == 0xb, r >= 0xe && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
			return -1
		case r == 0x9, r == 0xa, r == 0xc, r == 0xd, r == 0x1680, r >= 0x200b && r <= 0x200f,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xfeff, r == 0xfffd:
			return ' '
		}
		return r
	}, s)
}

// addPreTokenizer adds a pre-tokenizer, or all pre-tokenizers of a sequence.
func (t *Tokenizer) addPreTokenizer(n *node) error {
	if n == nil {
		return nil
	}
	switch n.Type {
	case "Sequence":
		return each(n.PreTokenizers, t.addPreTokenizer)
	case "ByteLevel":
		t.byteLevel = true
		if n.AddPrefixSpace != nil && *n.AddPrefixSpace {
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
		if n.Individual {
			t.splits = append(t.splits, splitDigits)
			return nil
		}
		t.splits = append(t.splits, runs(func(r rune) int {
			if isNumber(r) {
				return 1
			}
			return 0
		}))
	case "Split":
		return t.addSplit(n)
	case "Punctuation":
		if n.Behavior == "" {
			n.Behavior = "Isolated"
		}
		b, err := behave(n.Behavior)
		if err != nil {
			return fmt.Errorf("pre_tokenizer Punctuation: %w", err)
		}
		t.splits = append(t.splits, func(s string, emit func(string)) { b(eachRune(s, isPunctuation), emit) })
	case "Whitespace":
		t.splits = append(t.splits, dropSpaces, runs(func(r rune) int {
			if isLetter(r) || isNumber(r) || unicode.Is(unicode.M, r) || unicode.Is(unicode.Pc, r) {
				return 1
			}
			return 0
		}))
	case "WhitespaceSplit":
		t.splits = append(t.splits, dropSpaces)
	case "Metaspace":
		return t.addMetaspace(n)
	default:
		return fmt.Errorf("pre_tokenizer %s is not supported; Sequence, ByteLevel, Digits, Split, Punctuation, "+
			"Whitespace, WhitespaceSplit and Metaspace are", n.Type)
	}
	return nil
}

// addMetaspace adds the steps of Metaspace: spaces become ▁, a ▁ is put before a text,
// and each ▁ begins a word.
func (t *Tokenizer) addMetaspace(n *node) error {
	if n.Replacement != "" && n.Replacement != "▁" {
		return fmt.Errorf("pre_tokenizer Metaspace with replacement %q is not supported; ▁ is", n.Replacement)
	}
	scheme := n.metaspaceScheme()
	prefix := func(s string) string {
		if s = strings.ReplaceAll(s, " ", "▁"); !strings.HasPrefix(s, "▁") {
			s = "▁" + s
		}
		return s
	}
	switch scheme {
	case "always":
		t.splits = append(t.splits, func(s string, emit func(string)) { emit(prefix(s)) })
	case "never":
		t.splits = append(t.splits, func(s string, emit func(string)) { emit(strings.ReplaceAll(s, " ", "▁")) })
	case "first":
		if len(t.splits) > 0 {
			return errors.New("pre_tokenizer Metaspace with prepend_scheme first after other steps is not supported")
		}
		t.first = prefix
		t.splits = append(t.splits, func(s string, emit func(string)) { emit(strings.ReplaceAll(s, " ", "▁")) })
	default:
		return fmt.Errorf("pre_tokenizer Metaspace: prepend_scheme %q is not supported; always, first and never are", scheme)
	}
	if n.Split == nil || *n.Split {
		b, _ := behave("MergedWithNext")
		t.splits = append(t.splits, func(s string, emit func(string)) { b(eachString(s, "▁"), emit) })
	}
	return nil
}

// metaspaceScheme returns when Metaspace puts a ▁ before a text: always, first or
// never.
func (n *node) metaspaceScheme() string {
	if n.PrependScheme != nil {
		return *n.PrependScheme
	}
	if n.AddPrefixSpace != nil && !*n.AddPrefixSpace {
		return "never"
	}
	return "always"
}

// addSplit adds a pre-tokenizer Split of a string or a regular expression.
func (t *Tokenizer) addSplit(n *node) error {
	fail := func(err error) error {
		return fmt.Errorf("pre_tokenizer Split: pattern %.200q: %w", cmp.Or(n.Pattern.Regex, n.Pattern.String), err)
	}
	b, err := behave(n.Behavior)
	if err != nil {
		return fail(err)
	}
	if n.Pattern.Regex == "" {
		if n.Pattern.String == "" {
			return fail(errors.New("it is empty"))
		}
		t.splits = append(t.splits, func(s string, emit func(string)) {
			b(inverted(eachString(s, n.Pattern.String), n.Invert), emit)
		})
		return nil
	}
	if n.Behavior == "Isolated" && !n.Invert {
		s, err := patternSplitter(n.Pattern.Regex)
		if err != nil {
			return fail(err)
		}
		t.splits = append(t.splits, s)
		return nil
	}
	if s := scanner(n.Pattern.Regex); s != nil && n.Behavior == "Removed" && n.Invert {
		t.splits = append(t.splits, s)
		return nil
	}
	re, err := compilePattern(n.Pattern.Regex)
	if err != nil {
		return fail(err)
	}
	t.splits = append(t.splits, func(s string, emit func(string)) {
		b(inverted(eachMatch(s, re), n.Invert), emit)
	})
	return nil
}

// setPostProcessor reads the tokens that are put before and after a text.
func (t *Tokenizer) setPostProcessor(n *node) error {
	if n == nil {
		return nil
	}
	switch n.Type {
	case "ByteLevel":
	case "Sequence":
		return each(n.Processors, t.setPostProcessor)
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
	case "RobertaProcessing", "BertProcessing":
		for _, end := range []struct {
			raw json.RawMessage
			to  *[]int32
		}{{n.CLS, &t.before}, {n.SEP, &t.after}} {
			var name string
			var id int32
			if err := json.Unmarshal(end.raw, &[]any{&name, &id}); err != nil {
				return fmt.Errorf("post_processor %s: %w", n.Type, err)
			}
			*end.to = append(*end.to, id)
		}
	default:
		return fmt.Errorf("post_processor %s is not supported; ByteLevel, Sequence, TemplateProcessing, "+
			"RobertaProcessing and BertProcessing are", n.Type)
	}
	return nil
}

// setDecoder reads whether decoding drops the first space. Bytes and ▁ are decoded as
// the model requires, regardless of the decoder; a decoder with any other effect is an
// error.
func (t *Tokenizer) setDecoder(n *node) error {
	if n == nil {
		return nil
	}
	switch n.Type {
	case "ByteLevel", "ByteFallback", "Fuse":
	case "Sequence":
		return each(n.Decoders, t.setDecoder)
	case "Replace":
		if n.Pattern.String != "▁" || n.Content != " " {
			return fmt.Errorf("decoder Replace of %q by %q is not supported; of ▁ by a space is",
				n.Pattern.String, n.Content)
		}
	case "Strip":
		if n.Content != " " || n.Start > 1 || n.Stop > 0 {
			return fmt.Errorf("decoder Strip of %q, %d at the start and %d at the end, is not supported; "+
				"of one space at the start is", n.Content, n.Start, n.Stop)
		}
		t.stripSpace = n.Start == 1
	case "Metaspace":
		t.stripSpace = n.metaspaceScheme() != "never"
	default:
		return fmt.Errorf("decoder %s is not supported; "+
			"Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace are", n.Type)
	}
	return nil
}
