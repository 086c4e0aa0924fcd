package tokenizer

import (
	"fmt"
	"strings"
	"testing"
)

// TestBounds checks that a tokenizer.json that asks for too much is refused in one line,
// when it is read or when it meets a text.
func TestBounds(t *testing.T) {
	repeat := func(n int, step string) string {
		return `"normalizer":{"type":"Sequence","normalizers":[` + strings.Repeat(step+",", n-1) + step + `]}`
	}
	nested := func(n int) string {
		return `"normalizer":` + strings.Repeat(`{"type":"Sequence","normalizers":[`, n) + `{"type":"NFC","zz":"` +
			strings.Repeat("x", 1<<20) + `"}` + strings.Repeat(`]}`, n)
	}
	replace := func(pattern, with string) string {
		return `{"type":"Replace","pattern":` + pattern + `,"content":"` + with + `"}`
	}
	long := strings.Repeat("(", 10<<10) + "a" + strings.Repeat(")", 10<<10)
	for name, c := range map[string]struct{ normalizer, want string }{
		"doubled 40 times":         {repeat(40, replace(`{"String":"a"}`, "aa")), "the normalizer makes the text too long"},
		"doubled by a pattern":     {repeat(40, replace(`{"Regex":"a"}`, "aa")), "the normalizer makes the text too long"},
		"a long text put in":       {repeat(2, replace(`{"String":"a"}`, strings.Repeat("a", 10<<10))), "the normalizer makes the text too long"},
		"a text that is too long":  {repeat(1, replace(`{"String":"a"}`, strings.Repeat("a", 20<<10))), "inserts a text of 20480 bytes"},
		"many steps":               {repeat(65, `{"type":"NFC"}`), "more than 64 steps"},
		"nested around much":       {nested(2000), "more than 64 steps"},
		"a pattern of 20 KB":       {repeat(1, replace(`{"Regex":"`+long+`"}`, "")), "a pattern of 20481 bytes"},
		"an added token of 2 KB":   {`"normalizer":null,"added_tokens":[{"id":1,"content":"` + strings.Repeat("a", 2<<10) + `"}]`, "has 2048 bytes, at most 1024"},
		"an added token of spaces": {repeat(1, `{"type":"Strip","strip_left":true,"strip_right":true}`) + `,"added_tokens":[{"id":1,"content":" ","normalized":true}]`, `added token " "`},
	} {
		text := strings.Replace(strings.Replace(tinyTokenizer, `"added_tokens":[],`, "", 1), `"normalizer":null`, c.normalizer, 1)
		tok, err := fromJSON([]byte(text))
		if err == nil {
			_, err = tok.TryEncode("a", false)
		}
		if message := fmt.Sprint(err); !strings.Contains(message, c.want) || strings.Contains(message, "\n") || len(message) > 400 {
			t.Errorf("%s: %.500s, want one line with %q", name, message, c.want)
		}
	}
}

// TestAddedIDs checks that added tokens have the ids that the package tokenizers assigns,
// whatever id the file gives them.
func TestAddedIDs(t *testing.T) {
	list := newAddedTokens(map[string]int32{"a": 0, "b": 1, "hello": 2})
	for _, c := range []struct {
		content string
		want    int32
	}{{"hello", 2}, {"<far>", 3}, {"b", 1}, {"<next>", 4}, {"<far>", 3}} {
		if err := list.add(added{ID: 1 << 24, Content: c.content}); err != nil {
			t.Fatal(err)
		}
		if got := list.id(c.content); got != c.want {
			t.Errorf("%s has id %d, want %d", c.content, got, c.want)
		}
	}
}

// TestSingleWord checks the boundaries of words around a token that must be a single word.
// The package tokenizers 0.23 has the same.
func TestSingleWord(t *testing.T) {
	list := newAddedTokens(map[string]int32{})
	if err := list.add(added{Content: "yes", SingleWord: true}); err != nil {
		t.Fatal(err)
	}
	tok := newTokenizer()
	if err := tok.setAdded(list, false); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"yes": true, " yes.": true, "yes²": true, "½yes": true, "-yes-": true, "yes\u00a0": true, "yes①": true,
		"yesx": false, "_yes": false, "नमस्तेyes": false, "e\u0301yes": false, "a\u200dyes": false, "yes\u0301": false,
		"yes‿": false, "yesⅧ": false, "yes٣": false, "yes\u0897": false, "ⓐyes": false, "\U000105c0yes": false,
	} {
		var ids []int32
		tok.addedRaw.each(text, func(string, int) {}, &ids)
		if got := len(ids) == 1; got != want {
			t.Errorf("%q: matched is %v, want %v", text, got, want)
		}
	}
}

// TestUnknownSettings checks that settings of tokenizer_config.json that are not understood
// are refused by name, and that they can be ignored.
func TestUnknownSettings(t *testing.T) {
	for text, want := range map[string]string{
		`{"surprise":1}`:                         "surprise is 1, which is not supported",
		`{"fix_mistral_regex":true}`:             "fix_mistral_regex is true",
		`{"add_bos_token":"yes"}`:                `add_bos_token is "yes", want true or false`,
		`{"tokenizer_class":"T5Tokenizer"}`:      "tokenizer_class T5Tokenizer is not supported",
		`{"bos_token":3}`:                        "bos_token is 3",
		`{"added_tokens_decoder":{"x":"y"}}`:     `"x" is not an id`,
		`{"auto_map":{"AutoTokenizer":["a.b"]}}`: "auto_map",
		`{"fast_tokenizer_files":["x.json"]}`:    "fast_tokenizer_files",
		`[]`:                                     "not a JSON object",
	} {
		dir := modelFolder(t, map[string]string{
			"config.json": `{"model_type":"llama"}`, "tokenizer.json": tinyTokenizer, "tokenizer_config.json": text,
		})
		_, err := Load(dir)
		if message := fmt.Sprint(err); !strings.Contains(message, want) || strings.Contains(message, "\n") {
			t.Errorf("%s: %v, want one line with %s", text, err, want)
		}
		_, key, found := strings.Cut(fmt.Sprint(err), "--ignore-config ")
		if !found {
			continue
		}
		key, _, _ = strings.Cut(key, " ")
		tok, err := LoadWith(dir, Options{IgnoreConfig: []string{key, "legacy"}})
		if err != nil || len(tok.Ignored()) != 1 || tok.Ignored()[0] != key {
			t.Errorf("%s without %s: %v", text, key, err)
		}
	}
}

// TestBrokenTokenizerJSON checks that a broken tokenizer.json is one line in plain words.
func TestBrokenTokenizerJSON(t *testing.T) {
	merges := `["a b","Ġ ab"]`
	for text, want := range map[string]string{
		"":                                      "it is empty",
		`[]`:                                    "found a list, want an object",
		strings.TrimSuffix(tinyTokenizer, "}}"): "the JSON text is cut off",
		strings.Replace(tinyTokenizer, `"vocab":{`, `"vocab":[],"other":{`, 1): "vocab: found a list, want an object",
		strings.Replace(tinyTokenizer, merges, `["a b c"]`, 1):                 "merge 0 has 3 parts, want 2",
		strings.Replace(tinyTokenizer, merges, `["a b","ab"]`, 1):              "merge 1 has 1 parts, want 2",
		strings.Replace(tinyTokenizer, merges, `[["a","b","x"]]`, 1):           "merge 0 has 3 parts, want 2",
		strings.Replace(tinyTokenizer, `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`,
			`{"type":"Split","pattern":{"Regex":"(a+"},"behavior":"Isolated"}`, 1): `pattern "(a+": `,
	} {
		dir := modelFolder(t, map[string]string{"config.json": `{"model_type":"llama"}`, "tokenizer.json": text})
		_, err := Load(dir)
		if message := fmt.Sprint(err); !strings.Contains(message, "tokenizer.json: "+want) && !strings.Contains(message, "Split: "+want) || strings.Contains(message, "\n") {
			t.Errorf("%s: %v, want one line with %s", text, err, want)
		}
	}
}

// TestIgnoreClass checks that tokenizer_class can be ignored also where the model has the
// class without naming it.
func TestIgnoreClass(t *testing.T) {
	dir := modelFolder(t, map[string]string{
		"config.json":    `{"model_type":"gpt2"}`,
		"tokenizer.json": strings.Replace(tinyTokenizer, `"normalizer":null`, `"normalizer":{"type":"Lowercase"}`, 1),
	})
	for _, c := range []struct {
		ignore []string
		want   int
	}{{nil, 0}, {[]string{"tokenizer_class"}, 1}} {
		tok, err := LoadWith(dir, Options{IgnoreConfig: c.ignore})
		if err != nil {
			t.Fatal(err)
		}
		if ids := tok.Encode("AB", false); len(ids) != c.want || len(tok.Ignored()) != len(c.ignore) {
			t.Errorf("ignoring %v: %d tokens and %v ignored, want %d", c.ignore, len(ids), tok.Ignored(), c.want)
		}
	}
}
