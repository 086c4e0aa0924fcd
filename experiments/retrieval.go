package experiments

import (
	"context"
	"errors"
	"fmt"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/analysis/tasks"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// retrievalWindow is the observation window of the retrieval experiments, as in
// the paper.
const retrievalWindow = 16

// poolingReport holds the data for pooling.md.tmpl.
type poolingReport struct {
	*grid
	Prompts int
}

// pooling runs LongEval's lines task with and without pooling.
func pooling(ctx context.Context, l *Lab) (any, error) {
	lines := []int{20, 50, 100, 150}
	depths := []float64{0, 0.25, 0.5, 0.75, 0.99}
	repeats := 2
	capacities := []int{256, 512}
	if l.Quick {
		lines = []int{12}
		depths = []float64{0, 0.5}
		repeats = 1
		capacities = []int{128}
	}
	var list []retrieval
	for _, n := range lines {
		for _, depth := range depths {
			for repeat := range repeats {
				text, answer := tasks.Lines(l.Seed+uint64(1000*repeat)+uint64(100*depth), n, depth)
				id := fmt.Sprintf("lines-%d-%.0f-%d", n, 100*depth, repeat)
				p, err := l.chat(id, "lines", "", []string{answer}, tokenizer.Message{Role: "user", Content: text})
				if err != nil {
					return nil, err
				}
				list = append(list, retrieval{n, depth, p})
			}
		}
	}
	choices := l.retrievalChoices(retrievalWindow, capacities...)
	g, err := l.decodeGrid(ctx, "", list, choices, 16, "lines in the record")
	return &poolingReport{g, len(list)}, err
}

// needleReport holds the data for needle.md.tmpl.
type needleReport struct {
	*grid
	Layer, Head int     // of the head whose window looks at the needle most
	Mass        float64 // that it gives the needle
	Retrieval   int     // heads that copy more than a tenth of the needle
	Heads       int
	Prompts     int
}

// needle hides a sentence in a long text.
func needle(ctx context.Context, l *Lab) (any, error) {
	lengths := []int{1000, 2000, 4000, 7000}
	depths := []float64{0, 0.25, 0.5, 0.75, 1}
	capacities := []int{256, 1024}
	if l.Quick {
		lengths = []int{400}
		depths = []float64{0, 0.5}
		capacities = []int{128}
	}
	haystack, err := tasks.Haystack(l.Sets["haystack"])
	if err != nil {
		return nil, err
	}
	var list []retrieval
	for _, n := range lengths {
		for _, depth := range depths {
			id := fmt.Sprintf("needle-%d-%.0f", n, 100*depth)
			text := tasks.Needle(l.Tokenizer, haystack, n, depth)
			message := tokenizer.Message{Role: "user", Content: text}
			p, err := l.chat(id, "needle", "", []string{tasks.NeedleAnswer}, message)
			if err != nil {
				return nil, err
			}
			list = append(list, retrieval{n, depth, p})
		}
	}
	choices := l.retrievalChoices(retrievalWindow, capacities...)
	g, err := l.decodeGrid(ctx, "", list, choices, 24, "length, tokens")
	if err != nil && !errors.Is(err, errPlanned) {
		return nil, err
	}
	report := &needleReport{grid: g, Prompts: len(list)}
	return report, l.needleHeads(ctx, list, report)
}

// needleHeads finds the heads whose window looks at the needle, and those that
// would copy it.
func (l *Lab) needleHeads(ctx context.Context, list []retrieval, report *needleReport) error {
	plan := dumps.Plan{WindowRows: retrievalWindow, MaxNewTokens: 64}
	path, err := l.capture(ctx, "needle", withNeedle(list, tasks.NeedleText), plan)
	if err != nil {
		return err
	}
	rows, err := needleScores(path, tasks.NeedleText)
	if err != nil {
		return err
	}
	if err := l.table(needleTable(rows), "heads"); err != nil {
		return err
	}
	report.Heads = len(rows)
	var values []headValue
	for _, row := range rows {
		values = append(values, headValue{row.layer, row.head, row.retrieval})
		if row.mass > report.Mass {
			report.Layer = row.layer
			report.Head = row.head
			report.Mass = row.mass
		}
		if row.retrieval > 0.1 {
			report.Retrieval++
		}
	}
	s := headMap(values)
	s.Title = "retrieval score of each head"
	s.BarTitle = "share of the needle copied"
	s.Caption = l.caption("%s; the needle as the reply, teacher forced", words.Count(len(list), "prompt"))
	s.Meta = l.meta()
	return l.figure(viz.SummaryFigure(s), "retrieval-heads")
}

// withNeedle makes the needle itself the reply to follow, with the tokens that it
// has in each prompt, so that every head can be tested for copying.
func withNeedle(tasks []retrieval, needle string) []prompts.Prompt {
	var list []prompts.Prompt
	for _, t := range tasks {
		p := t.prompt
		if lo, hi := phraseTokens(p.Text, p.Ends, needle); lo >= 0 {
			p.Reply = append([]int32(nil), p.Tokens[lo:hi]...)
		}
		list = append(list, p)
	}
	return list
}

// rulerReport holds the data for ruler.md.tmpl.
type rulerReport struct {
	Single   *grid
	Multikey *grid
	Prompts  int
}

// ruler tests the retrieval of numbers hidden in a text, after RULER's tasks
// niah_single and niah_multikey (arXiv:2404.06654), with prompts generated from the
// seed.
func ruler(ctx context.Context, l *Lab) (any, error) {
	haystack, err := tasks.Haystack(l.Sets["haystack"])
	if err != nil {
		return nil, err
	}
	report := &rulerReport{}
	report.Single, err = l.rulerGrid(ctx, "single", haystack, 1, report)
	if err != nil && !errors.Is(err, errPlanned) {
		return nil, err
	}
	report.Multikey, err = l.rulerGrid(ctx, "multikey", haystack, 4, report)
	return report, err
}

// rulerGrid hides a number for each of the given count of keys, asks for one of the
// numbers, and rates the replies.
func (l *Lab) rulerGrid(ctx context.Context, kind, haystack string, keys int, report *rulerReport) (*grid, error) {
	lengths := []int{1000, 2000, 4000}
	depths := []float64{0, 0.25, 0.5, 0.75, 1}
	capacities := []int{256, 1024}
	if l.Quick {
		lengths = []int{400}
		depths = []float64{0.5}
		capacities = []int{128}
	}
	var list []retrieval
	for _, n := range lengths {
		for _, depth := range depths {
			seed := l.Seed + uint64(1000*n) + uint64(100*depth)
			text, answer := tasks.Number(l.Tokenizer, seed, haystack, n, depth, keys)
			id := fmt.Sprintf("ruler-%s-%d-%.0f", kind, n, 100*depth)
			p, err := l.chat(id, "ruler-"+kind, "", []string{answer}, tokenizer.Message{Role: "user", Content: text})
			if err != nil {
				return nil, err
			}
			list = append(list, retrieval{n, depth, p})
		}
	}
	report.Prompts += len(list)
	choices := l.retrievalChoices(retrievalWindow, capacities...)
	return l.decodeGrid(ctx, kind+"-", list, choices, 24, "length, tokens")
}

// needleTable makes a table of the rows.
func needleTable(rows []needleRow) *table.Table {
	return tableOf([]string{"layer", "head", "prompts", "mass", "best_rank", "kept_at_256", "retrieval"}, rows)
}
