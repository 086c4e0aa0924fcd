package experiments

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
	"github.com/attnscope/attnscope/viz/figures"
)

// choice is a method with a label of its own.
type choice struct {
	label  string
	method string
	config snapkv.Config
}

// decodeAll decodes the prompts from the full cache and from each choice's; the
// results are labelled. They are kept under a name; with none, each run makes
// them anew.
func (l *Lab) decodeAll(ctx context.Context, name string, list []prompts.Prompt, choices []choice, reply int, ignoreEOS bool) ([]labelled, error) {
	c := decode.Config{
		Model: l.Model, Prompts: list, MaxNewTokens: reply, IgnoreEOS: ignoreEOS, Score: "contains", Progress: l.Progress,
		Encode: func(text string) []int32 { return l.Tokenizer.Encode(text, false) },
		Decode: func(ids []int32) string { return l.Tokenizer.Decode(ids, true) },
	}
	label := func(method string, like func(snapkv.Config) bool) string {
		for _, ch := range choices {
			if ch.method == method && like(ch.config) {
				return ch.label
			}
		}
		return ""
	}
	for _, ch := range choices {
		if !slices.ContainsFunc(c.Methods, func(m snapkv.Method) bool { return m.Name == ch.method }) {
			m, err := snapkv.FindMethod(ch.method)
			if err != nil {
				return nil, err
			}
			c.Methods = append(c.Methods, m)
		}
		same := func(o snapkv.Config) bool { return o.Capacity == ch.config.Capacity && o.RanksLike(ch.config) }
		if !slices.ContainsFunc(c.Configs, same) {
			c.Configs = append(c.Configs, ch.config)
		}
	}
	c.Skip = func(method string, cfg snapkv.Config) bool {
		return label(method, func(o snapkv.Config) bool { return o.Capacity == cfg.Capacity && o.RanksLike(cfg) }) == ""
	}
	var results []decode.Result
	k, err := (*kept)(nil), error(nil)
	if name != "" {
		if k, err = l.openKept(name, &c); err != nil {
			return nil, err
		}
	}
	switch {
	case l.Model == nil:
		return nil, l.planDecode(list, 1+len(choices), reply, k)
	case k != nil:
		results, err = k.run(ctx, l, c)
	default:
		err = decode.Run(ctx, c, func(r decode.Result) error { results = append(results, r); return nil })
	}
	if err != nil {
		return nil, err
	}
	var out []labelled
	for _, r := range results {
		name := snapkv.Full
		if !r.Full() {
			name = label(r.Method, func(o snapkv.Config) bool {
				return o.Capacity == r.Capacity && o.Kernel == r.Kernel && o.Group == r.Group && o.Window == r.Window && o.Pooling == r.Pooling
			})
		}
		out = append(out, labelled{name, r})
	}
	return out, nil
}

type labelled struct {
	label string
	decode.Result
}

// retrievalChoices are what the retrieval experiments compare, at two budgets.
func (l *Lab) retrievalChoices(window int, capacities ...int) []choice {
	var list []choice
	for _, capacity := range capacities {
		pooled := snapkv.Config{Window: window, Capacity: capacity, Kernel: 5, Pooling: "maxpool", Group: "head", Seed: l.Seed}
		bare := pooled
		bare.Kernel = 1
		list = append(list,
			choice{fmt.Sprintf("snapkv %d", capacity), "snapkv", pooled},
			choice{fmt.Sprintf("snapkv without pooling %d", capacity), "snapkv", bare},
			choice{fmt.Sprintf("streamingllm %d", capacity), "streamingllm", pooled},
			choice{fmt.Sprintf("random %d", capacity), "random", pooled})
	}
	return list
}

// retrieval is a task with a place in a grid.
type retrieval struct {
	length int
	depth  float64
	prompt prompts.Prompt
}

// grid decodes retrieval tasks and tells accuracy, and the answer's rank and
// log-probability, by cache, length and depth; its files' names begin with prefix.
func (l *Lab) grid(ctx context.Context, prefix string, tasks []retrieval, choices []choice, reply int, xlabel string) (string, error) {
	var list []prompts.Prompt
	for _, t := range tasks {
		list = append(list, t.prompt)
	}
	results, err := l.decodeAll(ctx, strings.Trim(l.name+"-"+prefix, "-"), list, choices, reply, false)
	if err != nil {
		return "", err
	}
	return l.gridOf(prefix, tasks, results, xlabel)
}

// gridOf is what grid makes of results.
func (l *Lab) gridOf(prefix string, tasks []retrieval, results []labelled, xlabel string) (string, error) {
	place := map[string]retrieval{}
	for _, t := range tasks {
		place[t.prompt.ID] = t
	}
	var labels []string
	cells := table.New("cache", "capacity", "length", "depth", "id", "correct", "answer_logprob", "answer_rank", "kl", "text")
	for _, r := range results {
		if !slices.Contains(labels, r.label) {
			labels = append(labels, r.label)
		}
		t := place[r.ID]
		cells.Add(r.label, r.Capacity, t.length, t.depth, r.ID, float64(r.Contains), float64(r.AnswerLogProb), float64(r.AnswerRank), float64(r.KL), r.Text)
	}
	if err := l.table(cells, prefix+"answers"); err != nil {
		return "", err
	}
	summary := table.New("cache", "prompts", "correct", "accuracy", "low", "high", "answer_logprob", "answer_rank", "kl")
	lengths, depths := []int{}, []float64{}
	for _, t := range tasks {
		if !slices.Contains(lengths, t.length) {
			lengths = append(lengths, t.length)
		}
		if !slices.Contains(depths, t.depth) {
			depths = append(depths, t.depth)
		}
	}
	for _, label := range labels {
		var right, lp, rank, kl []float64
		g := viz.NewGrid(len(depths), len(lengths))
		count := make([]int, len(g.Values))
		for i := range g.Values {
			g.Values[i] = 0
		}
		correct := 0
		for _, row := range cells.Rows {
			if row[0] != label {
				continue
			}
			v := row[5].(float64)
			right, lp, rank, kl = append(right, v), append(lp, row[6].(float64)), append(rank, row[7].(float64)), append(kl, row[8].(float64))
			correct += int(v)
			at := slices.Index(depths, row[3].(float64))*len(lengths) + slices.Index(lengths, row[2].(int))
			g.Values[at] += v
			count[at]++
		}
		for i, n := range count {
			if n > 0 {
				g.Values[i] /= float64(n)
			}
		}
		low, high := analysis.Interval(right, l.Seed)
		summary.Add(label, len(right), correct, analysis.Mean(right), low, high, analysis.Mean(lp), analysis.Mean(rank), analysis.Mean(kl))
		s := viz.Summary{
			Title: "correct answers: " + label, XLabel: xlabel, YLabel: "depth of the answer, %", BarTitle: "share correct", Rates: g, Meta: l.meta(),
			Caption: l.caption("n = %d; %d correct (%.2f, 95 %% bootstrap interval %.2f to %.2f)", len(right), correct, analysis.Mean(right), low, high),
		}
		for _, n := range lengths {
			s.Columns = append(s.Columns, fmt.Sprint(n))
		}
		for _, d := range depths {
			s.Layers = append(s.Layers, int(100*d+0.5))
		}
		if err := l.figure(viz.SummaryFigure(s), prefix+"grid-"+figures.SafeName(strings.ReplaceAll(label, " ", "-"))); err != nil {
			return "", err
		}
	}
	if err := l.table(summary, prefix+"accuracy"); err != nil {
		return "", err
	}
	against := l.pairedCaches(results)
	if err := l.table(against, prefix+"paired"); err != nil {
		return "", err
	}
	return markdown(summary, summary.Columns...) + "\nThe same prompts under two caches of one capacity, with intervals and the p-values of sign-flip tests:\n\n" + markdown(against, against.Columns...), nil
}

// pairedCaches holds every cache against the first of its capacity, prompt by
// prompt: differences are the first's value minus the cache's.
func (l *Lab) pairedCaches(results []labelled) *table.Table {
	t := table.New("cache", "other", "prompts", "correct_difference", "correct_low", "correct_high", "correct_p", "logprob_difference", "logprob_low", "logprob_high", "logprob_p")
	first := map[int]string{}                  // by capacity
	values := map[string]map[string]labelled{} // by label and prompt
	var labels, ids []string
	for _, r := range results {
		if values[r.label] == nil {
			values[r.label] = map[string]labelled{}
			labels = append(labels, r.label)
		}
		values[r.label][r.ID] = r
		if r.Full() {
			ids = append(ids, r.ID)
		} else if first[r.Capacity] == "" {
			first[r.Capacity] = r.label
		}
	}
	for _, label := range labels {
		var correct, logprob []float64
		other := ""
		for _, id := range ids {
			r, ok := values[label][id]
			if !ok || r.Full() || first[r.Capacity] == label {
				continue
			}
			own, ok := values[first[r.Capacity]][id]
			if !ok {
				continue
			}
			other = own.label
			correct = append(correct, float64(own.Contains-r.Contains))
			logprob = append(logprob, float64(own.AnswerLogProb-r.AnswerLogProb))
		}
		if len(correct) == 0 {
			continue
		}
		t.Add(slices.Concat([]any{other, label, len(correct)}, differenceCells(correct, l.Seed), differenceCells(logprob, l.Seed))...)
	}
	return t
}

// differenceCells are four cells of a table: the mean of differences, its interval, and the p-value of
// a sign-flip test.
func differenceCells(difference []float64, seed uint64) []any {
	low, high := analysis.Interval(difference, seed)
	return []any{analysis.Mean(difference), low, high, analysis.SignFlip(difference, seed)}
}
