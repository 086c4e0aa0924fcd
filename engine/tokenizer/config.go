package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/jsonerr"
)

// harmless are the keys of tokenizer_config.json that do not change the tokens of a text:
// AutoTokenizer ignores them too, or they concern padding, truncation, decoded text and
// what is passed to the model besides the tokens.
var harmless = map[string]bool{
	"model_max_length": true, "max_len": true, "max_length": true, "stride": true,
	"padding": true, "padding_side": true, "pad_to_multiple_of": true, "pad_token_type_id": true,
	"pad_token_id": true, "bos_token_id": true, "eos_token_id": true, "unk_token_id": true,
	"truncation": true, "truncation_side": true, "truncation_strategy": true,
	"model_input_names": true, "return_token_type_ids": true, "processor_class": true,
	"clean_up_tokenization_spaces": true, "spaces_between_special_tokens": true, "errors": true,
	"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": true,
	"name_or_path": true, "_name_or_path": true, "_commit_hash": true, "transformers_version": true, "revision": true,
	"special_tokens_map_file": true, "tokenizer_file": true, "vocab_file": true, "merges_file": true,
	"full_tokenizer_file": true, "sp_model_kwargs": true, "use_default_system_prompt": true, "verbose": true,
	"use_fast": true, "from_slow": true, "trust_remote_code": true, "device_map": true, "is_local": true,
	"local_files_only": true, "backend": true, "files_loaded": true, "trim_offsets": true, "tokenizer_type": true,
	"token": true, "use_auth_token": true, "cache_dir": true, "response_schema": true, "response_template": true,
	"chat_control_tokens": true, "default_chat_template": true, "grounded_generation_template": true,
	"tool_use_template": true, "vocab_size": true, "remove_space": true, "keep_accents": true,
	"do_basic_tokenize": true, "never_split": true, "tokenize_chinese_chars": true, "strip_accents": true,
	"do_lower_case": true, "wordpieces_prefix": true, "sp_model": true, "extra_ids": true, "num_additional_image_tokens": true,
	"patch_size": true, "vision_feature_select_strategy": true, "image_seq_len": true, "image_size": true,
	"min_pixels": true, "max_pixels": true, "do_image_splitting": true, "image_processor_type": true,
}

// namedTokens are the special tokens with a name, in the order in which the reference
// adds them.
var namedTokens = []string{
	"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
}

// config is what AutoTokenizer of transformers 5 reads beside the vocabulary:
// tokenizer_config.json, the older special_tokens_map.json and added_tokens.json, and the
// kind of the model. A folder without a config.json is a tokenizer without a model. It is
// read as the packages that wrote it do: no class rebuilds a tokenizer.json, and a
// tokenizer.model segments as SentencePiece does and adds BOS.
type config struct {
	file   string // tokenizer_config.json, for errors
	keys   []string
	values map[string]json.RawMessage

	older     map[string]bool // the keys that special_tokens_map.json sets
	decoder   []added         // added_tokens_decoder, sorted by id; nil: none
	isModel   bool            // there is a config.json; without it, no class rebuilds the tokenizer
	modelType string          // model_type of config.json
	hubClass  string          // tokenizer_class of config.json

	spm   bool           // the vocabulary is a tokenizer.model, not a tokenizer.json
	extra []specialToken // special tokens of a tokenizer.model

	ignored []string
}

func newConfig(dir string) *config {
	return &config{file: filepath.Join(dir, "tokenizer_config.json"), values: map[string]json.RawMessage{}}
}

// readConfig reads the configuration of a folder.
func readConfig(dir string, o Options) (*config, error) {
	c := newConfig(dir)
	if err := readObject(c.file, c.set); err != nil {
		return nil, err
	}
	for _, key := range slices.Clone(c.keys) {
		if slices.Contains(o.IgnoreConfig, key) {
			c.drop(key)
			c.ignored = append(c.ignored, key)
		}
	}
	if slices.Contains(o.IgnoreConfig, "tokenizer_class") && !slices.Contains(c.ignored, "tokenizer_class") {
		c.ignored = append(c.ignored, "tokenizer_class") // the class that the model has without it
	}
	slices.Sort(c.ignored)
	if err := c.readModel(filepath.Join(dir, "config.json")); err != nil {
		return nil, err
	}
	if slices.Contains(c.ignored, "tokenizer_class") {
		c.set("tokenizer_class", json.RawMessage(`"TokenizersBackend"`))
		c.modelType = ""
	}
	if err := c.readAdded(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	if c.decoder == nil {
		if err := c.readOlder(dir); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	return c, nil
}

// readObject calls set for the keys of a file, in their order. A file that does not exist
// has none.
func readObject(name string, set func(key string, value json.RawMessage)) error {
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := eachKey(text, set); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// eachKey calls f for the keys of a JSON object, in their order.
func eachKey(text []byte, f func(key string, value json.RawMessage)) error {
	if !json.Valid(text) {
		var v any
		return jsonerr.Plain(text, json.Unmarshal(text, &v)) // says where the error is
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		f(key.(string), value)
	}
	return nil
}

// set sets a key. A key that is set again keeps its place.
func (c *config) set(key string, value json.RawMessage) {
	if _, again := c.values[key]; !again {
		c.keys = append(c.keys, key)
	}
	c.values[key] = value
}

func (c *config) drop(key string) {
	delete(c.values, key)
	c.keys = slices.DeleteFunc(c.keys, func(k string) bool { return k == key })
}

// isNull reports whether a key is missing or null.
func (c *config) isNull(key string) bool { return !isSet(c.values[key]) }

// flag returns the value of a switch, or missing if the key is missing or null.
func (c *config) flag(key string, missing bool) bool {
	v := missing
	if !c.isNull(key) {
		_ = json.Unmarshal(c.values[key], &v) // check has parsed it
	}
	return v
}

// text returns the value of a key that is a string, otherwise an empty string.
func (c *config) text(key string) string {
	var s string
	_ = json.Unmarshal(c.values[key], &s)
	return s
}

// readModel reads the kind of the model from its config.json.
func (c *config) readModel(name string) error {
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	c.isModel = true
	var m struct {
		ModelType any `json:"model_type"`
		Class     any `json:"tokenizer_class"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", name, jsonerr.Plain(text, err))
	}
	c.modelType, _ = m.ModelType.(string)
	c.hubClass, _ = m.Class.(string)
	return nil
}

// readAdded reads added_tokens_decoder.
func (c *config) readAdded() error {
	raw, ok := c.values["added_tokens_decoder"]
	if !ok {
		return nil
	}
	c.decoder = []added{}
	if !isSet(raw) {
		return errors.New("added_tokens_decoder is null, want an object: remove the key")
	}
	var byID map[string]json.RawMessage
	if err := json.Unmarshal(raw, &byID); err != nil {
		return fmt.Errorf("added_tokens_decoder: %w", jsonerr.Plain(nil, err))
	}
	for key, value := range byID {
		var id int64
		if err := json.Unmarshal([]byte(key), &id); err != nil || id < 0 || id >= 1<<31 {
			return fmt.Errorf("added_tokens_decoder: %.40q is not an id", key)
		}
		t, err := parseToken(value)
		if err != nil || !t.flags {
			return fmt.Errorf("added_tokens_decoder: token %d is %.80s, want an object with its content", id, value)
		}
		t.ID = int32(id)
		c.decoder = append(c.decoder, t.added)
	}
	slices.SortFunc(c.decoder, func(a, b added) int { return int(a.ID) - int(b.ID) })
	return nil
}

// readOlder reads special_tokens_map.json and added_tokens.json, which count where
// tokenizer_config.json has no added_tokens_decoder.
func (c *config) readOlder(dir string) error {
	c.older = map[string]bool{}
	set := func(key string, value json.RawMessage) {
		c.older[key] = true
		c.set(key, value)
	}
	if err := readObject(filepath.Join(dir, "special_tokens_map.json"), set); err != nil {
		return err
	}
	name := filepath.Join(dir, "added_tokens.json")
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var ids map[string]int32
	if err := json.Unmarshal(text, &ids); err != nil {
		return fmt.Errorf("%s: %w", name, jsonerr.Plain(text, err))
	}
	special := map[string]bool{}
	for _, t := range c.tokens(nil) {
		special[t.Content] = true
	}
	for content, id := range ids {
		s := special[content]
		c.decoder = append(c.decoder, added{ID: id, Content: content, Normalized: !s, Special: s})
	}
	slices.SortFunc(c.decoder, func(a, b added) int { return int(a.ID) - int(b.ID) })
	return nil
}

// specialToken is a special token as a configuration gives it.
type specialToken struct {
	added
	name  string // bos_token, ...; empty: one of a list
	flags bool   // the configuration gives its properties, not just its text
}

// parseToken reads a token that is given as a string or as an object.
func parseToken(raw json.RawMessage) (specialToken, error) {
	var t specialToken
	if json.Unmarshal(raw, &t.Content) == nil {
		t.Special = true
		return t, nil
	}
	var o struct {
		Content                    *string
		LStrip, RStrip, SingleWord bool
		Single                     bool `json:"single_word"`
		Normalized                 *bool
		Special                    bool
	}
	if err := json.Unmarshal(raw, &o); err != nil || o.Content == nil {
		return t, errors.New("want a string or an object with a content")
	}
	t.flags = true
	t.added = added{
		Content: *o.Content, LStrip: o.LStrip, RStrip: o.RStrip, SingleWord: o.Single,
		Normalized: !o.Special, Special: o.Special,
	}
	if o.Normalized != nil {
		t.Normalized = *o.Normalized
	}
	return t, nil
}

// isNamed reports whether a key holds a special token: one of namedTokens, or a string
// under another name that ends so, such as image_token.
func (c *config) isNamed(key string) bool {
	if slices.Contains(namedTokens, key) {
		return true
	}
	if !strings.HasSuffix(key, "_token") || key == "add_bos_token" || key == "add_eos_token" {
		return false
	}
	t, err := parseToken(c.values[key])
	return err == nil && t.Content != ""
}

// tokens returns the special tokens of the configuration, in the order in which the
// reference adds them. defaults are those of the class.
func (c *config) tokens(defaults []specialToken) []specialToken {
	var list []specialToken
	named := map[string]bool{}
	add := func(name string, raw json.RawMessage) {
		if t, err := parseToken(raw); err == nil && t.Content != "" && isSet(raw) && !named[name] {
			t.name = name
			list = append(list, t)
			named[name] = name != ""
		}
	}
	missing := func(name string) *specialToken {
		at := slices.IndexFunc(defaults, func(d specialToken) bool { return d.name == name })
		if _, ok := c.values[name]; ok || at < 0 {
			return nil
		}
		return &defaults[at]
	}
	for _, name := range namedTokens {
		if d := missing(name); d != nil {
			list = append(list, *d)
		} else {
			add(name, c.values[name])
		}
	}
	for _, d := range defaults {
		if !slices.Contains(namedTokens, d.name) && missing(d.name) != nil {
			list = append(list, d)
		}
	}
	for _, key := range c.keys {
		if c.isNamed(key) && !slices.Contains(namedTokens, key) {
			add(key, c.values[key])
		}
	}
	var extra []json.RawMessage
	key := c.extraKey()
	if _, isSet := c.values[key]; !isSet {
		return append(list, c.extra...)
	}
	if json.Unmarshal(c.values[key], &extra) == nil {
		for _, raw := range extra {
			add("", raw)
		}
		return list
	}
	_ = eachKey(c.values[key], func(name string, raw json.RawMessage) { add(name, raw) })
	return append(list, c.extra...)
}

// extraKey is the key of the list of further special tokens.
func (c *config) extraKey() string {
	var list []json.RawMessage
	raw := c.values["extra_special_tokens"]
	isEmpty := !isSet(raw) || json.Unmarshal(raw, &list) == nil && len(list) == 0
	if !c.isNull("additional_special_tokens") && isEmpty {
		return "additional_special_tokens"
	}
	return "extra_special_tokens"
}

// check reports the first key that is not understood.
func (c *config) check() error {
	for _, key := range c.keys {
		raw := c.values[key]
		switch key {
		case "add_bos_token", "add_eos_token", "add_prefix_space", "legacy", "split_special_tokens":
			var v bool
			if isSet(raw) && json.Unmarshal(raw, &v) != nil {
				return fmt.Errorf("%s is %.80s, want true or false", key, raw)
			}
		case "tokenizer_class":
			var s string
			if isSet(raw) && json.Unmarshal(raw, &s) != nil {
				return fmt.Errorf("%s is %.80s, want the name of a class", key, raw)
			}
		case "added_tokens_decoder", "chat_template", "auto_map":
		case "additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens":
			if err := checkTokens(key, raw); err != nil {
				return err
			}
		case "fix_mistral_regex":
			if c.flag(key, false) {
				return c.unknown(key, "set to false, it takes the pattern of tokenizer.json")
			}
		case "fast_tokenizer_files", "init_inputs":
			var list []json.RawMessage
			if json.Unmarshal(raw, &list) != nil || len(list) > 0 {
				return c.unknown(key, "tokenizer.json is read")
			}
		default:
			if err := c.checkOther(key, raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOther reports a key that is neither a special token nor harmless.
func (c *config) checkOther(key string, raw json.RawMessage) error {
	if slices.Contains(namedTokens, key) {
		if _, err := parseToken(raw); err != nil && isSet(raw) {
			return fmt.Errorf("%s is %.80s: %w", key, raw, err)
		}
		return nil
	}
	if harmless[key] || c.isNamed(key) || !isSet(raw) || strings.HasSuffix(key, "_token_id") {
		return nil
	}
	return c.unknown(key, "what it changes is not known")
}

// unknown is the error for a key that is not understood.
func (c *config) unknown(key, why string) error {
	return fmt.Errorf("%s is %.80s, which is not supported (%s): --ignore-config %s goes on without it",
		key, c.values[key], why, key)
}

// checkTokens checks a list of tokens, or an object of them.
func checkTokens(key string, raw json.RawMessage) error {
	if !isSet(raw) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		if err := eachKey(raw, func(_ string, v json.RawMessage) { list = append(list, v) }); err != nil {
			return fmt.Errorf("%s is %.80s, want a list of tokens", key, raw)
		}
	}
	for _, v := range list {
		if _, err := parseToken(v); err != nil {
			return fmt.Errorf("%s: %.80s: %w", key, v, err)
		}
	}
	return nil
}

// tokenizer makes the tokenizer of a tokenizer.json with the configuration, as
// AutoTokenizer of transformers 5 does.
func (c *config) tokenizer(f *file) (*Tokenizer, error) {
	k, err := c.class(bytes.Contains(f.data, []byte(`"ByteLevel"`)))
	if err != nil {
		return nil, err
	}
	given := *f
	if k.rebuild != nil {
		if f.Model.Type == "Unigram" {
			return nil, fmt.Errorf("its model is Unigram, but tokenizer_class %s makes it BPE: "+
				"--ignore-config tokenizer_class takes it as it is", k.name)
		}
		f.reset()
		k.rebuild(f, c)
	}
	t, list, err := f.build()
	if err != nil {
		return nil, err
	}
	if err := c.finish(t, list, c.again(given.AddedTokens), k); err != nil {
		return nil, err
	}
	t.sha256 = c.hash(&given, k, t, list)
	return t, nil
}

// reset drops what a class that rebuilds the tokenizer does not take from the file.
func (f *file) reset() {
	f.AddedTokens = nil
	f.Normalizer = nil
	f.PreTokenizer = nil
	m := &f.Model
	m.UnkToken = nil
	m.Prefix = nil
	m.Suffix = nil
	m.Dropout = nil
	m.FuseUnk = false
	m.ByteFallback = false
	m.IgnoreMerges = false
}

// finish adds the tokens of the configuration to list, those in again first, and gives all
// of them to the tokenizer.
func (c *config) finish(t *Tokenizer, list *addedTokens, again []added, k class) error {
	special, err := c.addTokens(list, again, k)
	if err != nil {
		return err
	}
	if err := t.setAdded(list, c.flag("split_special_tokens", false)); err != nil {
		return err
	}
	for _, s := range special {
		if s.name != "" {
			t.setSpecial(s.name, s.Content)
		}
	}
	t.bos = list.id(t.specials["bos_token"])
	t.eos = list.id(t.specials["eos_token"])
	t.ignored = c.ignored
	return c.setEnds(t, k)
}

// again returns the tokens that are added after those of the file: those of
// added_tokens_decoder, or else of added_tokens.json and the file's own, sorted by the ids
// that are given.
func (c *config) again(ofFile []added) []added {
	if _, ok := c.values["added_tokens_decoder"]; ok {
		return c.decoder
	}
	byID := map[int32]added{}
	for _, a := range c.decoder {
		byID[a.ID] = a
	}
	for _, a := range ofFile {
		byID[a.ID] = a
	}
	return slices.SortedFunc(maps.Values(byID), func(a, b added) int { return int(a.ID) - int(b.ID) })
}

// addTokens adds the tokens of added_tokens_decoder, or those of the file again, and the
// special tokens that are not among them. It returns the special tokens.
func (c *config) addTokens(list *addedTokens, again []added, k class) ([]specialToken, error) {
	special := c.tokens(k.tokens)
	known := map[string]added{}
	for _, a := range again {
		known[a.Content] = a
	}
	for i, s := range special {
		_, isSet := c.values[s.name]
		if a, ok := known[s.Content]; ok && isSet && slices.Contains(namedTokens, s.name) {
			special[i].added = a
		}
	}
	isNamed := map[string]bool{}
	for _, s := range special {
		isNamed[s.Content] = isNamed[s.Content] || s.name != ""
	}
	tokens := slices.Clone(again)
	have := map[string]bool{}
	for content := range list.ids {
		have[content] = true
	}
	for _, a := range again {
		have[a.Content] = true
	}
	for _, s := range special {
		if !have[s.Content] {
			have[s.Content] = true
			tokens = append(tokens, s.added)
		}
	}
	for _, a := range tokens {
		a.Special = a.Special || isNamed[a.Content]
		if err := list.add(a); err != nil {
			return nil, err
		}
	}
	for _, s := range special {
		switch k.again {
		case againPlain:
			s.added = added{Content: s.Content, Special: true}
		case againAsGiven:
			s.Special = true
		default:
			continue
		}
		if err := list.add(s.added); err != nil {
			return nil, err
		}
	}
	return special, nil
}

// setEnds sets the tokens that are put before and after a text, where the class or the
// configuration replaces those of the post-processor.
func (c *config) setEnds(t *Tokenizer, k class) error {
	if k.ends || c.spm {
		t.before = nil
		t.after = nil
		if (k.bos || c.spm && !c.isModel) && t.bos >= 0 {
			t.before = []int32{t.bos}
		}
	}
	for _, end := range []struct {
		name string
		id   int32
		to   *[]int32
	}{{"bos", t.bos, &t.before}, {"eos", t.eos, &t.after}} {
		key := "add_" + end.name + "_token"
		if !k.obeys && !c.spm || c.isNull(key) {
			continue
		}
		*end.to = nil
		if !c.flag(key, false) {
			continue
		}
		if end.id < 0 {
			return fmt.Errorf("%s: %s is true, but %s_token is not set: set it, or give --ignore-config %s",
				filepath.Base(c.file), key, end.name, key)
		}
		*end.to = []int32{end.id}
	}
	return nil
}

// hash returns the hash of the tokenizer: that of tokenizer.json, or one that also covers
// what the class and the configuration change.
func (c *config) hash(f *file, k class, t *Tokenizer, list *addedTokens) string {
	sum := sha256.Sum256(f.data)
	plain := hex.EncodeToString(sum[:])
	own := newAddedTokens(list.vocab)
	for _, a := range f.AddedTokens {
		_ = own.add(a) // this was no error before
	}
	same := k.rebuild == nil && maps.Equal(own.byID, list.byID)
	var ends Tokenizer
	_ = ends.setPostProcessor(f.PostProcessor)
	same = same && slices.Equal(ends.before, t.before) && slices.Equal(ends.after, t.after)
	split := c.flag("split_special_tokens", false)
	if same && !split {
		return plain
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %v %v %v", plain, k.name, t.before, t.after, split)
	if k.rebuild != nil {
		fmt.Fprintf(h, " %v %v", c.flag("add_prefix_space", k.name == "LlamaTokenizer"), c.flag("legacy", false))
	}
	for _, id := range slices.Sorted(maps.Keys(list.byID)) {
		fmt.Fprintf(h, " %d %+v", id, list.byID[id])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Ignored returns the names of the settings that were set and ignored, as
// Options.IgnoreConfig asks, sorted.
func (t *Tokenizer) Ignored() []string { return t.ignored }
