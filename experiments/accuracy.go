package experiments

import (
	"context"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/viz"
	"github.com/attnscope/attnscope/viz/figures"
)

// retrieval is a task whose answer is hidden in its prompt.
type retrieval struct {
	length int     // lines, or tokens of text
	depth  float64 // of the answer, in [0, 1]
	prompt prompts.Prompt
}

// answerRow is the answer to one task from one cache.
type answerRow struct {
	cache    string // label
	capacity int
	length   int
	depth    float64
	id       string  // of the prompt
	correct  float64 // 1 if the reply contains the answer, else 0
	logprob  float64 // of the answer, nats
	rank     float64 // of the answer's tokens, 1 is best
	kl       float64 // from the full cache, nats per token
	text     string
}

func (r answerRow) cells() []any {
	return []any{r.cache, r.capacity, r.length, r.depth, r.id, r.correct, r.logprob, r.rank, r.kl, r.text}
}

func answerTable(rows []answerRow) *table.Table {
	return tableOf([]string{
		"cache", "capacity", "length", "depth", "id", "correct", "answer_logprob", "answer_rank", "kl", "text",
	}, rows)
}

// accuracyRow summarizes the answers from one cache.
type accuracyRow struct {
	cache    string
	prompts  int
	correct  int
	accuracy estimate
	logprob  float64
	rank     float64
	kl       float64
}

func (r accuracyRow) cells() []any {
	return slices.Concat([]any{r.cache, r.prompts, r.correct}, r.accuracy.cells(), []any{r.logprob, r.rank, r.kl})
}

func accuracyTable(rows []accuracyRow) *table.Table {
	return tableOf([]string{
		"cache", "prompts", "correct", "accuracy", "low", "high", "answer_logprob", "answer_rank", "kl",
	}, rows)
}

// cachePairRow compares a cache with another of the same capacity, prompt by prompt.
type cachePairRow struct {
	cache, other string
	prompts      int
	correct      difference // correct answers from cache minus those from other
	logprob      difference // of the answer, likewise
}

func (r cachePairRow) cells() []any {
	return slices.Concat([]any{r.cache, r.other, r.prompts}, r.correct.cells(), r.logprob.cells())
}

func cachePairTable(rows []cachePairRow) *table.Table {
	return tableOf([]string{
		"cache", "other", "prompts", "correct_difference", "correct_low", "correct_high", "correct_p",
		"logprob_difference", "logprob_low", "logprob_high", "logprob_p",
	}, rows)
}

// grid holds the tables of a retrieval experiment.
type grid struct {
	Accuracy *table.Table
	Paired   *table.Table
}

// decodeGrid decodes retrieval tasks from the full cache and from the cache of each
// choice, and writes the tables and maps of [Lab.rateGrid]. File names begin with
// prefix.
func (l *Lab) decodeGrid(ctx context.Context, prefix string, tasks []retrieval, choices []choice, reply int, xlabel string) (*grid, error) {
	var list []prompts.Prompt
	for _, t := range tasks {
		list = append(list, t.prompt)
	}
	name := strings.Trim(l.name+"-"+prefix, "-")
	results, err := l.decodeAll(ctx, name, list, choices, reply)
	if err != nil {
		return nil, err
	}
	return l.rateGrid(prefix, tasks, results, xlabel)
}

// rateGrid writes tables of the answers, of the accuracy of each cache, and of
// pairs of caches, and a map of each cache by length and depth.
func (l *Lab) rateGrid(prefix string, tasks []retrieval, results []labeled, xlabel string) (*grid, error) {
	answers := answersOf(tasks, results)
	if err := l.table(answerTable(answers), prefix+"answers"); err != nil {
		return nil, err
	}
	accuracies := accuraciesOf(answers, l.Seed)
	if err := l.accuracyMaps(prefix, tasks, answers, accuracies, xlabel); err != nil {
		return nil, err
	}
	out := &grid{
		Accuracy: accuracyTable(accuracies),
		Paired:   cachePairTable(pairedCaches(results, l.Seed)),
	}
	if err := l.table(out.Accuracy, prefix+"accuracy"); err != nil {
		return nil, err
	}
	return out, l.table(out.Paired, prefix+"paired")
}

// accuracyMaps draws, for each cache, a map of the correct answers by length and
// depth.
func (l *Lab) accuracyMaps(prefix string, tasks []retrieval, answers []answerRow, accuracies []accuracyRow, xlabel string) error {
	var lengths []int
	var depths []float64
	for _, t := range tasks {
		if !slices.Contains(lengths, t.length) {
			lengths = append(lengths, t.length)
		}
		if !slices.Contains(depths, t.depth) {
			depths = append(depths, t.depth)
		}
	}
	for _, a := range accuracies {
		s := accuracyMap(answers, a.cache, lengths, depths)
		s.XLabel = xlabel
		s.Meta = l.meta()
		s.Caption = l.caption("n = %d; %d correct (%.2f, 95 %% bootstrap interval %.2f to %.2f)",
			a.prompts, a.correct, a.accuracy.mean, a.accuracy.low, a.accuracy.high)
		name := prefix + "grid-" + figures.SafeName(strings.ReplaceAll(a.cache, " ", "-"))
		if err := l.figure(viz.SummaryFigure(s), name); err != nil {
			return err
		}
	}
	return nil
}

// answersOf joins tasks with the replies to them.
func answersOf(tasks []retrieval, results []labeled) []answerRow {
	byID := map[string]retrieval{}
	for _, t := range tasks {
		byID[t.prompt.ID] = t
	}
	var rows []answerRow
	for _, r := range results {
		t := byID[r.ID]
		rows = append(rows, answerRow{
			cache:    r.label,
			capacity: r.Capacity,
			length:   t.length,
			depth:    t.depth,
			id:       r.ID,
			correct:  float64(r.Contains),
			logprob:  float64(r.AnswerLogProb),
			rank:     float64(r.AnswerRank),
			kl:       float64(r.KL),
			text:     r.Text,
		})
	}
	return rows
}

// accuraciesOf averages answers by cache, in the order in which caches first
// occur.
func accuraciesOf(answers []answerRow, seed uint64) []accuracyRow {
	var caches []string
	for _, a := range answers {
		if !slices.Contains(caches, a.cache) {
			caches = append(caches, a.cache)
		}
	}
	var rows []accuracyRow
	for _, cache := range caches {
		var correct, logprob, rank, kl []float64
		row := accuracyRow{cache: cache}
		for _, a := range answers {
			if a.cache != cache {
				continue
			}
			correct = append(correct, a.correct)
			logprob = append(logprob, a.logprob)
			rank = append(rank, a.rank)
			kl = append(kl, a.kl)
			row.correct += int(a.correct)
		}
		row.prompts = len(correct)
		row.accuracy = estimateOf(correct, seed)
		row.logprob = analysis.Mean(logprob)
		row.rank = analysis.Mean(rank)
		row.kl = analysis.Mean(kl)
		rows = append(rows, row)
	}
	return rows
}

// pairedCaches compares every compressed cache with the first one of the same
// capacity, prompt by prompt.
func pairedCaches(results []labeled, seed uint64) []cachePairRow {
	first := map[int]string{}                 // label by capacity
	values := map[string]map[string]labeled{} // by label and prompt
	var labels, ids []string
	for _, r := range results {
		if values[r.label] == nil {
			values[r.label] = map[string]labeled{}
			labels = append(labels, r.label)
		}
		values[r.label][r.ID] = r
		if r.Full() {
			ids = append(ids, r.ID)
		} else if first[r.Capacity] == "" {
			first[r.Capacity] = r.label
		}
	}
	var rows []cachePairRow
	for _, label := range labels {
		var correct, logprob []float64
		row := cachePairRow{other: label}
		for _, id := range ids {
			r, ok := values[label][id]
			if !ok || r.Full() || first[r.Capacity] == label {
				continue
			}
			own, ok := values[first[r.Capacity]][id]
			if !ok {
				continue
			}
			row.cache = own.label
			correct = append(correct, float64(own.Contains-r.Contains))
			logprob = append(logprob, float64(own.AnswerLogProb-r.AnswerLogProb))
		}
		if len(correct) == 0 {
			continue
		}
		row.prompts = len(correct)
		row.correct = differenceOf(correct, seed)
		row.logprob = differenceOf(logprob, seed)
		rows = append(rows, row)
	}
	return rows
}
