package tasks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// hops is the number of assignments that follow the first one of RULER's task vt.
const hops = 4

// exampleTokens is the largest number of tokens of the solved example in vt.
const exampleTokens = 500

// variables is RULER's vt: a chain of assignments is hidden in noise, and all variables with
// a value are asked for. A short solved example comes first.
func variables(s *source, length, _ int) (recipe, error) {
	tokens := func(size int) int {
		text := s.solved(rand.New(rand.NewPCG(s.Seed, 0)), size)
		return len(s.Tokenizer.Encode(text, false))
	}
	size := 5
	for tokens(size+1) <= exampleTokens {
		size++
	}
	return recipe{
		step: smallStep(length, 10),
		make: func(r *rand.Rand, noises, _ int) (question, error) {
			example := s.solved(r, size)
			q := chain(r, noises, 5)
			q.text = example + "\n" + q.text
			return q, nil
		},
	}, nil
}

// solved returns a chain of variables with three letters, with the answer.
func (s *source) solved(r *rand.Rand, noises int) string {
	q := chain(r, noises, 3)
	return q.text + q.prefix + " " + strings.Join(q.answers, " ") + "\n"
}

// chain hides a chain of assignments, in their order, between lines of noise.
func chain(r *rand.Rand, noises, letters int) question {
	var names []string
	for len(names) < hops+1 {
		if name := upper(r, letters); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	value := fmt.Sprint(10000 + r.IntN(89999))
	lines := make([]string, noises)
	for i := range lines {
		lines[i] = noiseText
	}
	places := sample(r, noises, hops+1)
	slices.Sort(places)
	for i, at := range places {
		line := "VAR " + names[i] + " = " + value
		if i > 0 {
			line = "VAR " + names[i] + " = VAR " + names[i-1] + " "
		}
		lines = slices.Insert(lines, at+i, line)
	}
	context := strings.Join(lines, "\n")
	return question{
		text: fmt.Sprintf("Memorize and track the chain(s) of variable assignment hidden in the following text."+
			"\n\n%s\nQuestion: Find all variables that are assigned the value %s in the text above.", context, value),
		context: context,
		prefix: fmt.Sprintf(" Answer: According to the chain(s) of variable assignment in the text above, "+
			"%d variables are assigned the value %s, they are: ", hops+1, value),
		answers: names,
	}
}

// upper draws capital letters.
func upper(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('A' + r.IntN(26))
	}
	return string(b)
}
