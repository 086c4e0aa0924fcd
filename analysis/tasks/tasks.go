// Package tasks makes prompts whose answers are known, and scores replies to them: the
// thirteen tasks of RULER at any length, LongBench, a needle in a haystack, and the lines
// of LongEval.
//
//	samples, warnings, err := tasks.Make(ctx, tasks.Config{
//		Tokenizer: tok, Tasks: list, Lengths: []int{4096}, Samples: 20, Seed: 1,
//	})
//	...
//	score := samples[0].Score(reply)
//
// docs/LEADERBOARD.md says how each task is made and where it differs from the published
// code.
package tasks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis/answers"
	"github.com/attnscope/attnscope/internal/words"
)

// Task is a kind of prompt with a score.
type Task struct {
	Name   string
	Suite  string // the benchmark that it is part of: ruler, longbench, needle or lines
	Reply  int    // tokens of a reply at most
	Scorer answers.Scorer
	File   string // of Config.Files that it needs; empty: none

	firstLine bool   // only the first line of a reply is scored
	bare      bool   // the prompt gets no chat template
	prompt    string // of LongBench: the prompt, in which {context} and {input} stand for fields
	recipe    func(s *source, length, reply int) (recipe, error)
}

// Tasks lists all tasks, suite by suite.
var Tasks = slices.Concat(rulerTasks, []Task{needleTask, linesTask}, longBenchTasks)

// Suites lists the names of the suites.
var Suites = []string{"ruler", "needle", "lines", "longbench"}

// Find returns the tasks that a list names, in the order of Tasks and each once. A name is
// that of a task or of a suite, or all.
func Find(names []string) ([]Task, error) {
	known := slices.Concat(Suites, []string{"all"})
	for _, t := range Tasks {
		if !slices.Contains(known, t.Name) {
			known = append(known, t.Name)
		}
	}
	for _, name := range names {
		if err := words.Check("task", name, known); err != nil {
			return nil, err
		}
	}
	var list []Task
	for _, t := range Tasks {
		if slices.Contains(names, t.Name) || slices.Contains(names, t.Suite) || slices.Contains(names, "all") {
			list = append(list, t)
		}
	}
	if list == nil {
		return nil, fmt.Errorf("no task is named: want some of %s", strings.Join(known, ", "))
	}
	return list, nil
}

// score scores a reply.
func (t *Task) score(reply string, references, classes []string) float64 {
	if t.firstLine {
		reply = answers.FirstLine(reply)
	}
	return t.Scorer.Score(reply, references, classes)
}
