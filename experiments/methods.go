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
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
	"github.com/attnscope/attnscope/viz/figures"
)

// methods judges every method on one capture, and decodes from what it keeps.
func methods(ctx context.Context, l *Lab) (string, error) {
	reply, most, capacities := 32, 10, []int{128, 256, 512, 1024}
	if l.Quick {
		reply, most, capacities = 8, 2, []int{128}
	}
	docs, err := l.documents(reply)
	if err != nil {
		return "", err
	}
	slices.SortStableFunc(docs, func(a, b document) int { // the shortest whole ones
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.tokens, b.tokens))
	})
	var list []prompts.Prompt
	for ask := 0; ask < 3; ask++ {
		for _, d := range docs {
			if ask < len(d.Instructions) && len(list) < most {
				var refs []string
				if ask < len(d.Outputs) {
					refs = d.Outputs[ask : ask+1]
				}
				p, err := l.chat(fmt.Sprintf("%s/%d", d.ID, ask), d.set, "", refs, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + d.Instructions[ask]})
				if err != nil {
					return "", err
				}
				list = append(list, p)
			}
		}
	}
	var configs []snapkv.Config
	for _, n := range capacities {
		configs = append(configs, snapkv.Config{Window: 32, Capacity: n, Kernel: 5, Pooling: "avgpool", Group: "head", Seed: l.Seed})
	}
	run := decode.Config{
		Model: l.Model, Prompts: list, Methods: snapkv.Methods, Configs: configs, MaxNewTokens: reply, Lenient: true, Batch: 8, Progress: l.Progress,
		Encode: func(text string) []int32 { return l.Tokenizer.Encode(text, false) },
		Decode: func(ids []int32) string { return l.Tokenizer.Decode(ids, true) },
	}
	k, err := l.openKept("methods", &run)
	if err != nil {
		return "", err
	}
	path, err := l.capture(ctx, "methods", list, dumps.Plan{WindowRows: 32, MaxNewTokens: reply, Values: true, Store: dumps.StoreFactors})
	if errors.Is(err, errPlanned) {
		return "", l.planDecode(list, 1+len(snapkv.Methods)*len(capacities), reply, k)
	}
	if err != nil {
		return "", err
	}
	cfg := analysis.MethodConfig{Methods: snapkv.Methods, Configs: configs, Thetas: []float64{0.05}, Lenient: true, Seed: l.Seed}
	rows, warnings, err := analysis.MethodsBy(ctx, []string{path}, cfg, nil, []analysis.By{analysis.ByLayer, analysis.ByHead})
	if err != nil {
		return "", err
	}
	kept := analysis.MethodTable(rows[0])
	if err := l.table(kept, "kept"); err != nil {
		return "", err
	}
	if _, err := figures.Methods(l.dir(), rows[0], rows[1], l.Origin); err != nil {
		return "", err
	}
	results, err := k.run(ctx, l, run)
	if err != nil {
		return "", err
	}
	real := decode.Summary(results, l.Seed).Pick("method", "capacity", "window", "kernel", "pooling", "group", "prompts", "ppl", "kl", "kl_low", "kl_high", "agreement",
		"answer_logprob", "answer_rank", "f1", "rouge_l", "contains", "cache_bytes") // no times: equal runs leave equal tables
	if err := l.table(real, "decoded"); err != nil {
		return "", err
	}
	against := againstSnapKV(results, l.Seed)
	if err := l.table(against, "paired"); err != nil {
		return "", err
	}
	curves := viz.Curves{Title: "real loss of compressed decoding: mean KL from the full cache", XLabel: "capacity (positions a head, window included)", YLabel: "KL, nats a token", LogX: true, LogY: true, Meta: l.meta()}
	curves.Caption = l.caption("%d prompts, replies of up to %d tokens, teacher forced; band: 95 %% bootstrap interval of snapkv, the others' are as wide; differences from snapkv are in paired.csv", len(list), reply)
	at := map[string]int{}
	for _, row := range real.Rows {
		name := row[0].(string)
		if name == snapkv.Full {
			continue
		}
		i, ok := at[name]
		if !ok {
			i = len(curves.Series)
			at[name] = i
			curves.Series = append(curves.Series, viz.Series{Name: name, Baseline: snapkv.RoleOf(name) != snapkv.Selector})
		}
		s := &curves.Series[i]
		s.X, s.Y = append(s.X, float64(row[1].(int))), append(s.Y, row[real.Column("kl")].(float64))
		if name == "snapkv" { // the bands of all would hide each other
			s.Low, s.High = append(s.Low, row[real.Column("kl_low")].(float64)), append(s.High, row[real.Column("kl_high")].(float64))
		}
	}
	if err := l.figure(viz.CurvesFigure(curves), "kl-capacity"); err != nil {
		return "", err
	}
	return "## What is kept\n\n" + markdown(kept, "method", "capacity", "prompts", "mass", "mass_of_oracle", "hit_rate", "recall", "coverage", "output_error") +
		"\n## What the reply loses\n\nperplexity, KL and agreement on the full cache's reply, answer_logprob, f1 and rouge_l against the reference answer:\n\n" +
		markdown(real, "method", "capacity", "prompts", "ppl", "kl", "kl_low", "kl_high", "agreement", "answer_logprob", "f1", "rouge_l") +
		"\nEach method minus snapkv at its capacity, prompt by prompt, with intervals and the p-values of sign-flip tests; kl above zero and answer_logprob\nbelow zero: worse than snapkv:\n\n" + markdown(against, against.Columns...) + few(len(list)) + warningList(warnings), nil
}

// againstSnapKV holds every method against snapkv at its capacity, prompt by
// prompt: differences are the method's value minus snapkv's.
func againstSnapKV(results []decode.Result, seed uint64) *table.Table {
	type cache struct {
		method   string
		capacity int
	}
	type place struct {
		capacity int
		id       string
	}
	own, others := map[place]decode.Result{}, map[cache][]decode.Result{}
	var order []cache
	for _, r := range results {
		at := cache{r.Method, r.Capacity}
		switch {
		case r.Full():
			continue
		case r.Method == "snapkv":
			own[place{r.Capacity, r.ID}] = r
			continue
		case others[at] == nil:
			order = append(order, at)
		}
		others[at] = append(others[at], r)
	}
	t := table.New("method", "capacity", "prompts", "kl_difference", "kl_low", "kl_high", "kl_p", "logprob_difference", "logprob_low", "logprob_high", "logprob_p")
	for _, at := range order {
		var kl, logprob []float64
		for _, r := range others[at] {
			if o, ok := own[place{r.Capacity, r.ID}]; ok {
				kl = append(kl, float64(r.KL-o.KL))
				logprob = append(logprob, float64(r.AnswerLogProb-o.AnswerLogProb))
			}
		}
		if len(kl) == 0 {
			continue
		}
		t.Add(slices.Concat([]any{at.method, at.capacity, len(kl)}, differenceCells(kl, seed), differenceCells(logprob, seed))...)
	}
	return t
}
