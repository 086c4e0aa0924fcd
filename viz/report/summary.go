package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/snapkv"
)

// answer is a question of the summary with its answer.
type answer struct {
	Question string
	Text     string
}

// answers returns the summary of the first model, whose numbers come first.
func answers(n *numbers) []answer {
	all := n.all.overall[0]
	without := n.without.overall[0]
	list := []answer{
		{"Did the window vote for what the reply attended to?", voted(&all, &without, n.cfg) + spread(n.without.byLayer, n.cfg)},
		{"How much is due to the first positions?", sinkShare(&all, &without, n.cfg)},
		{"Which layers miss most?", lowest("layer", placesOf(n.without.byLayer), n.cfg)},
		{"Which heads miss most?", lowest("head", placesOf(n.without.byHead), n.cfg)},
	}
	if text := bestMethods(&n.methods); text != "" {
		list = append(list, answer{"Which method keeps most?", text})
	}
	for _, note := range analysis.FewPromptsNote(all.Prompts) {
		list = append(list, answer{"How sure are the intervals?", note})
	}
	return list
}

// voted compares the hit rate with its baselines.
func voted(all, without *analysis.HitRateRow, cfg Config) string {
	return fmt.Sprintf("The vote kept %s of the attended positions; without the first %d positions, %s. "+
		"For comparison, the same number of random positions would keep %s, and the first four positions with the "+
		"last ones %s. Without the first %d positions, the last ones would keep %s.",
		rated(all, cfg), cfg.SkipFirst, rated(without, cfg), number(all.Chance), number(all.SinksRecent), cfg.SkipFirst,
		number(without.Recent))
}

// spread says in which layers the attended positions without the first ones are.
func spread(byLayer []analysis.HitRateRow, cfg Config) string {
	list := slices.Clone(byLayer)
	list = slices.DeleteFunc(list, func(r analysis.HitRateRow) bool { return r.Model != list[0].Model })
	text := analysis.SpreadOf(list, cfg.MinSignificant).Text("attended positions")
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" Without the first %d positions: %s", cfg.SkipFirst, text)
}

// rated writes a rate with its interval and the number of positions that it rests on.
func rated(r *analysis.HitRateRow, cfg Config) string {
	var about []string
	if !math.IsNaN(r.Low) {
		about = append(about, fmt.Sprintf("95 %% interval %s to %s", number(r.Low), number(r.High)))
	}
	positions := fmt.Sprintf("n = %d", r.Significant)
	if r.Significant < cfg.MinSignificant {
		positions += ", too few for a conclusion"
	}
	return fmt.Sprintf("%s (%s)", number(r.HitRate), strings.Join(append(about, positions), "; "))
}

// sinkShare says which share of the attended positions are first ones.
func sinkShare(all, without *analysis.HitRateRow, cfg Config) string {
	if all.Significant == 0 {
		return "No position has a weight above the threshold."
	}
	share := 1 - float64(without.Significant)/float64(all.Significant)
	return fmt.Sprintf("%.0f %% of the attended positions are among the first %d (%d of %d). They receive attention whatever the "+
		"text says, and the window nearly always votes for them, which raises the rate.",
		100*share, cfg.SkipFirst, all.Significant-without.Significant, all.Significant)
}

// place is a layer or a head with its rate.
type place struct {
	name string
	*analysis.HitRateRow
}

// placesOf names the rows of the first model.
func placesOf(list []analysis.HitRateRow) []place {
	var out []place
	for i := range list {
		r := &list[i]
		if r.Model != list[0].Model {
			continue
		}
		name := fmt.Sprintf("layer %d", r.Layer)
		if r.Head >= 0 {
			name += fmt.Sprintf(" head %d", r.Head)
		}
		out = append(out, place{name, r})
	}
	return out
}

// lowest names the places with the lowest rates without the first positions, and says
// how many places are left out because they have too few attended positions. kind is
// layer or head.
func lowest(kind string, list []place, cfg Config) string {
	const named = 5
	enough := slices.Clone(list)
	enough = slices.DeleteFunc(enough, func(p place) bool { return p.Significant < cfg.MinSignificant })
	slices.SortStableFunc(enough, func(a, b place) int { return cmp.Compare(a.HitRate, b.HitRate) })
	var words []string
	sparse := false
	for _, p := range enough[:min(named, len(enough))] {
		n := fmt.Sprintf("n = %d", p.Significant)
		if p.HasSparsePrompt(cfg.MinSignificant) {
			n += fmt.Sprintf(", only %d in one prompt", p.Sparsest)
			sparse = true
		}
		words = append(words, fmt.Sprintf("%s (%s, %s)", p.name, number(p.HitRate), n))
	}
	text := fmt.Sprintf("Every %s has fewer than %d attended positions, too few for a conclusion.", kind, cfg.MinSignificant)
	if words != nil {
		text = fmt.Sprintf("Without the first %d positions: %s.", cfg.SkipFirst, strings.Join(words, ", "))
	}
	if sparse {
		text += " A rate is a mean over prompts: one with only a few positions counts as much as any other."
	}
	if few := len(list) - len(enough); few > 0 && words != nil {
		text += fmt.Sprintf(" %d of %d %ss are left out, because they have fewer than %d attended positions there.",
			few, len(list), kind, cfg.MinSignificant)
	}
	return text
}

// sizeRows makes the table of hit rates by size of the window, for the first model.
func sizeRows(n *numbers) *rows {
	out := &rows{Head: []string{
		"window", "hit rate", "from", "to", "attended positions",
		fmt.Sprintf("without the first %d", n.cfg.SkipFirst), "from", "to", "attended positions",
	}}
	for i := range n.all.sizes {
		all := &n.all.sizes[i]
		if all.Model != n.all.sizes[0].Model {
			continue
		}
		out.Cells = append(out.Cells, slices.Concat(
			[]cell{{Text: fmt.Sprint(all.Window)}}, rateCells(all, n.cfg), rateCells(&n.without.sizes[i], n.cfg),
		))
	}
	return out
}

// bestMethods names the selecting methods that keep most at each capacity; empty if there
// is no comparison.
func bestMethods(c *comparison) string {
	var words []string
	for _, capacity := range c.capacities {
		var best *analysis.MethodRow
		rows := c.selectors(capacity)
		for i := range rows {
			if best == nil || rows[i].Mass > best.Mass {
				best = &rows[i]
			}
		}
		if best != nil {
			words = append(words, kept(best, rows))
		}
	}
	if words == nil {
		return ""
	}
	return fmt.Sprintf("Of the methods shown below, these keep the largest share of the reply's attention to the prefix, by capacity "+
		"(%s): %s. attnscope snapkv --method all compares more methods. attnscope advise recommends a method and a budget "+
		"for a loss that you accept; it predicts that loss from the weights that each head drops, so it can name another method.",
		c.settings, strings.Join(words, "; "))
}

// selectors returns the rows of the first model's selecting methods at a capacity.
func (c *comparison) selectors(capacity int) []analysis.MethodRow {
	var list []analysis.MethodRow
	for _, r := range c.rows {
		if r.Capacity == capacity && r.Model == c.rows[0].Model && snapkv.RoleOf(r.Method) == snapkv.Selector {
			list = append(list, r)
		}
	}
	return list
}

// kept names the best method of rows with its interval, and those whose intervals overlap
// with it.
func kept(best *analysis.MethodRow, rows []analysis.MethodRow) string {
	text := fmt.Sprintf("%s at %d (%s", best.Method, best.Capacity, number(best.Mass))
	if math.IsNaN(best.Low) {
		return text + ")"
	}
	text += fmt.Sprintf(", 95 %% interval %s to %s", number(best.Low), number(best.High))
	var others []string
	for i := range rows {
		if r := &rows[i]; r.Method != best.Method && r.High >= best.Low {
			others = append(others, r.Method+" "+number(r.Mass))
		}
	}
	if others != nil {
		text += "; overlapping: " + strings.Join(others, ", ")
	}
	return text + ")"
}
