package experiments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/figures"
)

// methodsReport holds the data for methods.md.tmpl.
type methodsReport struct {
	Kept     *table.Table
	Decoded  *table.Table
	Paired   *table.Table
	Ranking  *table.Table
	Prompts  int
	Warnings []analysis.Warning
}

// decodedColumns are the columns of decode.SummaryTable without the times, so that
// equal runs write equal tables.
var decodedColumns = []string{
	"method", "capacity", "window", "kernel", "pooling", "group", "prompts", "ppl", "kl", "kl_low", "kl_high",
	"agreement", "answer_logprob", "answer_rank", "f1", "rouge_l", "contains", "cache_bytes",
}

// methods measures what every method keeps of one capture, and decodes from the kept
// positions.
func methods(ctx context.Context, l *Lab) (any, error) {
	reply := 32
	if l.Quick {
		reply = 8
	}
	list, err := l.methodPrompts(reply)
	if err != nil {
		return nil, err
	}
	configs := l.MethodConfigs()
	run := l.decoding(list)
	run.Methods = l.Methods
	if run.Methods == nil {
		run.Methods = snapkv.Common()
	}
	run.Configs = configs
	run.MaxNewTokens = reply
	run.Lenient = true
	run.Batch = mostCaches
	store, err := l.openStore("methods", &run)
	if err != nil {
		return nil, err
	}
	plan := dumps.Plan{WindowRows: snapkv.Default.Window, MaxNewTokens: reply, Values: true, Store: dumps.StoreFactors}
	path, err := l.capture(ctx, "methods", list, plan)
	if errors.Is(err, errPlanned) {
		return nil, l.planDecode(list, 1+len(run.Methods)*len(configs), reply, store)
	}
	if err != nil {
		return nil, err
	}
	report := &methodsReport{Prompts: len(list)}
	cfg := analysis.MethodConfig{
		Methods: run.Methods,
		Configs: configs,
		Thetas:  []float64{0.05},
		Lenient: true,
		Seed:    l.Seed,
	}
	kept, err := l.measureKept(ctx, path, cfg, report)
	if err != nil {
		return nil, err
	}
	results, err := store.run(ctx, l, run)
	if err != nil {
		return nil, err
	}
	if err := l.compareDecoded(results, reply, report); err != nil {
		return nil, err
	}
	report.Ranking = rankTable(ranking(kept, results, l.Seed))
	return report, l.table(report.Ranking, "ranking")
}

// MethodConfigs returns the settings with which the experiment methods compares methods.
func (l *Lab) MethodConfigs() []snapkv.Config {
	configs := slices.Clone(l.Configs)
	if configs == nil {
		capacities := []int{128, 256, 512, 1024}
		if l.Quick {
			capacities = []int{128}
		}
		for _, n := range capacities {
			config := snapkv.Default
			config.Capacity = n
			configs = append(configs, config)
		}
	}
	for i := range configs {
		configs[i].Seed = l.Seed
	}
	return configs
}

// methodPrompts asks the shortest documents, whole ones first, for up to ten
// replies: the first instruction of each, then the second, then the third.
func (l *Lab) methodPrompts(reply int) ([]prompts.Prompt, error) {
	most := 10
	if l.Quick {
		most = 2
	}
	docs, err := l.documents(reply)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(docs, func(a, b document) int {
		return cmp.Or(compareWhole(a, b), cmp.Compare(a.tokens, b.tokens))
	})
	var list []prompts.Prompt
	for ask := range 3 {
		for _, d := range docs {
			if ask >= len(d.Instructions) || len(list) >= most {
				continue
			}
			var references []string
			if ask < len(d.Outputs) {
				references = d.Outputs[ask : ask+1]
			}
			id := fmt.Sprintf("%s/%d", d.ID, ask)
			text := d.Text + "\n\n" + d.Instructions[ask]
			p, err := l.chat(id, d.set, "", references, tokenizer.Message{Role: "user", Content: text})
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
	}
	return list, nil
}

// measureKept writes the table and the figures of what methods keep, and returns what
// they keep of each prompt.
func (l *Lab) measureKept(
	ctx context.Context, path string, cfg analysis.MethodConfig, report *methodsReport,
) ([]analysis.MethodRow, error) {
	byHead := []analysis.By{analysis.ByLayer, analysis.ByHead}
	byPrompt := []analysis.By{analysis.ByPrompt}
	rows, warnings, err := analysis.MethodsBy(ctx, []string{path}, cfg, nil, byHead, byPrompt)
	if err != nil {
		return nil, err
	}
	report.Kept = analysis.MethodTable(rows[0])
	report.Warnings = warnings
	if err := l.table(report.Kept, "kept"); err != nil {
		return nil, err
	}
	_, err = figures.Methods(l.dir(), rows[0], rows[1], l.Origin)
	return rows[2], err
}

// compareDecoded writes the tables and the figure of what replies lose.
func (l *Lab) compareDecoded(results []decode.Result, reply int, report *methodsReport) error {
	report.Decoded = decode.SummaryTable(decode.Summarize(results, l.Seed)).Pick(decodedColumns...)
	if err := l.table(report.Decoded, "decoded"); err != nil {
		return err
	}
	report.Paired = pairTable(againstSnapKV(results, l.Seed))
	if err := l.table(report.Paired, "paired"); err != nil {
		return err
	}
	k := lossCurves(losses(results, l.Seed))
	k.Caption = l.caption("%s, replies of up to %d tokens, teacher forced;"+
		" band: 95 %% bootstrap interval of snapkv, the bands of the others are as wide; differences from snapkv are in paired.csv",
		words.Count(report.Prompts, "prompt"), reply)
	return l.curves(k, "kl-capacity")
}

// lossRow is the KL of one compressed cache from the full cache, over prompts.
type lossRow struct {
	method   string
	capacity int
	kl       estimate
}

// cacheKey is a method at a capacity.
type cacheKey struct {
	method   string
	capacity int
}

// losses averages the KL of results over prompts, by method and capacity.
func losses(results []decode.Result, seed uint64) []lossRow {
	values := map[cacheKey][]float64{}
	var order []cacheKey
	for _, r := range results {
		if r.Full() {
			continue
		}
		at := cacheKey{r.Method, r.Capacity}
		if values[at] == nil {
			order = append(order, at)
		}
		values[at] = append(values[at], float64(r.KL))
	}
	var rows []lossRow
	for _, at := range order {
		rows = append(rows, lossRow{at.method, at.capacity, estimateOf(values[at], seed)})
	}
	return rows
}

// pairRow compares a method with snapkv at the same capacity, prompt by prompt.
type pairRow struct {
	method   string
	capacity int
	prompts  int
	kl       difference // the method's KL minus snapkv's
	logprob  difference // of the reference answer, likewise
}

func (r pairRow) cells() []any {
	return slices.Concat([]any{r.method, r.capacity, r.prompts}, r.kl.cells(), r.logprob.cells())
}

func pairTable(rows []pairRow) *table.Table {
	return tableOf([]string{
		"method", "capacity", "prompts", "kl_difference", "kl_low", "kl_high", "kl_p",
		"logprob_difference", "logprob_low", "logprob_high", "logprob_p",
	}, rows)
}

// againstSnapKV compares every method with snapkv at the same capacity, prompt by
// prompt.
func againstSnapKV(results []decode.Result, seed uint64) []pairRow {
	type promptKey struct {
		capacity int
		id       string
	}
	own := map[promptKey]decode.Result{}
	others := map[cacheKey][]decode.Result{}
	var order []cacheKey
	for _, r := range results {
		at := cacheKey{r.Method, r.Capacity}
		switch {
		case r.Full():
			continue
		case r.Method == snapkv.SnapKV:
			own[promptKey{r.Capacity, r.ID}] = r
			continue
		case others[at] == nil:
			order = append(order, at)
		}
		others[at] = append(others[at], r)
	}
	var rows []pairRow
	for _, at := range order {
		var kl, logprob []float64
		for _, r := range others[at] {
			if o, ok := own[promptKey{r.Capacity, r.ID}]; ok {
				kl = append(kl, float64(r.KL-o.KL))
				logprob = append(logprob, float64(r.AnswerLogProb-o.AnswerLogProb))
			}
		}
		if len(kl) > 0 {
			rows = append(rows, pairRow{at.method, at.capacity, len(kl), differenceOf(kl, seed), differenceOf(logprob, seed)})
		}
	}
	return rows
}
