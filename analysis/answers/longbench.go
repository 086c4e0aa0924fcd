package answers

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// The scores of this file are those of metrics.py in github.com/THUDM/LongBench.

// punctuation is string.punctuation of Python.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// normalize is normalize_answer: the words of a text in lower case, without ASCII
// punctuation and articles.
func normalize(text string) []string {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(punctuation, r) {
			return -1
		}
		return r
	}, lower(text))
	return strings.FieldsFunc(withoutArticles(text), isSpace)
}

// withoutArticles replaces the words a, an and the by spaces, where a word is a run of
// letters and digits.
func withoutArticles(text string) string {
	var b strings.Builder
	for text != "" {
		end := strings.IndexFunc(text, func(r rune) bool { return !isWord(r) })
		if end < 0 {
			end = len(text)
		}
		word := text[:end]
		if word == "a" || word == "an" || word == "the" {
			word = " "
		}
		b.WriteString(word)
		text = text[end:]
		next := strings.IndexFunc(text, isWord)
		if next < 0 {
			next = len(text)
		}
		b.WriteString(text[:next])
		text = text[next:]
	}
	return b.String()
}

// qaF1 is qa_f1_score.
func qaF1(reply, reference string) float64 {
	got := normalize(reply)
	want := normalize(reference)
	same := SharedWords(got, want)
	if same == 0 {
		return 0
	}
	precision := float64(same) / float64(len(got))
	recall := float64(same) / float64(len(want))
	return 2 * precision * recall / (precision + recall)
}

// SharedWords returns how many words two bags of words have in common.
func SharedWords(got, want []string) int {
	counts := map[string]int{}
	for _, w := range want {
		counts[w]++
	}
	same := 0
	for _, w := range got {
		if counts[w] > 0 {
			counts[w]--
			same++
		}
	}
	return same
}

// numbers returns the runs of digits in a text.
func numbers(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsDigit(r) })
}

// count is count_score: the share of the reply's numbers that are the reference.
func count(reply, reference string) float64 {
	found := numbers(reply)
	right := 0
	for _, n := range found {
		if n == reference {
			right++
		}
	}
	return float64(right) / float64(max(1, len(found)))
}

// retrieval is retrieval_score and retrieval_zh_score: count_score with the number that
// follows a word in the reference. It is 0 if no number does.
func retrieval(reply, reference, word string) float64 {
	for {
		_, after, found := strings.Cut(reference, word)
		if !found {
			return 0
		}
		end := strings.IndexFunc(after, func(r rune) bool { return !unicode.IsDigit(r) })
		if end < 0 {
			end = len(after)
		}
		if end > 0 {
			return count(reply, after[:end])
		}
		reference = after
	}
}

// classification is classification_score: one over the number of classes that the reply
// names, if the reference is among them. A class whose name is part of the reference does
// not count; as in the published code, the class after a dropped one is not examined.
func classification(reply, reference string, classes []string) float64 {
	var named []string
	for _, class := range classes {
		if strings.Contains(reply, class) {
			named = append(named, class)
		}
	}
	for i := 0; i < len(named); i++ {
		if class := named[i]; class != reference && strings.Contains(reference, class) {
			at := slices.Index(named, class)
			named = slices.Delete(named, at, at+1)
		}
	}
	if !slices.Contains(named, reference) {
		return 0
	}
	return 1 / float64(len(named))
}

// codeSimilarity is code_sim_score: the similarity of the reference and the first line of
// the reply that has no mark of a comment or of a code block, rounded to hundredths.
func codeSimilarity(reply, reference string) float64 {
	line := ""
	for _, l := range strings.Split(strings.TrimLeft(reply, "\n"), "\n") {
		if !strings.ContainsAny(l, "`#") && !strings.Contains(l, "//") {
			line = l
			break
		}
	}
	switch {
	case line == reference:
		return 1
	case line == "" || reference == "":
		return 0
	}
	return math.RoundToEven(100*similarity([]rune(line), []rune(reference))) / 100
}

// FirstLine returns the first line of a reply that is not empty. LongBench scores only this
// line of the replies to trec, triviaqa, samsum and lsht.
func FirstLine(reply string) string {
	line, _, _ := strings.Cut(strings.TrimLeft(reply, "\n"), "\n")
	return line
}
