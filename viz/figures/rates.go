package figures

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// RateMap draws hit rates as maps with a row for each layer. Rows of several models are
// not mixed: it draws those of the first.
type RateMap struct {
	SkipFirst      int // first positions that the rates leave out
	MinSignificant int // cells of fewer significant positions are hatched
	// Model says which layers have no attention and how many heads the others have. Nil:
	// all layers have the same heads.
	Model *dumps.ModelInfo
	Meta  viz.Meta
}

// Heads draws rates by layer and head.
func (m *RateMap) Heads(rows []analysis.HitRateRow) *viz.Figure {
	s := m.summary(rows, func(r *analysis.HitRateRow) int { return r.Head })
	m.markHeads(&s, rows[0].Model)
	s.Title = fmt.Sprintf("hit rate%s, window %d", m.without(), rows[0].Window)
	s.XLabel = "query head"
	return viz.SummaryFigure(s)
}

// Windows draws rates by layer and size of the observation window. The rates are of the
// same positions ([analysis.HitRateConfig.SamePrefix]).
func (m *RateMap) Windows(rows []analysis.HitRateRow) *viz.Figure {
	s := m.summary(rows, func(r *analysis.HitRateRow) int { return r.Window })
	s.Title = fmt.Sprintf("hit rate%s by size of the observation window", m.without())
	s.XLabel = "observation window (prompt rows)"
	s.Caption += fmt.Sprintf(" All windows are rated on the same positions, the prefix of the largest window, %d.", rows[len(rows)-1].Window)
	return viz.SummaryFigure(s)
}

// without says which positions are left out.
func (m *RateMap) without() string {
	if m.SkipFirst == 0 {
		return ""
	}
	return fmt.Sprintf(" without the first %d positions", m.SkipFirst)
}

// summary returns the map of the rates with a column for each value of column.
func (m *RateMap) summary(rows []analysis.HitRateRow, column func(*analysis.HitRateRow) int) viz.Summary {
	first := &rows[0]
	rows = slices.Clone(rows)
	rows = slices.DeleteFunc(rows, func(r analysis.HitRateRow) bool { return r.Model != first.Model })
	prompts := 0
	for i := range rows {
		prompts = max(prompts, rows[i].Prompts)
	}
	s := viz.Summary{
		Caption: fmt.Sprintf("%s, mean over %s; kept: top %.3g %% of the prefix; significant: weight > %.3g. "+
			"Gray: no weight was significant; hatched: fewer than %d significant positions. The color scale is logarithmic in the miss rate, 1 - hit rate.",
			first.Model, words.Count(prompts, "prompt"), 100*first.Top, first.Theta, m.MinSignificant),
		BarTitle: "hit rate (log scale of 1 - hit rate)",
		Misses:   true,
		Meta:     m.Meta,
	}
	m.setRates(&s, rows, column)
	return s
}

// knows reports whether the layers of a model are known, by its id.
func (m *RateMap) knows(id string) bool { return m.Model != nil && m.Model.ID == id }

// holes lists the layers of a model without attention.
func (m *RateMap) holes(id string) []int {
	var list []int
	if !m.knows(id) {
		return nil
	}
	for l := range m.Model.Layers {
		if s := m.Model.Layer(l); !s.HasAttention() {
			list = append(list, l)
		}
	}
	return list
}

// markHeads marks the cells of heads that a layer does not have.
func (m *RateMap) markHeads(s *viz.Summary, id string) {
	if !m.knows(id) {
		return
	}
	none := make([]bool, len(s.Rates.Values))
	for row, layer := range s.Layers {
		for at, label := range s.Columns {
			head, err := strconv.Atoi(label)
			none[row*len(s.Columns)+at] = err == nil && head >= m.Model.Layer(layer).Heads
		}
	}
	if slices.Contains(none, true) {
		s.None = none
	}
}

// LongestWindow returns the longest window that is compared with the chosen one: the number
// of recorded rows or, if that is less, half of the shortest prompt, since all windows are
// rated on its prefix.
func LongestWindow(recorded, shortest, chosen int) int {
	return max(chosen, min(recorded, shortest/2))
}

// Windows returns the sizes of observation windows that are compared: the powers of two
// up to the longest, and the chosen window.
func Windows(longest, chosen int) []int {
	var list []int
	for w := 1; w <= longest; w *= 2 {
		list = append(list, w)
	}
	if !slices.Contains(list, chosen) {
		list = append(list, chosen)
		slices.Sort(list)
	}
	return list
}

// setRates fills a summary with hit rates: a row for each layer, and a column for
// each value of column. Rates of too few significant positions are marked, and so are
// layers without attention.
func (m *RateMap) setRates(s *viz.Summary, rows []analysis.HitRateRow, column func(*analysis.HitRateRow) int) {
	var layers, columns []int
	for i := range rows {
		layers = append(layers, rows[i].Layer)
		columns = append(columns, column(&rows[i]))
	}
	holes := m.holes(rows[0].Model)
	layers = distinct(append(layers, holes...))
	columns = distinct(columns)
	s.Layers = layers
	s.Columns = labels(columns)
	s.Rates = viz.NewGrid(len(layers), len(columns))
	s.Few = make([]bool, len(layers)*len(columns))
	for i := range rows {
		row := slices.Index(layers, rows[i].Layer)
		at := slices.Index(columns, column(&rows[i]))
		s.Rates.Set(row, at, rows[i].HitRate)
		s.Few[row*len(columns)+at] = rows[i].Significant > 0 && rows[i].Significant < m.MinSignificant
	}
	if len(holes) == 0 {
		return
	}
	s.NoAttention = make([]bool, len(layers))
	for row, layer := range layers {
		s.NoAttention[row] = slices.Contains(holes, layer)
	}
}

// distinct returns the distinct values of a list in ascending order.
func distinct(list []int) []int {
	slices.Sort(list)
	return slices.Compact(list)
}

func labels(list []int) []string {
	var out []string
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}
