package answers

import "strings"

// rougeL is the F score of ROUGE-L of the Python package rouge 1.0.1, which rouge_score of
// LongBench takes: of the different words of both texts, the share that occurs in a longest
// common subsequence of two sentences. That package fails, and LongBench counts 0, where
// two sentences have about a thousand words together, because of Python's limit on
// recursion; here, such sentences are scored.
func rougeL(reply, reference string) float64 {
	got := sentences(reply)
	want := sentences(reference)
	if len(got) == 0 || len(want) == 0 {
		return 0
	}
	common := map[string]bool{}
	for _, w := range want {
		for _, g := range got {
			addCommon(common, w, g)
		}
	}
	precision := float64(len(common)) / float64(distinct(got))
	recall := float64(len(common)) / float64(distinct(want))
	return 2 * (precision * recall / (precision + recall + 1e-8))
}

// sentences splits a text at its dots into lists of words. A sentence of white space has one
// empty word.
func sentences(text string) [][]string {
	var out [][]string
	for _, s := range strings.Split(text, ".") {
		if s == "" {
			continue
		}
		list := strings.FieldsFunc(s, isSpace)
		if len(list) == 0 {
			list = []string{""}
		}
		out = append(out, list)
	}
	return out
}

// distinct returns the number of different words of a text.
func distinct(text [][]string) int {
	seen := map[string]bool{}
	for _, s := range text {
		for _, w := range s {
			seen[w] = true
		}
	}
	return len(seen)
}

// addCommon adds the words of a longest common subsequence of x and y to a set. Of several
// ones, it takes that which the package rouge finds.
func addCommon(set map[string]bool, x, y []string) {
	table := make([][]int, len(x)+1) // [words of x, words of y]: length of the subsequence
	for i := range table {
		table[i] = make([]int, len(y)+1)
	}
	for i := range x {
		for j := range y {
			if x[i] == y[j] {
				table[i+1][j+1] = table[i][j] + 1
			} else {
				table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			}
		}
	}
	i, j := len(x), len(y)
	for i > 0 && j > 0 {
		switch {
		case x[i-1] == y[j-1]:
			set[x[i-1]] = true
			i--
			j--
		case table[i-1][j] > table[i][j-1]:
			i--
		default:
			j--
		}
	}
}
