package decode

import (
	"math"
	"strings"
	"unicode"
)

// Scores are the names that Config.Score takes.
var Scores = []string{"f1", "em", "rouge-l", "contains"}

// score compares the text with reference answers; of several the best counts.
func (r *Result) score(references []string, which string) {
	em, f1, rouge, contains := math.NaN(), math.NaN(), math.NaN(), math.NaN()
	got := words(r.Text)
	for i, ref := range references {
		if i == 0 {
			em, f1, rouge, contains = 0, 0, 0, 0
		}
		want := words(ref)
		if strings.Join(got, " ") == strings.Join(want, " ") {
			em = 1
		}
		f1, rouge = max(f1, overlapF1(got, want)), max(rouge, rougeL(got, want))
		if strings.Contains(" "+strings.Join(got, " ")+" ", " "+strings.Join(want, " ")+" ") {
			contains = 1
		}
	}
	r.ExactMatch, r.F1, r.RougeL, r.Contains = number(em), number(f1), number(rouge), number(contains)
	r.Score = map[string]number{"em": r.ExactMatch, "rouge-l": r.RougeL, "contains": r.Contains}[which]
	if which == "" || which == "f1" {
		r.Score = r.F1
	}
}

// words are a text's words as question-answering scores compare them (SQuAD's
// evaluation): lower case, without punctuation and articles.
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

// overlapF1 is the F1 of two bags of words.
func overlapF1(got, want []string) float64 {
	count := map[string]int{}
	for _, w := range want {
		count[w]++
	}
	same := 0
	for _, w := range got {
		if count[w] > 0 {
			count[w]--
			same++
		}
	}
	return fMeasure(same, len(got), len(want))
}

// rougeL is the F1 of the longest common subsequence.
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

func fMeasure(same, got, want int) float64 {
	if got == 0 && want == 0 {
		return 1
	}
	return 2 * float64(same) / float64(got+want)
}
