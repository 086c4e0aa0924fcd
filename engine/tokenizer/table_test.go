package tokenizer

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestMergeTable compares the table with a map: of equal pairs the last counts.
func TestMergeTable(t *testing.T) {
	var table mergeTable
	if _, ok := table.get(pair{1, 2}); ok {
		t.Error("an empty table holds something")
	}
	want, r := map[pair]merge{}, rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		p, m := pair{int32(r.IntN(60)), int32(r.IntN(60))}, merge{int32(i), int32(r.IntN(1000))}
		want[p] = m
		table.set(p, m)
	}
	for a := range int32(70) {
		for b := range int32(70) {
			got, ok := table.get(pair{a, b})
			if m, known := want[pair{a, b}]; ok != known || got != m {
				t.Fatalf("pair %d, %d: %v (%v), want %v (%v)", a, b, got, ok, m, known)
			}
		}
	}
	n := 0
	table.all(func(p pair, m merge) {
		if n++; want[p] != m {
			t.Errorf("pair %v: %v, want %v", p, m, want[p])
		}
	})
	if n != len(want) {
		t.Errorf("%d pairs, want %d", n, len(want))
	}
}

// TestPreTokenizers compares the words of llama.cpp's pre-tokenizers with words found by
// hand.
func TestPreTokenizers(t *testing.T) {
	const text = "I'LL pay 12345 $!\n\n漢字ab é…x"
	for name, want := range map[string][]string{
		"gpt-2": {"I", "'", "LL", " pay", " 12345", " $!", "\n", "\n", "漢字ab", " é", "…", "x"},
		"smollm": {
			"I", "'", "LL", " pay", " ", "1", "2", "3", "4", "5", " $!", "\n", "\n", "漢字ab", " é", "…", "x",
		},
		"llama-bpe":    {"I", "'LL", " pay", " ", "123", "45", " $!\n\n", "漢字ab", " é", "…x"},
		"qwen2":        {"I", "'LL", " pay", " ", "1", "2", "3", "4", "5", " $!\n\n", "漢字ab", " é", "…x"},
		"gpt-4o":       {"I'LL", " pay", " ", "123", "45", " $!\n\n", "漢字ab", " é", "…x"},
		"default":      {"I", "'", "LL", " pay", " ", "123", "45", " ", "$!", "\n", "\n", "漢字ab", " é", "…", "x"},
		"falcon":       {"I", "'", "LL", " pay", " ", "123", "45", " ", "$!", "\n", "\n", "漢字ab", " é", "…", "x"},
		"deepseek-llm": {"I", "'", "LL", " pay", " ", "12345", " $!", "\n", "\n", "漢字", "ab", " é", "…", "x"},
		"deepseek-coder": {
			"I", "'", "LL", " pay", " ", "1", "2", "3", "4", "5", " $", "!", "\n", "\n", "漢字", "ab", " é", "…", "x",
		},
		"deepseek-v3": {"I", "'LL", " pay", " ", "123", "45", " $!\n\n", "漢字", "ab", " é", "…", "x"},
		"youtu":       {"I'LL", " pay", " ", "1", "2", "3", "4", "5", " $!\n\n", "漢字", "ab", " é", "…", "x"},
		"kimi-k2":     {"I'LL", " pay", " ", "123", "45", " $!\n\n", "漢字", "ab", " é", "…x"},
		"bloom":       {"I'LL", " pay", " 12345", " $", "!\n\n", "漢字ab", " é", "…", "x"},
	} {
		pre, ok := ggufPres()[name]
		if !ok {
			t.Errorf("pre-tokenizer %s is not supported", name)
			continue
		}
		tok := newTokenizer()
		tok.splits = pre.splits
		var words []string
		var cut func(s string, level int)
		cut = func(s string, level int) {
			if level == len(tok.splits) {
				words = append(words, s)
				return
			}
			tok.splits[level](s, func(p string) { cut(p, level+1) })
		}
		cut(text, 0)
		if !slices.Equal(words, want) {
			t.Errorf("%s: %q, want %q", name, words, want)
		}
	}
}

// TestDecodeOfBytes checks that bytes which are not UTF-8 are decoded as the package
// tokenizers and SentencePiece decode them.
func TestDecodeOfBytes(t *testing.T) {
	for in, want := range map[string]string{
		"c\x01\x94":               "c\x01\uFFFD",
		"\xb4\xe3X":               "\uFFFD\uFFFDX",
		"7\xcb\xd9\xba\xa8\xb6 o": "7\uFFFDٺ\uFFFD\uFFFD o",
		"\xf0\x9f\x98":            "\uFFFD",
		"\xe2\x82\xe2\x82\xac":    "\uFFFD€",
		"\xed\xa0\x80":            "\uFFFD\uFFFD\uFFFD",
		"\xf5\x80":                "\uFFFD\uFFFD",
		"\xe0\x80":                "\uFFFD\uFFFD",
		"é":                       "é",
	} {
		if got := lossy(in); got != want {
			t.Errorf("%q is decoded as %q, want %q", in, got, want)
		}
	}
	tok := newTokenizer()
	if got := tok.textOfBytes([]byte("a\xe5b")); got != "a\uFFFDb" {
		t.Errorf("tokenizer.model decodes the bytes a, e5, b as %q, want %q", got, "a\uFFFDb")
	}
	tok.wholeRuns = true
	for in, want := range map[string]string{"a\xe5b": "\uFFFD\uFFFD\uFFFD", "aé": "aé"} {
		if got := tok.textOfBytes([]byte(in)); got != want {
			t.Errorf("tokenizer.json decodes the bytes %q as %q, want %q", in, got, want)
		}
	}
}
