package tasks

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// Config says which prompts are made.
type Config struct {
	Tokenizer *tokenizer.Tokenizer
	Tasks     []Task
	Lengths   []int // tokens of prompt and reply together; each task has prompts of each length
	Samples   int   // prompts of a task and length at most
	Seed      uint64
	// Files names the files of texts: haystack and words for the texts of RULER and the
	// needle, squad and hotpotqa for its questions, longbench for a file or a folder of
	// records. Without haystack, the documents that ship with attnscope are used.
	Files map[string]string
}

// Sample is a prompt with the answers to it.
type Sample struct {
	Task    Task
	Length  int // tokens of prompt and reply that were asked for
	Index   int // of the samples of its task and length
	Prompt  prompts.Prompt
	Classes []string // of a classification: the names of all classes
}

// Score returns the score of a reply, in [0, 1].
func (s *Sample) Score(reply string) float64 {
	return s.Task.score(reply, s.Prompt.References, s.Classes)
}

// question is a prompt before it becomes tokens.
type question struct {
	text    string
	context string // the part of the text before the question
	prefix  string // with which the reply begins
	answers []string
}

// recipe makes the questions of a task.
type recipe struct {
	// step is the smallest size of a question, and that by which one shrinks that is too
	// long. A size counts words, sentences, lines or documents, depending on the task.
	step int
	make func(r *rand.Rand, size, index int) (question, error)
	most int // number of questions; 0: any
}

// Make makes the samples, task by task and length by length. A task whose file is missing, or
// has nothing for it, is left out with a warning. The samples of a task and length do not depend on the other
// tasks, and the first ones not on the number of samples.
func Make(ctx context.Context, c Config) (samples []Sample, warnings []string, err error) {
	s := &source{Config: c}
	var empty []string // sets of LongBench that the file lacks
	for _, t := range c.Tasks {
		if t.File != "" && c.Files[t.File] == "" {
			warnings = append(warnings, fmt.Sprintf("%s is left out: it needs the file %s", t.Name, fileHelp[t.File]))
			continue
		}
		for _, length := range c.Lengths {
			var list []Sample
			if t.prompt != "" {
				list, err = s.longBench(ctx, t, length)
			} else {
				list, err = s.made(ctx, t, length)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("%s, length %d: %w", t.Name, length, err)
			}
			if len(list) == 0 && !slices.Contains(empty, t.Name) {
				empty = append(empty, t.Name)
			}
			samples = append(samples, list...)
		}
	}
	if empty != nil {
		warnings = append(warnings, fmt.Sprintf("left out, because %s has no records of them: %s",
			c.Files["longbench"], strings.Join(empty, ", ")))
	}
	return samples, warnings, nil
}

// fileHelp says what the files of Config.Files hold, for warnings.
var fileHelp = map[string]string{
	"squad":     "squad (the development set of SQuAD 2.0, JSON)",
	"hotpotqa":  "hotpotqa (the development set of HotpotQA with distractors, JSON)",
	"longbench": "longbench (records of LongBench, a file of JSON lines or a folder of such files)",
}

// made makes the samples of a task that has a recipe.
func (s *source) made(ctx context.Context, t Task, length int) ([]Sample, error) {
	rc, err := t.recipe(s, length, t.Reply)
	if err != nil {
		return nil, err
	}
	size, err := s.fit(ctx, t, rc, length)
	if err != nil {
		return nil, err
	}
	n := s.Samples
	if rc.most > 0 {
		n = min(n, rc.most)
	}
	var list []Sample
	for i := range n {
		p, err := s.largest(ctx, t, rc, size, length, i)
		if err != nil {
			return nil, err
		}
		list = append(list, Sample{Task: t, Length: length, Index: i, Prompt: p})
	}
	return list, nil
}

// fit returns the size at which the first question takes at most length tokens with its
// reply.
func (s *source) fit(ctx context.Context, t Task, rc recipe, length int) (int, error) {
	need := func(size int) (int, error) {
		p, err := s.prepare(ctx, t, rc, size, length, 0)
		return len(p.Tokens) + t.Reply, err
	}
	n, err := need(rc.step)
	if err != nil {
		return 0, err
	}
	if n > length {
		return 0, fmt.Errorf("its shortest prompt takes %d tokens with the reply: ask for a larger length", n)
	}
	low := rc.step // fits
	high := low
	for n <= length {
		low = high
		high *= 2
		if n, err = need(high); err != nil {
			return 0, err
		}
	}
	for low+1 < high {
		middle := (low + high) / 2
		if n, err = need(middle); err != nil {
			return 0, err
		}
		if n <= length {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// largest makes a sample of a size, or of the next smaller one that takes at most length
// tokens with its reply.
func (s *source) largest(ctx context.Context, t Task, rc recipe, size, length, index int) (prompts.Prompt, error) {
	for {
		p, err := s.prepare(ctx, t, rc, size, length, index)
		if err != nil || len(p.Tokens)+t.Reply <= length {
			return p, err
		}
		if size == rc.step {
			return p, fmt.Errorf("sample %d takes %d tokens with the reply: ask for a larger length",
				index, len(p.Tokens)+t.Reply)
		}
		size = max(rc.step, size-rc.step)
	}
}

// prepare makes a question and its tokens.
func (s *source) prepare(ctx context.Context, t Task, rc recipe, size, length, index int) (prompts.Prompt, error) {
	q, err := rc.make(s.random(t.Name, length, index), size, index)
	if err != nil {
		return prompts.Prompt{}, err
	}
	return prompts.Prepare(ctx, s.Tokenizer, prompts.Record{
		ID:           fmt.Sprintf("%s-%d-%d", t.Name, length, index),
		Dataset:      t.Name,
		Messages:     []prompts.Message{{Role: "user", Content: q.text}},
		Context:      q.context,
		AnswerPrefix: q.prefix,
		References:   q.answers,
	}, prompts.Options{})
}

// random returns the generator of a sample.
func (s *source) random(task string, length, index int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %d", task, length, index)
	return rand.New(rand.NewPCG(s.Seed, h.Sum64()))
}

// sample draws n different numbers below total.
func sample(r *rand.Rand, total, n int) []int { return r.Perm(total)[:n] }
