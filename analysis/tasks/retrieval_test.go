package tasks

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	text, answer := Lines(3, 40, 0.5)
	lines := strings.Split(text, "\n")
	count, found := 0, false
	names := map[string]bool{}
	for _, line := range lines {
		if name, rest, ok := strings.Cut(line, ": REGISTER_CONTENT is <"); ok {
			count++
			if names[name] {
				t.Errorf("%s stands twice", name)
			}
			names[name] = true
			if count == 21 {
				found = strings.TrimSuffix(rest, ">") == answer && strings.Contains(lines[len(lines)-1], strings.TrimPrefix(name, "line "))
			}
		}
	}
	if count != 40 || !found {
		t.Errorf("%d lines, want 40, and the line in the middle asked for (%s): %s", count, answer, lines[len(lines)-1])
	}
	if again, _ := Lines(3, 40, 0.5); again != text {
		t.Error("the same seed gives another text")
	}
}

// TestNamesDoNotRunOut: a record of more lines than there are pairs of words has a name for
// each, and the pairs come first.
func TestNamesDoNotRunOut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	used := map[string]bool{}
	for i := range 2 * len(adjectives) * len(nouns) {
		name := newName(r, used)
		if pair := strings.Count(name, "-") == 1; pair != (i < mostPairs) {
			t.Fatalf("name %d is %s", i, name)
		}
	}
	if len(used) != 2*len(adjectives)*len(nouns) {
		t.Errorf("%d different names", len(used))
	}
}
