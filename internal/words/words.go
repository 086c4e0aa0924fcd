// Package words reads words of closed sets, and suggests the word that was meant.
package words

import (
	"fmt"
	"slices"
	"strings"
)

// UnknownError reports a word that is not in a set.
type UnknownError struct {
	What  string   // name of the set
	Word  string   // as it was given
	Want  []string // the words of the set
	Meant string   // the word that was meant, if it is known
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s %q: want %s", e.What, e.Word, Or(e.Want))
}

// Hint suggests the nearest word of the set; it is empty if none is near.
func (e *UnknownError) Hint() string {
	if e.Meant != "" {
		return didYouMean(e.Meant)
	}
	return Suggestion(e.Word, e.Want)
}

// Check returns an *UnknownError if word is none of set, which what names.
func Check[T ~string](what string, word T, set []T) error {
	if slices.Contains(set, word) {
		return nil
	}
	names := make([]string, len(set))
	for i, name := range set {
		names[i] = string(name)
	}
	return &UnknownError{What: what, Word: string(word), Want: names}
}

// Or lists words as a choice: "a, b or c".
func Or(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " or " + list[last]
}

// Suggestion asks whether the word of set that is nearest to word was meant. It is empty
// if none is near.
func Suggestion(word string, set []string) string {
	if near := Nearest(word, set); near != "" {
		return didYouMean(near)
	}
	return ""
}

func didYouMean(word string) string { return fmt.Sprintf("did you mean %q?", word) }

// Nearest returns the word of set that differs least from word, or "" if none is near: if
// more than a third of its letters had to be changed, and it does not begin with word.
func Nearest(word string, set []string) string {
	lower := strings.ToLower(word)
	best := ""
	least := 1 + max(1, len(word)/3)
	for _, candidate := range set {
		if d := distance(lower, strings.ToLower(candidate)); d < least {
			best = candidate
			least = d
		}
	}
	if best != "" || len(word) < 2 {
		return best
	}
	for _, candidate := range set {
		if strings.HasPrefix(strings.ToLower(candidate), lower) {
			return candidate
		}
	}
	return ""
}

// distance returns how many letters must be inserted, removed, replaced or swapped with
// their neighbor to make b of a.
func distance(a, b string) int {
	// rows holds the distances of the beginnings of a, by the beginnings of b.
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
