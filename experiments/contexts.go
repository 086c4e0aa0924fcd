package experiments

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// contexts compares, for each pair of instructions on one document, the
// positions of the document that instruction and reply attend to most: 5 % of
// it in each head. The observation window is the instruction with its reply.
func contexts(ctx context.Context, l *Lab) (string, error) {
	reply, asks := 128, 3
	if l.Quick {
		reply, asks = 16, 2
	}
	docs, err := l.documents(reply)
	if err != nil {
		return "", err
	}
	var list []prompts.Prompt
	perSet := map[string]int{}
	for _, d := range docs {
		if len(d.Instructions) < 2 || l.Quick && perSet[d.set] == 1 {
			continue
		}
		perSet[d.set]++
		for i, ask := range d.Instructions[:min(asks, len(d.Instructions))] {
			p, err := l.chat(fmt.Sprintf("%s/%d", d.ID, i), d.set, d.ID, nil, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + ask})
			if err != nil {
				return "", err
			}
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return "", fmt.Errorf("no document has two instructions")
	}
	path, err := l.capture(ctx, "contexts", list, dumps.Plan{WindowRows: 128, MaxNewTokens: reply})
	if err != nil {
		return "", err
	}
	t, err := pairOverlaps(path, l.Seed)
	if err != nil {
		return "", err
	}
	if err := l.table(t, "overlap"); err != nil {
		return "", err
	}
	k := viz.Curves{Title: "overlap of important positions for pairs of instructions on one document", XLabel: "layer", YLabel: "overlap", Hi: 1, Meta: l.meta()}
	at := map[string]int{}
	overall := table.New(t.Columns...)
	for _, row := range t.Rows {
		set, layer := row[0].(string), row[1].(int)
		if layer < 0 {
			overall.Add(row...)
			continue
		}
		if strings.HasPrefix(set, "*") {
			continue
		}
		i, ok := at[set]
		if !ok {
			i = len(k.Series)
			at[set] = i
			k.Series = append(k.Series, viz.Series{Name: fmt.Sprintf("%s, n=%v", set, row[2])})
		}
		s := &k.Series[i]
		s.X, s.Y = append(s.X, float64(layer)), append(s.Y, row[4].(float64))
		s.Low, s.High = append(s.Low, row[5].(float64)), append(s.High, row[6].(float64))
	}
	k.Caption = l.caption("instruction and reply as the window; top 5 %% of the document in each head; n: documents; bands: 95 %% bootstrap over documents. Chance is 0.05.")
	if err := l.figure(viz.CurvesFigure(k), "overlap"); err != nil {
		return "", err
	}
	return "Overlap is the share of the selected positions of the document that two instructions have in common; chance is 0.05.\n`other_half` is a null for what belongs to the document alone: the same instruction's own rows, odd against even; `difference` is overlap\nminus that, paired by document, with its interval and the p-value of a sign-flip test.\n\n" +
		markdown(overall, "set", "documents", "pairs", "overlap", "ci_low", "ci_high", "overlap_without_first_four", "other_half", "difference", "difference_low", "difference_high", "p") + few(captured(perSet)), nil
}

// pairOverlaps are overlaps by set and layer, all layers as -1, sets of whole
// documents together as *, of truncated ones as * (truncated). A document's
// value is the mean over its pairs and heads.
func pairOverlaps(path string, seed uint64) (*table.Table, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	type key struct {
		set   string
		layer int
	}
	type value struct{ overlap, within, skipped []float64 }
	values, pairs, sets := map[key]*value{}, map[string]int{}, []string{}
	recorded := r.Prompts()
	for lo := 0; lo < len(recorded); {
		hi := lo + 1
		for hi < len(recorded) && recorded[hi].Document == recorded[lo].Document {
			hi++
		}
		group, set := recorded[lo:hi], recorded[lo].Dataset
		if len(group) < 2 {
			lo = hi
			continue
		}
		pool := "*"
		if strings.HasSuffix(set, truncatedGroup) {
			pool += truncatedGroup
		}
		for _, name := range []string{set, pool} {
			if !slices.Contains(sets, name) {
				sets = append(sets, name)
			}
		}
		shared := commonPrefix(group)
		k := hitrate.Budget(hitrate.PaperTop, shared)
		pairs[set] += len(group) * (len(group) - 1) / 2
		pairs[pool] += len(group) * (len(group) - 1) / 2
		var all value
		for _, layer := range r.Header().Plan.Layers {
			var over, within, skipped []float64
			keep := make([][][4][]int32, len(group)) // [prompt][head]: all rows, odd, even, without the first four
			for i := range group {
				if keep[i], err = votedFor(r, lo+i, layer, shared, k); err != nil {
					return nil, err
				}
			}
			for a := range group {
				for b := range a {
					for h := range keep[a] {
						over = append(over, float64(hitrate.Overlap(keep[a][h][0], keep[b][h][0]))/float64(k))
						skipped = append(skipped, float64(hitrate.Overlap(keep[a][h][3], keep[b][h][3]))/float64(k))
					}
				}
				for h := range keep[a] {
					within = append(within, float64(hitrate.Overlap(keep[a][h][1], keep[a][h][2]))/float64(k))
				}
			}
			for _, name := range []string{set, pool} {
				at := key{name, layer}
				if values[at] == nil {
					values[at] = &value{}
				}
				v := values[at]
				v.overlap, v.within, v.skipped = append(v.overlap, analysis.Mean(over)), append(v.within, analysis.Mean(within)), append(v.skipped, analysis.Mean(skipped))
			}
			all.overlap, all.within, all.skipped = append(all.overlap, analysis.Mean(over)), append(all.within, analysis.Mean(within)), append(all.skipped, analysis.Mean(skipped))
		}
		for _, name := range []string{set, pool} {
			at := key{name, -1}
			if values[at] == nil {
				values[at] = &value{}
			}
			v := values[at]
			v.overlap, v.within, v.skipped = append(v.overlap, analysis.Mean(all.overlap)), append(v.within, analysis.Mean(all.within)), append(v.skipped, analysis.Mean(all.skipped))
		}
		lo = hi
	}
	t := table.New("set", "layer", "documents", "pairs", "overlap", "ci_low", "ci_high", "other_half", "difference", "difference_low", "difference_high", "p", "overlap_without_first_four", "chance")
	for _, set := range sets {
		for _, layer := range append([]int{-1}, r.Header().Plan.Layers...) {
			v := values[key{set, layer}]
			low, high := analysis.Interval(v.overlap, seed)
			diff := make([]float64, len(v.overlap))
			for i := range diff {
				diff[i] = v.overlap[i] - v.within[i]
			}
			t.Add(slices.Concat([]any{set, layer, len(v.overlap), pairs[set], analysis.Mean(v.overlap), low, high, analysis.Mean(v.within)},
				differenceCells(diff, seed), []any{analysis.Mean(v.skipped), hitrate.PaperTop})...)
		}
	}
	return t, nil
}

func commonPrefix(group []dumps.Prompt) int {
	n := group[0].PromptTokens
	for _, p := range group[1:] {
		i := 0
		for i < min(n, p.PromptTokens) && p.Tokens[i] == group[0].Tokens[i] {
			i++
		}
		n = i
	}
	return n
}

// votedFor selects the k positions below shared that the rows after it, the
// instruction's and the reply's, attend to most; from all rows, from the odd,
// the even ones, and without the first four positions.
func votedFor(r *dumps.Reader, prompt, layer, shared, k int) ([][4][]int32, error) {
	rows, reply, err := recordedRows(r, prompt, layer)
	if err != nil {
		return nil, err
	}
	out := make([][4][]int32, rows.Heads)
	parallel.For(len(out), func(h int) {
		var vote [2][]float64
		vote[0], vote[1] = make([]float64, shared), make([]float64, shared)
		n := 0
		add := func(row []float32) {
			v := vote[n%2]
			for j := range v {
				v[j] += float64(row[j])
			}
			n++
		}
		for i := range rows.Rows {
			if rows.Pos0+i >= shared {
				add(rows.Head(h)[i*rows.Keys:])
			}
		}
		for i := range reply.Rows {
			add(reply.Head(h)[i*reply.Keys:])
		}
		all := make([]float64, shared)
		for j := range all {
			all[j] = vote[0][j] + vote[1][j]
		}
		skip := min(4, shared)
		out[h] = [4][]int32{snapkv.TopK(all, k), snapkv.TopK(vote[0], k), snapkv.TopK(vote[1], k), snapkv.TopK(all[skip:], k)}
	})
	return out, nil
}

// placements of an instruction around its document.
var placements = []string{"after", "before", "middle", "absent"}

// position rates replies with the instruction in four places, on matched
// content.
func position(ctx context.Context, l *Lab) (string, error) {
	reply, most := 128, 12
	if l.Quick {
		reply, most = 16, 2
	}
	docs, err := l.documents(reply)
	if err != nil {
		return "", err
	}
	var list []prompts.Prompt
	contents := map[string]int{} // by group: whole documents, truncated ones
	for ask := range 4 {
		for _, d := range docs {
			// Documents that are whole come first; truncated ones where they are few.
			if contents[group(d)] == most || ask >= len(d.Instructions) || d.truncated && contents[""] >= 10 {
				continue
			}
			contents[group(d)]++
			for _, place := range placements {
				p, err := l.chat(fmt.Sprintf("%s/%d/%s", d.ID, ask, place), place+group(d), "", nil, tokenizer.Message{Role: "user", Content: placed(d.Text, d.Instructions[ask], place)})
				if err != nil {
					return "", err
				}
				list = append(list, p)
			}
		}
	}
	path, err := l.capture(ctx, "position", list, dumps.Plan{WindowRows: 32, MaxNewTokens: reply, IgnoreEOS: l.Quick})
	if err != nil {
		return "", err
	}
	return l.ratePosition(ctx, path, list, contents)
}

// ratePosition is what position makes of its capture; contents are the numbers
// of matched contents by group.
func (l *Lab) ratePosition(ctx context.Context, path string, list []prompts.Prompt, contents map[string]int) (string, error) {
	cfg := analysis.Paper
	cfg.By, cfg.Seed = []analysis.By{analysis.ByLayer, analysis.ByDataset}, l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(analysis.HitRateTable(byLayer), "hit-rate"); err != nil {
		return "", err
	}
	for _, of := range []string{"", truncatedGroup} {
		if contents[of] == 0 {
			continue
		}
		k := layerCurves(byLayer, func(row *analysis.HitRateRow) string {
			place, ok := strings.CutSuffix(row.Dataset, of)
			if !ok || of == "" && strings.HasSuffix(place, truncatedGroup) {
				return ""
			}
			return place
		})
		k.Title, k.YLabel, k.Meta = "hit rate by place of the instruction"+of, "hit rate", l.meta()
		k.Caption = l.caption("window 32, top 5 %%, weight > 0.05; %d documents with instructions%s, matched; bands: 95 %% bootstrap. Grey: other choices of the same size, instruction after the document.", contents[of], of)
		if err := l.figure(viz.CurvesFigure(k), "hit-rate"+strings.Trim(strings.ReplaceAll(of, " (", "-"), ")")); err != nil {
			return "", err
		}
	}
	paired, err := pairedPlaces(ctx, path, list, cfg, l.Seed)
	if err != nil {
		return "", err
	}
	if err := l.table(paired, "paired"); err != nil {
		return "", err
	}
	words := "`difference` is against the instruction after the document, paired by content, with its 95 % bootstrap interval and the p-value of a sign-flip test.\n\n" +
		markdown(paired, paired.Columns...)
	for _, of := range []string{"", truncatedGroup} {
		if contents[of] > 0 {
			words += few(contents[of])
		}
	}
	return words + warningList(warnings), nil
}

// truncatedGroup ends the names of groups and sets of documents that lost their
// middle.
const truncatedGroup = " (truncated)"

func group(d document) string {
	if d.truncated {
		return truncatedGroup
	}
	return ""
}

// pairedPlaces holds the hit rates of every placement against those of the
// instruction after the document, by group of documents, with and without the
// first four positions.
func pairedPlaces(ctx context.Context, path string, list []prompts.Prompt, cfg analysis.HitRateConfig, seed uint64) (*table.Table, error) {
	paired := table.New("documents", "skip_first", "placement", "prompts", "hit_rate", "difference", "low", "high", "p", "sinks_recent", "chance")
	for _, skip := range []int{0, 4} {
		cfg.By, cfg.SkipFirst = []analysis.By{analysis.ByPrompt, analysis.ByDataset}, skip
		rows, _, err := analysis.HitRates(ctx, []string{path}, cfg)
		if err != nil {
			return nil, err
		}
		rates, sinks := map[string]float64{}, map[string][]float64{}
		for _, row := range rows {
			rates[row.Prompt] = row.HitRate
			sinks[row.Dataset] = append(sinks[row.Dataset], row.SinksRecent)
		}
		for _, of := range []string{"", truncatedGroup} {
			for _, place := range placements {
				var all, diff []float64
				for _, p := range list {
					if id, ok := strings.CutSuffix(p.ID, "/"+place); ok && p.Dataset == place+of {
						all = append(all, rates[p.ID])
						diff = append(diff, rates[p.ID]-rates[id+"/after"])
					}
				}
				if len(all) == 0 {
					continue
				}
				name := "whole"
				if of != "" {
					name = "truncated"
				}
				paired.Add(slices.Concat([]any{name, skip, place, len(all), analysis.Mean(all)}, differenceCells(diff, seed), []any{analysis.Mean(sinks[place+of]), hitrate.PaperTop})...)
			}
		}
	}
	return paired, nil
}

func placed(text, ask, place string) string {
	switch place {
	case "before":
		return ask + "\n\n" + text
	case "middle":
		at := len(text) / 2
		if dot := strings.Index(text[at:], ". "); dot >= 0 {
			at += dot + 2
		} else {
			for at < len(text) && text[at]&0xC0 == 0x80 { // not inside a character
				at++
			}
		}
		return text[:at] + "\n\n" + ask + "\n\n" + text[at:]
	case "absent":
		return text
	}
	return text + "\n\n" + ask
}

func captured(perSet map[string]int) int {
	n := 0
	for _, v := range perSet {
		n += v
	}
	return n
}
