package experiments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/snapkv"
)

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
				for k, x := range []float64{
					sum, float64(first), float64(have) / float64(hi-lo),
					copied(last, reply.Head(h), reply.Keys, reply.Rows, p.Tokens[:p.PromptTokens], p.Tokens[p.PromptTokens:], lo, hi),
				} {
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
