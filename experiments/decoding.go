package experiments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/capture/tokenizer"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
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
	c := decode.Config{Model: l.Model, Prompts: list, MaxNewTokens: reply, IgnoreEOS: ignoreEOS, Score: "contains", Progress: l.Progress,
		Encode: func(text string) []int32 { return l.Tokenizer.Encode(text, false) },
		Decode: func(ids []int32) string { return l.Tokenizer.Decode(ids, true) }}
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
		name := "full"
		if r.Method != "full" {
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
		s := viz.Summary{Title: "correct answers: " + label, XLabel: xlabel, YLabel: "depth of the answer, %", BarTitle: "share correct", Rates: g, Meta: l.meta(),
			Caption: l.caption("n = %d; %d correct (%.2f, 95 %% bootstrap interval %.2f to %.2f)", len(right), correct, analysis.Mean(right), low, high)}
		for _, n := range lengths {
			s.Columns = append(s.Columns, fmt.Sprint(n))
		}
		for _, d := range depths {
			s.Layers = append(s.Layers, int(100*d+0.5))
		}
		if err := l.figure(viz.SummaryFigure(s), prefix+"grid-"+viz.SafeName(strings.ReplaceAll(label, " ", "-"))); err != nil {
			return "", err
		}
	}
	if err := l.table(summary, prefix+"accuracy"); err != nil {
		return "", err
	}
	paired := l.pairedCaches(results)
	if err := l.table(paired, prefix+"paired"); err != nil {
		return "", err
	}
	return markdown(summary, summary.Columns...) + "\nThe same prompts under two caches of one capacity, with intervals and the p-values of sign-flip tests:\n\n" + markdown(paired, paired.Columns...), nil
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
		if r.label == "full" {
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
			if !ok || r.label == "full" || first[r.Capacity] == label {
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
		clow, chigh := analysis.Interval(correct, l.Seed)
		llow, lhigh := analysis.Interval(logprob, l.Seed)
		t.Add(other, label, len(correct), analysis.Mean(correct), clow, chigh, analysis.SignFlip(correct, l.Seed), analysis.Mean(logprob), llow, lhigh, analysis.SignFlip(logprob, l.Seed))
	}
	return t
}

// pooling is LongEval's lines task with and without pooling.
func pooling(ctx context.Context, l *Lab) (string, error) {
	lines, depths, repeats := []int{20, 50, 100, 150}, []float64{0, 0.25, 0.5, 0.75, 0.99}, 2
	capacities := []int{256, 512}
	if l.Quick {
		lines, depths, repeats, capacities = []int{12}, []float64{0, 0.5}, 1, []int{128}
	}
	var tasks []retrieval
	for _, n := range lines {
		for _, d := range depths {
			for rep := range repeats {
				text, answer := lineTask(l.Seed+uint64(1000*rep)+uint64(100*d), n, d)
				id := fmt.Sprintf("lines-%d-%.0f-%d", n, 100*d, rep)
				p, err := l.chat(id, "lines", "", []string{answer}, tokenizer.Message{Role: "user", Content: text})
				if err != nil {
					return "", err
				}
				tasks = append(tasks, retrieval{n, d, p})
			}
		}
	}
	words, err := l.grid(ctx, "", tasks, l.retrievalChoices(16, capacities...), 16, "lines in the record")
	return "Window 16, kernel 5, maxpool, as the paper's setting. An answer is correct when it holds the number; `answer_rank` is the mean rank of\nthe number's tokens, 1 is best: it tells caches apart where the model is too small to answer.\n\n" + words + few(len(tasks)), err
}

// needle hides a sentence in a long text.
func needle(ctx context.Context, l *Lab) (string, error) {
	lengths, depths := []int{1000, 2000, 4000, 7000}, []float64{0, 0.25, 0.5, 0.75, 1}
	capacities := []int{256, 1024}
	if l.Quick {
		lengths, depths, capacities = []int{400}, []float64{0, 0.5}, []int{128}
	}
	hay, err := l.haystack()
	if err != nil {
		return "", err
	}
	var tasks []retrieval
	for _, n := range lengths {
		for _, d := range depths {
			p, err := l.chat(fmt.Sprintf("needle-%d-%.0f", n, 100*d), "needle", "", []string{needleAnswer}, tokenizer.Message{Role: "user", Content: needleTask(l.Tokenizer, hay, n, d)})
			if err != nil {
				return "", err
			}
			tasks = append(tasks, retrieval{n, d, p})
		}
	}
	words, err := l.grid(ctx, "", tasks, l.retrievalChoices(16, capacities...), 24, "length, tokens")
	if err != nil && !errors.Is(err, errPlanned) {
		return "", err
	}
	heads, err := l.needleHeads(ctx, tasks)
	if err != nil {
		return "", err
	}
	return "The needle of the original test, window 16, kernel 5, maxpool. heads.csv has, for each head, the mass that the window gives the\nneedle's tokens, the best rank of one of them among the votes, and the retrieval score.\n\n" + words + "\n" + heads + few(len(tasks)), nil
}

// ruler is retrieval of numbers hidden in a text, after RULER's tasks niah_single
// and niah_multikey (arXiv:2404.06654), made on the fly.
func ruler(ctx context.Context, l *Lab) (string, error) {
	lengths, depths, capacities := []int{1000, 2000, 4000}, []float64{0, 0.25, 0.5, 0.75, 1}, []int{256, 1024}
	if l.Quick {
		lengths, depths, capacities = []int{400}, []float64{0.5}, []int{128}
	}
	hay, err := l.haystack()
	if err != nil {
		return "", err
	}
	words := "Numbers hidden in a text, one of them asked for; window 16, kernel 5, maxpool. `single` hides one, `multikey` four, of which three\nmislead. An answer is correct when it holds the number.\n"
	total := 0
	var planned error
	for _, kind := range []struct {
		name string
		keys int
	}{{"single", 1}, {"multikey", 4}} {
		var tasks []retrieval
		for _, n := range lengths {
			for _, d := range depths {
				text, answer := rulerTask(l.Tokenizer, l.Seed+uint64(1000*n)+uint64(100*d), hay, n, d, kind.keys)
				p, err := l.chat(fmt.Sprintf("ruler-%s-%d-%.0f", kind.name, n, 100*d), "ruler-"+kind.name, "", []string{answer}, tokenizer.Message{Role: "user", Content: text})
				if err != nil {
					return "", err
				}
				tasks = append(tasks, retrieval{n, d, p})
			}
		}
		table, err := l.grid(ctx, kind.name+"-", tasks, l.retrievalChoices(16, capacities...), 24, "length, tokens")
		if errors.Is(err, errPlanned) {
			planned = err
		} else if err != nil {
			return "", err
		}
		words += "\n## " + kind.name + "\n\n" + table
		total += len(tasks)
	}
	return words + few(total), planned
}

// needleHeads tells which heads of the window look at the needle, and which
// would copy it.
func (l *Lab) needleHeads(ctx context.Context, tasks []retrieval) (string, error) {
	path, err := l.capture(ctx, "needle", withNeedle(tasks, needleText), dumps.Plan{WindowRows: 16, MaxNewTokens: 64})
	if err != nil {
		return "", err
	}
	t, err := needleTable(path, needleText)
	if err != nil {
		return "", err
	}
	if err := l.table(t, "heads"); err != nil {
		return "", err
	}
	if err := l.headMap(t, "retrieval", "retrieval score of each head", "share of the needle copied", fmt.Sprintf("%d prompts; the needle as the reply, teacher forced", len(tasks)), "retrieval-heads"); err != nil {
		return "", err
	}
	best, where, heads := 0.0, "", 0
	for _, row := range t.Rows {
		if m := row[3].(float64); m > best {
			best, where = m, fmt.Sprintf("layer %d, head %d", row[0], row[1])
		}
		if row[t.Column("retrieval")].(float64) > 0.1 {
			heads++
		}
	}
	return fmt.Sprintf("The head whose window looks at the needle most is %s, with %.3f of its weight. %d of %d heads copy more than a tenth of the needle\n"+
		"(the threshold of retrieval heads, arXiv:2404.15574) when the needle is followed as the reply.\n", where, best, heads, len(t.Rows)), nil
}

// needleTable has, by layer and head, means over prompts: the mass that the
// window gives the needle's tokens, the best rank of one among the votes, the
// share of them kept at a capacity of 256, and the share copied.
func needleTable(path, needle string) (*table.Table, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := table.New("layer", "head", "prompts", "mass", "best_rank", "kept_at_256", "retrieval")
	plan := r.Header().Plan
	for _, layer := range plan.Layers {
		values := make([][4][]float64, len(plan.Heads)) // mass, rank, kept, copied
		for i := range r.Prompts() {
			p := &r.Prompts()[i]
			lo, hi := spanOf(p.Text, p.Offsets, needle)
			if hi = min(hi, p.PromptTokens-p.WindowRows); lo < 0 || lo >= hi {
				continue
			}
			rows, err := r.Weights(i, layer, dumps.Prefill)
			if err != nil {
				return nil, err
			}
			reply, err := r.Weights(i, layer, dumps.Decode)
			if err != nil {
				return nil, err
			}
			for h := range values {
				vote := snapkv.Vote(rows.Head(h), rows.Rows, rows.Keys, rows.Rows, rows.Keys-rows.Rows)
				sum, first := 0.0, len(vote)
				for j := lo; j < hi; j++ {
					sum += vote[j] / float64(rows.Rows)
					above := 1
					for _, v := range vote {
						if v > vote[j] {
							above++
						}
					}
					first = min(first, above)
				}
				pooled, err := snapkv.Pool(vote, 5, "maxpool")
				if err != nil {
					return nil, err
				}
				have := 0
				for _, j := range snapkv.TopK(pooled, 256-rows.Rows) {
					if int(j) >= lo && int(j) < hi {
						have++
					}
				}
				last := rows.Head(h)[(rows.Rows-1)*rows.Keys : rows.Rows*rows.Keys]
				for k, x := range []float64{sum, float64(first), float64(have) / float64(hi-lo),
					copied(last, reply.Head(h), reply.Keys, reply.Rows, p.Tokens[:p.PromptTokens], p.Tokens[p.PromptTokens:], lo, hi)} {
					values[h][k] = append(values[h][k], x)
				}
			}
		}
		for h, v := range values {
			t.Add(layer, plan.Heads[h], len(v[0]), analysis.Mean(v[0]), analysis.Mean(v[1]), analysis.Mean(v[2]), analysis.Mean(v[3]))
		}
	}
	return t, nil
}

// spanOf finds the tokens of a phrase in a text whose tokens end at the given
// bytes, [lo, hi); -1 if it is not there.
func spanOf[I int | int32](text string, ends []I, phrase string) (lo, hi int) {
	at := strings.Index(text, phrase)
	if at < 0 || len(ends) == 0 {
		return -1, -1
	}
	lo, _ = slices.BinarySearch(ends, I(at+1))
	hi, _ = slices.BinarySearch(ends, I(at+len(phrase)))
	return lo, hi + 1
}

// speed decodes after prompts of growing length, from the full cache and from
// compressed ones.
func speed(ctx context.Context, l *Lab) (string, error) {
	lengths, capacity, reply := []int{512, 1024, 2048, 4096, 8000}, 1024, 32
	if l.Quick {
		lengths, capacity, reply = []int{256, 512}, 128, 8
	}
	if n := l.Config.MaxPositions; n > 0 {
		lengths = slices.DeleteFunc(lengths, func(x int) bool { return x+reply > n })
	}
	r := rand.New(rand.NewPCG(l.Seed, 1))
	t := table.New("prompt_tokens", "cache", "capacity", "prefill_tok_s", "decode_tok_s", "ms_a_token", "speedup", "cache_bytes", "bytes_share")
	k := viz.Curves{Title: "decode time by prompt length", XLabel: "prompt tokens", YLabel: "milliseconds a token", LogX: true, Meta: l.meta()}
	base := snapkv.Config{Window: 32, Capacity: capacity, Kernel: 5, Pooling: "avgpool", Group: "head", Seed: l.Seed}
	grouped := base
	grouped.Group = "mean"
	choices := []choice{{"snapkv by query head", "snapkv", base}, {"snapkv by kv head", "snapkv", grouped}}
	series := map[string]*viz.Series{}
	var order []string
	for _, n := range lengths {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(r.IntN(l.Config.Vocab))
		}
		results, err := l.decodeAll(ctx, "", []prompts.Prompt{{ID: fmt.Sprint(n), Tokens: ids}}, choices, reply, true)
		if errors.Is(err, errPlanned) {
			continue
		}
		if err != nil {
			return "", err
		}
		full := results[0]
		for _, x := range results {
			if x.label != "full" && n < capacity {
				continue
			}
			ms := 1000 / float64(x.DecodeTokens)
			t.Add(n, x.label, x.Capacity, float64(x.PrefillTokens), float64(x.DecodeTokens), ms, float64(x.DecodeTokens)/float64(full.DecodeTokens), int(x.CacheBytes), float64(x.CacheBytes)/float64(full.CacheBytes))
			if series[x.label] == nil {
				series[x.label] = &viz.Series{Name: x.label}
				order = append(order, x.label)
			}
			s := series[x.label]
			s.X, s.Y = append(s.X, float64(n)), append(s.Y, ms)
		}
	}
	for _, name := range order {
		k.Series = append(k.Series, *series[name])
	}
	if l.Model == nil {
		return "", errPlanned
	}
	k.Caption = l.caption("capacity %d, window 32; %d tokens decoded; one sequence; %d threads. Wall-clock times: they differ from run to run.", capacity, reply, l.Threads)
	if err := l.table(t, "speed"); err != nil {
		return "", err
	}
	if err := l.figure(viz.CurvesFigure(k), "speed"); err != nil {
		return "", err
	}
	length, sizes := 4096, []int{1, 2, 4, 8}
	if l.Quick {
		length, sizes = 256, []int{1, 2}
	}
	if n := l.Config.MaxPositions; n > 0 {
		length = min(length, n-reply-1)
	}
	many, err := l.batches(ctx, length, min(capacity, length), reply, sizes)
	if err != nil {
		return "", err
	}
	if err := l.table(many, "batch"); err != nil {
		return "", err
	}
	if err := l.figure(l.batchFigure(many), "batch"); err != nil {
		return "", err
	}
	return "By query head, the published layout, every query head has a cache of its own: with a group of g heads it holds g times the rows of\nthe layout by kv head.\n\n" + markdown(t, t.Columns...) +
		"\n## Several sequences at once\n\nA step reads the weights once for all of them, and every cache.\n\n" + markdown(many, many.Columns...), nil
}

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
				p, err := l.chat(fmt.Sprintf("%s/%d", d.ID, ask), d.set, "", nil, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + d.Instructions[ask]})
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
	run := decode.Config{Model: l.Model, Prompts: list, Methods: snapkv.Methods, Configs: configs, MaxNewTokens: reply, Lenient: true, Batch: 8, Progress: l.Progress,
		Encode: func(text string) []int32 { return l.Tokenizer.Encode(text, false) },
		Decode: func(ids []int32) string { return l.Tokenizer.Decode(ids, true) }}
	k, err := l.openKept("methods", &run)
	if err != nil {
		return "", err
	}
	path, err := l.capture(ctx, "methods", list, dumps.Plan{WindowRows: 32, MaxNewTokens: reply, Values: true, Store: "factors"})
	if errors.Is(err, errPlanned) {
		return "", l.planDecode(list, 1+len(snapkv.Methods)*len(capacities), reply, k)
	}
	if err != nil {
		return "", err
	}
	cfg := analysis.MethodConfig{Methods: snapkv.Methods, Configs: configs, Thetas: []float64{0.05}, Lenient: true, Seed: l.Seed}
	tables, warnings, err := analysis.MethodTables(ctx, []string{path}, cfg, nil, []string{"layer", "head"})
	if err != nil {
		return "", err
	}
	if err := l.table(tables[0], "kept"); err != nil {
		return "", err
	}
	if _, err := viz.MethodFigures(l.dir(), tables[0], tables[1], l.Origin); err != nil {
		return "", err
	}
	results, err := k.run(ctx, l, run)
	if err != nil {
		return "", err
	}
	real := decode.Summary(results, l.Seed)
	if err := l.table(real, "decoded"); err != nil {
		return "", err
	}
	curves := viz.Curves{Title: "real loss of compressed decoding", XLabel: "capacity (positions a head, window included)", YLabel: "mean KL from the full cache, nats a token", LogX: true, Meta: l.meta()}
	curves.Caption = l.caption("%d prompts, replies of up to %d tokens, teacher forced; bands: 95 %% bootstrap intervals", len(list), reply)
	at := map[string]int{}
	for _, row := range real.Rows {
		name := row[0].(string)
		if name == "full" {
			continue
		}
		i, ok := at[name]
		if !ok {
			i = len(curves.Series)
			at[name] = i
			curves.Series = append(curves.Series, viz.Series{Name: name, Baseline: slices.Contains([]string{"random", "recent", "oracle"}, name)})
		}
		s := &curves.Series[i]
		s.X, s.Y = append(s.X, float64(row[1].(int))), append(s.Y, row[real.Column("kl")].(float64))
		s.Low, s.High = append(s.Low, row[real.Column("kl_low")].(float64)), append(s.High, row[real.Column("kl_high")].(float64))
	}
	if err := l.figure(viz.CurvesFigure(curves), "kl-capacity"); err != nil {
		return "", err
	}
	return "## What is kept\n\n" + markdown(tables[0], "method", "capacity", "prompts", "mass", "mass_of_oracle", "hit_rate", "recall", "coverage", "output_error") +
		"\n## What the reply loses\n\n" + markdown(real, "method", "capacity", "prompts", "ppl", "kl", "kl_low", "kl_high", "agreement") + few(len(list)) + warningList(warnings), nil
}
