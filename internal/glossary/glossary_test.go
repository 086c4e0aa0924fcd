package glossary

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTerms checks that the terms are sorted, that no name means two things, that texts
// are sentences, and that the pages they refer to exist.
func TestTerms(t *testing.T) {
	if !slices.IsSortedFunc(Terms, func(a, b Term) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) }) {
		t.Error("the terms are not in alphabetical order")
	}
	meaning := map[string]string{}
	for _, term := range Terms {
		for _, name := range append([]string{term.Name}, term.Aliases...) {
			if other, taken := meaning[plain(name)]; taken {
				t.Errorf("%q means %s and %s", name, other, term.Name)
			}
			meaning[plain(name)] = term.Name
		}
		if !strings.HasSuffix(term.Text, ".") || strings.Count(term.Text, ". ") > 2 {
			t.Errorf("%s: want one to three sentences: %s", term.Name, term.Text)
		}
		if _, err := os.Stat(filepath.Join("..", "..", term.More)); err != nil {
			t.Errorf("%s: %v", term.Name, err)
		}
	}
}

func TestFind(t *testing.T) {
	for word, want := range map[string]string{
		"hit rate": "hit rate", "hit_rate": "hit rate", "Hit-Rate": "hit rate", "mla": "latent",
		"theta": "significant", "window": "observation window", "nonsense": "",
	} {
		term, ok := Find(word)
		if term.Name != want || ok != (want != "") {
			t.Errorf("%q is %q, want %q", word, term.Name, want)
		}
	}
}

func TestMentioning(t *testing.T) {
	for word, want := range map[string][]string{
		"phrases": {"kernel"}, "DeepSeek": {"latent"}, "log_sum": {"factors"}, "phrase": nil, "hrases": nil, "": nil,
	} {
		if got := Mentioning(word); !slices.Equal(got, want) {
			t.Errorf("%q is mentioned in %q, want %q", word, got, want)
		}
	}
}
