package tasks

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// common is the number of words that RULER's cwe asks for.
const common = 10

// commonWords is RULER's cwe: the ten words that are repeated most often in a numbered list.
// A solved example with a short list comes first.
func commonWords(s *source, length, _ int) (recipe, error) {
	few, many, short, often, rare := 3, 6, 20, 1, 1 // below 4,096 tokens
	if length >= 4096 {
		few, many, short, often, rare = 10, 30, 40, 3, 3
	}
	return recipe{
		step: common + 1,
		make: func(r *rand.Rand, size, _ int) (question, error) {
			example, names, err := s.numbered(r, short, few, often)
			if err != nil {
				return question{}, err
			}
			list, want, err := s.numbered(r, size, many, rare)
			return question{
				text:    cweText(example) + cwePrefix + " " + numberedList(names) + "\n" + cweText(list),
				context: list,
				prefix:  cwePrefix,
				answers: want,
			}, err
		},
	}, nil
}

// cwePrefix begins the answer of cwe.
const cwePrefix = " Answer: The top 10 words that appear most often in the list are:"

// cweText is the prompt of cwe.
func cweText(list string) string {
	return "Below is a numbered list of words. In these words, some appear more often than others. " +
		"Memorize the ones that appear most often.\n" + list +
		"\nQuestion: What are the 10 most common words in the above list?"
}

// numbered returns a list of size different words, of which the common ones are repeated
// many times and the others rare times, and the common words.
func (s *source) numbered(r *rand.Rand, size, many, rare int) (list string, names []string, err error) {
	words, err := s.drawWords(r, size)
	if err != nil {
		return "", nil, err
	}
	all := slices.Concat(slices.Repeat(words[:common], many), slices.Repeat(words[common:], rare))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return numberedList(all), words[:common], nil
}

// numberedList writes words as "1. first 2. second".
func numberedList(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d. %s", i+1, w)
	}
	return b.String()
}

// frequentWords is RULER's fwe: the three words of a made-up language that occur most often.
// The k-th word occurs in proportion to k to the power of -2; the most frequent one is
// three dots, which do not count.
func frequentWords(_ *source, length, reply int) (recipe, error) {
	room := length - reply
	vocabulary := room / 50
	if vocabulary < 4 {
		return recipe{}, fmt.Errorf("too short for a vocabulary of four words: ask for a larger length")
	}
	return recipe{
		step: max(16, room/32),
		make: func(r *rand.Rand, size, _ int) (question, error) {
			names := []string{"..."}
			used := map[string]bool{}
			for len(names) < vocabulary {
				if name := strings.ToLower(upper(r, 6)); !used[name] {
					used[name] = true
					names = append(names, name)
				}
			}
			var all []string
			for k, name := range names {
				n := int(float64(size) / float64((k+1)*(k+1)) / (math.Pi * math.Pi / 6)) // zeta(2)
				all = append(all, slices.Repeat([]string{name}, n)...)
			}
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			context := strings.Join(all, " ")
			return question{
				text: "Read the following coded text and track the frequency of each coded word. " +
					"Find the three most frequently appeared coded words. " + context +
					"\nQuestion: Do not provide any explanation. Please ignore the dots '....'. " +
					"What are the three most frequently appeared words in the above coded text?",
				context: context,
				prefix:  " Answer: According to the coded text above, the three most frequently appeared words are:",
				answers: names[1:4],
			}, nil
		},
	}, nil
}
