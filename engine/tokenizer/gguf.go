package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ggufPre is a pre-tokenizer, which GGUF files name by tokenizer.ggml.pre.
type ggufPre struct {
	splits       []splitter
	ignoreMerges bool
	bos          bool // whether BOS is added if the file does not specify it
}

// The patterns of the tokenizer.json files that the names refer to.
var (
	tekkenPattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|` +
		`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	gpt4oPattern = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen35Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|` +
		`\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	seedPattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|` +
		`\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`
	lingPattern  = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	bloomPattern = ` ?[^(\s|.,!?…。，、।۔،)]+`
	asianPattern = `[一-龥ࠀ-一가-퟿]+`
	// The letters and signs in DeepSeek LLM's tokenizer.json.
	deepseekLetters = `\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+`
	deepseekSigns   = `\s?[!-/:-~！-／：-～‘-‟　-。]+`
	deepseek3Words  = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|` +
		`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	youtuScripts = `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`
	youtuWords   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	// Kimi K2's own pattern, whose words have no Chinese characters. llama.cpp also joins
	// words whose case changes within.
	kimiWords = `\p{Han}+|` +
		`[^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])*(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])+(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	falconSigns  = `[\p{P}\$\+<=>\^~\|` + "`" + `]+`
	defaultSigns = `[\p{P}\$\+<=>\^~\|]+`
)

// ggufPres maps the names that llama.cpp writes (llama-vocab.cpp) to pre-tokenizers.
var ggufPres = sync.OnceValue(func() map[string]ggufPre {
	m := map[string]ggufPre{}
	add := func(p ggufPre, names ...string) {
		for _, n := range names {
			m[n] = p
		}
	}
	pattern := func(text string) splitter {
		s, err := patternSplitter(text)
		if err != nil {
			panic(err)
		}
		return s
	}
	add(ggufPre{splits: []splitter{splitGPT2}},
		"gpt-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "phi-2", "exaone4", "gigachat", "mellum",
		"modern-bert", "a.x-4.0")
	add(ggufPre{splits: []splitter{splitDigits, splitGPT2}},
		"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2")
	add(ggufPre{splits: []splitter{cl100k(3)}, ignoreMerges: true, bos: true},
		"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
	add(ggufPre{splits: []splitter{cl100k(3)}}, "dbrx", "smaug-bpe", "chatglm-bpe")
	add(ggufPre{splits: []splitter{cl100k(3)}, ignoreMerges: true}, "glm4")
	add(ggufPre{splits: []splitter{cl100k(1)}},
		"qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo", "grok-2", "solar-open")
	add(ggufPre{splits: []splitter{pattern(qwen35Pattern)}}, "qwen35")
	add(ggufPre{splits: []splitter{pattern(tekkenPattern)}, ignoreMerges: true, bos: true}, "tekken")
	add(ggufPre{splits: []splitter{pattern(gpt4oPattern)}}, "gpt-4o", "llama4", "kanana2", "minimax-m2")
	add(ggufPre{splits: []splitter{pattern(seedPattern)}}, "seed-coder")
	add(ggufPre{splits: []splitter{pattern(lingPattern)}}, "bailingmoe", "bailingmoe2", "llada-moe")
	add(ggufPre{splits: []splitter{pattern(bloomPattern)}}, "bloom", "poro-chat", "gpt3-finnish")
	add(ggufPre{splits: []splitter{pattern(bloomPattern), splitDigits}}, "viking")
	add(ggufPre{splits: []splitter{
		pattern(`[\r\n]`), pattern(deepseekLetters), pattern(deepseekSigns), pattern(`\s+$`), pattern(asianPattern),
		pattern(`\p{N}+`),
	}}, "deepseek-llm")
	add(ggufPre{splits: []splitter{
		pattern(`[\r\n]`), pattern(`\s?\p{L}+`), pattern(`\s?\p{P}+`), pattern(asianPattern), splitDigits,
	}}, "deepseek-coder")
	add(ggufPre{splits: []splitter{
		pattern(`\p{N}{1,3}`), pattern(`[一-龥぀-ゟ゠-ヿ]+`), pattern(deepseek3Words),
	}}, "deepseek-v3", "hunyuan-dense", "joyai-llm")
	add(ggufPre{splits: []splitter{pattern(youtuScripts), pattern(youtuWords)}, ignoreMerges: true}, "youtu")
	add(ggufPre{splits: []splitter{pattern(kimiWords)}}, "kimi-k2")
	add(ggufPre{splits: []splitter{
		pattern(falconSigns), splitGPT2, pattern(`[0-9][0-9][0-9]`),
	}}, "falcon")
	add(ggufPre{splits: []splitter{
		pattern(defaultSigns), splitGPT2, pattern(`\p{N}+`), pattern(`[0-9][0-9][0-9]`),
	}}, "default")
	return m
})

// GGUFPres lists the names of the supported pre-tokenizers of byte-level GGUF
// vocabularies, sorted.
func GGUFPres() []string { return slices.Sorted(maps.Keys(ggufPres())) }

// loadGGUF makes the tokenizer of a GGUF file from its metadata without the keys that are
// ignored.
func loadGGUF(path string, meta map[string]any, o Options) (*Tokenizer, error) {
	meta = maps.Clone(meta)
	var ignored []string
	for _, key := range slices.Compact(slices.Sorted(slices.Values(o.IgnoreConfig))) {
		if _, ok := meta[key]; ok && strings.HasPrefix(key, "tokenizer.") {
			delete(meta, key)
			ignored = append(ignored, key)
		}
	}
	t, err := fromGGUF(path, meta)
	if err == nil {
		t.ignored = ignored
	}
	return t, err
}

// fromGGUF makes the tokenizer of a GGUF file from its metadata.
func fromGGUF(path string, meta map[string]any) (*Tokenizer, error) {
	kind, _ := meta["tokenizer.ggml.model"].(string)
	if kind == "" {
		return nil, fmt.Errorf("%s: its metadata has no tokenizer.ggml.model: %w", path, ErrNoTokenizer)
	}
	if meta["tokenizer.ggml.normalizer.lowercase"] == true {
		return nil, fmt.Errorf("%s: tokenizer.ggml.normalizer.lowercase is true, which is not supported: "+
			"--ignore-config tokenizer.ggml.normalizer.lowercase goes on without it", path)
	}
	switch kind {
	case "gpt2":
	case "llama", "t5":
		return spmFromGGUF(path, meta, kind == "t5")
	case "gemma4":
		return gemma4FromGGUF(path, meta)
	default:
		return nil, fmt.Errorf("%s: tokenizer.ggml.model %q is not supported; "+
			"gpt2 (byte-level BPE), llama (SentencePiece BPE), t5 (unigram) and gemma4 are", path, kind)
	}
	name, _ := meta["tokenizer.ggml.pre"].(string)
	pre, ok := ggufPres()[name]
	if !ok {
		return nil, fmt.Errorf("%s: tokenizer.ggml.pre %q is not supported: convert the model again, or give input_ids; "+
			"supported are %s", path, name, strings.Join(GGUFPres(), ", "))
	}
	t := newTokenizer()
	t.source = path
	t.byteLevel = true
	t.splits = pre.splits
	t.ignoreMerges = pre.ignoreMerges
	tokens := texts(meta["tokenizer.ggml.tokens"])
	types := numbers(meta["tokenizer.ggml.token_type"])
	merges := texts(meta["tokenizer.ggml.merges"])
	h := sha256.New()
	vocab := make(map[string]int32, len(tokens))
	var special []added
	for i, s := range tokens {
		fmt.Fprintf(h, "%d %q\n", i, s)
		vocab[s] = int32(i)
		if i < len(types) && (types[i] == pieceControl || types[i] == pieceUserDefined) {
			special = append(special, added{ID: int32(i), Content: s, Special: types[i] == pieceControl})
		}
	}
	fmt.Fprintf(h, "%q %s", merges, name)
	t.sha256 = hex.EncodeToString(h.Sum(nil))
	if err := t.setVocab(vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, line := range merges {
		a, b, _ := strings.Cut(line, " ")
		left, okA := vocab[a]
		right, okB := vocab[b]
		whole, okC := vocab[a+b]
		if !okA || !okB || !okC {
			return nil, fmt.Errorf("%s: merge %d, %q, is not in the vocabulary", path, i, line)
		}
		t.merges.set(pair{left, right}, merge{int32(i), whole})
	}
	list := newAddedTokens(vocab)
	for _, a := range special {
		if err := list.add(a); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := t.setAdded(list, false); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, t.ggufSpecials(path, meta, pre.bos)
}

// gemma4FromGGUF makes the tokenizer of Gemma 4: BPE with merges over characters, with ▁ for
// spaces and bytes for characters outside the vocabulary. As in llama.cpp, no word crosses
// a newline, a run of newlines that is a piece is one token, and BOS is always added.
func gemma4FromGGUF(path string, meta map[string]any) (*Tokenizer, error) {
	tokens := texts(meta["tokenizer.ggml.tokens"])
	types := numbers(meta["tokenizer.ggml.token_type"])
	merges := texts(meta["tokenizer.ggml.merges"])
	f := &file{vocab: make(map[string]int32, len(tokens)), pairs: [][2]string{}}
	h := sha256.New()
	for i, s := range tokens {
		fmt.Fprintf(h, "%d %q\n", i, s)
		f.vocab[s] = int32(i)
		if i < len(types) && (types[i] == pieceControl || types[i] == pieceUserDefined) {
			f.AddedTokens = append(f.AddedTokens, added{Content: s, Special: types[i] == pieceControl})
		}
	}
	for _, line := range merges {
		a, b, _ := strings.Cut(line, " ")
		f.pairs = append(f.pairs, [2]string{a, b})
	}
	rebuildGemma(f, newConfig(path))
	f.Model.UnkToken = nil
	t, list, err := f.build()
	if err == nil {
		err = t.setAdded(list, false)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.source = path
	t.wholeNewlines = true
	t.splits = append(t.splits, runs(func(r rune) int {
		if r == '\n' {
			return 1
		}
		return 0
	}))
	if id, ok := meta["tokenizer.ggml.unknown_token_id"].(uint64); ok && id < uint64(len(tokens)) {
		t.unk = int32(id)
	}
	fmt.Fprintf(h, "%q gemma4", merges)
	t.sha256 = hex.EncodeToString(h.Sum(nil))
	if err := t.ggufSpecials(path, meta, true); err != nil {
		return nil, err
	}
	if t.bos >= 0 {
		t.before = []int32{t.bos}
	}
	return t, nil
}

// spmFromGGUF makes the tokenizer of a SentencePiece vocabulary in a GGUF file.
func spmFromGGUF(path string, meta map[string]any, unigram bool) (*Tokenizer, error) {
	m := defaultSPM()
	m.unigram = unigram
	m.extraSpaces = true
	m.bos = -1
	m.eos = -1
	m.pieces = texts(meta["tokenizer.ggml.tokens"])
	types := numbers(meta["tokenizer.ggml.token_type"])
	scores := floats(meta["tokenizer.ggml.scores"])
	if len(types) != len(m.pieces) || len(scores) != len(m.pieces) {
		return nil, fmt.Errorf("%s: its metadata has %d tokens, %d types and %d scores: want the same number of each",
			path, len(m.pieces), len(types), len(scores))
	}
	for i := range types {
		if types[i] == pieceUserDefined {
			// Converters write spaces for the ▁ of these pieces.
			m.pieces[i] = strings.ReplaceAll(m.pieces[i], " ", "▁")
		}
		m.types = append(m.types, int(types[i]))
		m.scores = append(m.scores, float32(scores[i]))
	}
	if v, ok := meta["tokenizer.ggml.add_space_prefix"].(bool); ok {
		m.dummyPrefix = v
	}
	if v, ok := meta["tokenizer.ggml.escape_whitespaces"].(bool); ok {
		m.escapeSpaces = v
	}
	if v, ok := meta["tokenizer.ggml.remove_extra_whitespaces"].(bool); ok {
		m.extraSpaces = !v
	}
	if v, ok := meta["tokenizer.ggml.unknown_token_id"].(uint64); ok && v < uint64(len(m.pieces)) {
		m.unk = int32(v)
	}
	for _, b := range numbers(meta["tokenizer.ggml.precompiled_charsmap"]) {
		m.charsmap = append(m.charsmap, byte(b))
	}
	t, list, err := m.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, p := range m.pieces {
		if m.types[i] != pieceControl && m.types[i] != pieceUnknown {
			continue
		}
		if err := list.add(added{Content: p, Special: true}); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := t.setAdded(list, false); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.matchUserDefined(t)
	h := sha256.New()
	for i := range m.pieces {
		fmt.Fprintf(h, "%d %q %g %d\n", i, m.pieces[i], m.scores[i], m.types[i])
	}
	fmt.Fprintf(h, "%v %v %v", m.dummyPrefix, m.extraSpaces, m.unigram)
	t.source = path
	t.sha256 = hex.EncodeToString(h.Sum(nil))
	return t, t.ggufSpecials(path, meta, !unigram)
}

// ggufSpecials reads BOS, EOS and the chat template. bos says whether BOS is added if
// the file does not specify it.
func (t *Tokenizer) ggufSpecials(path string, meta map[string]any, bos bool) error {
	for _, end := range []struct {
		name string
		add  bool
		id   *int32
		to   *[]int32
	}{{"bos", bos, &t.bos, &t.before}, {"eos", false, &t.eos, &t.after}} {
		key := "tokenizer.ggml." + end.name + "_token_id"
		*end.id = -1
		if v, ok := meta[key].(uint64); ok && v < uint64(len(t.pieces)) {
			*end.id = int32(v)
		} else if meta[key] != nil {
			return fmt.Errorf("%s: %s is %v, want the id of one of %d tokens", path, key, meta[key], len(t.pieces))
		}
		key = "tokenizer.ggml.add_" + end.name + "_token"
		add, isFlag := meta[key].(bool)
		if !isFlag && meta[key] != nil {
			return fmt.Errorf("%s: %s is %v, want true or false", path, key, meta[key])
		}
		if *end.id < 0 {
			continue
		}
		t.setSpecial(end.name+"_token", t.pieces[*end.id])
		if add || !isFlag && end.add {
			*end.to = []int32{*end.id}
		}
	}
	if text, ok := meta["tokenizer.chat_template"].(string); ok {
		return t.setTemplate(path, text)
	}
	return nil
}

// texts returns a list of metadata as strings.
func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, x := range list {
		out[i], _ = x.(string)
	}
	return out
}

// numbers returns a list of metadata as integers.
func numbers(v any) []int64 {
	list, _ := v.([]any)
	out := make([]int64, len(list))
	for i, x := range list {
		switch n := x.(type) {
		case int64:
			out[i] = n
		case uint64:
			out[i] = int64(n)
		}
	}
	return out
}

// floats returns a list of metadata as floating-point numbers.
func floats(v any) []float64 {
	list, _ := v.([]any)
	out := make([]float64, len(list))
	for i, x := range list {
		switch n := x.(type) {
		case float64:
			out[i] = n
		case float32:
			out[i] = float64(n)
		}
	}
	return out
}
