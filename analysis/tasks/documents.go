package tasks

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// documents is RULER's qa: a question about one or a few documents among others. The i-th
// sample asks the i-th question of the set.
func documents(name string) func(s *source, length, reply int) (recipe, error) {
	return func(s *source, _, _ int) (recipe, error) {
		set, err := s.questionSet(name)
		if err != nil {
			return recipe{}, err
		}
		return recipe{
			step: len(set.questions[0].docs),
			most: len(set.questions),
			make: func(r *rand.Rand, size, index int) (question, error) { return set.question(r, size, index), nil },
		}, nil
	}
}

// question asks a question about size documents, of which the first ones answer it, and as
// many as possible are of the same article.
func (set *questionSet) question(r *rand.Rand, size, index int) question {
	q := set.questions[index]
	chosen := append([]int{}, q.docs...)
	for _, i := range sample(r, len(q.near), len(q.near)) {
		if len(chosen) < size {
			chosen = append(chosen, q.near[i])
		}
	}
	taken := map[int]bool{}
	for _, i := range chosen {
		taken[i] = true
	}
	if len(chosen) < size {
		for _, i := range r.Perm(len(set.docs)) {
			if len(chosen) < size && !taken[i] {
				chosen = append(chosen, i)
			}
		}
	}
	for i := 0; len(chosen) < size; i++ { // all documents again
		chosen = append(chosen, i%len(set.docs))
	}
	r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	parts := make([]string, len(chosen))
	for i, d := range chosen {
		parts[i] = fmt.Sprintf("Document %d:\n%s", i+1, set.docs[d])
	}
	context := strings.Join(parts, "\n\n")
	const ask = "Answer the question based on the given documents. " +
		"Only give me the answer and do not output any other words."
	return question{
		text: ask + "\n\nThe following are given documents.\n\n" + context +
			"\n\n" + ask + "\n\nQuestion: " + q.text,
		context: context,
		prefix:  " Answer:",
		answers: q.answers,
	}
}
