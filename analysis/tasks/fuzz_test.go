package tasks

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// FuzzQuestions: a question about a set has all documents that answer it.
func FuzzQuestions(f *testing.F) {
	f.Add([]byte(`{"data":[{"paragraphs":[{"context":"c","qas":[{"question":"q","answers":[{"text":"a"}],` +
		`"is_impossible":false}]},{"context":"d"}]}]}`))
	f.Add([]byte(`[{"question":"q","answer":"a","context":[["t",["s"]],["t",[]]]},{"question":"none","context":[]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func([]byte) (*questionSet, error){readSQuAD, readHotpotQA} {
			set, err := read(data)
			if err != nil {
				continue
			}
			for i, q := range set.questions {
				if len(q.docs) == 0 {
					t.Fatalf("question %d has no documents", i)
				}
				text := set.question(rand.New(rand.NewPCG(1, 2)), len(q.docs)+1, i).text
				for _, d := range q.docs {
					if !strings.Contains(text, set.docs[d]) {
						t.Errorf("question %d lacks %q: %q", i, set.docs[d], text)
					}
				}
			}
		}
	})
}
