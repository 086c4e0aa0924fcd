package decode

import (
	"strings"
	"unicode"

	"github.com/attnscope/attnscope/analysis/answers"
)

// Scores lists the scores of an answer that Config.Score can name: F1 of words, exact
// match, ROUGE-L, and whether the reply contains the reference.
var Scores = []string{"f1", "em", "rouge-l", "contains"}

// score compares the text with reference answers and keeps the best value of each
// score. Without references, all scores are NaN.
func (r *Result) score(references []string, which string) {
	if len(references) == 0 {
		r.ExactMatch, r.F1, r.RougeL, r.Contains = undefined(), undefined(), undefined(), undefined()
	} else {
		r.ExactMatch, r.F1, r.RougeL, r.Contains = 0, 0, 0, 0
	}
	got := words(r.Text)
	reply := strings.Join(got, " ")
	for _, reference := range references {
		want := words(reference)
		answer := strings.Join(want, " ")
		if reply == answer {
			r.ExactMatch = 1
		}
		if strings.Contains(" "+reply+" ", " "+answer+" ") {
			r.Contains = 1
		}
		r.F1 = max(r.F1, Float(overlapF1(got, want)))
		r.RougeL = max(r.RougeL, Float(rougeL(got, want)))
	}
	switch which {
	case "em":
		r.Score = r.ExactMatch
	case "rouge-l":
		r.Score = r.RougeL
	case "contains":
		r.Score = r.Contains
	default:
		r.Score = r.F1
	}
}

// words splits a text into the words that answer scores compare, as the SQuAD
// evaluation does: in lower case, without punctuation and articles.
func words(text string) []string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPunct(r) || unicode.IsSymbol(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, text)
	var out []string
	for _, w := range strings.Fields(text) {
		if w != "a" && w != "an" && w != "the" {
			out = append(out, w)
		}
	}
	return out
}

// overlapF1 returns the F1 of two bags of words.
func overlapF1(got, want []string) float64 {
	return fMeasure(answers.SharedWords(got, want), len(got), len(want))
}

// rougeL returns the F1 of the longest common subsequence.
func rougeL(got, want []string) float64 {
	row := make([]int, len(want)+1)
	for _, g := range got {
		diagonal := 0
		for j, w := range want {
			above := row[j+1]
			if g == w {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(row[j+1], row[j])
			}
			diagonal = above
		}
	}
	return fMeasure(row[len(want)], len(got), len(want))
}

// fMeasure returns the harmonic mean of same/got and same/want, 1 if both are empty.
func fMeasure(same, got, want int) float64 {
	if got == 0 && want == 0 {
		return 1
	}
	return 2 * float64(same) / float64(got+want)
}
