package main

import (
	"cmp"
	"math"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/internal/words"
)

// rowOrder is the order in which hit rates are printed, and the number of rows.
type rowOrder struct {
	column string // empty: the rows keep their order
	first  int    // 0: all rows
	min    int    // significant positions that a rate needs
}

// rowOrderOf reads --sort and --first.
func rowOrderOf(c *cli.Context) (rowOrder, error) {
	o := rowOrder{c.String("sort"), c.Int("first"), c.Int("min-significant")}
	switch {
	case o.first < 0 || c.IsSet("first") && o.first == 0:
		return o, usagef("--first %d: want 1 or more", o.first)
	case c.IsSet("pivot") && (o.column != "" || o.first > 0):
		return o, usagef("hitrate: --pivot cannot be combined with --sort and --first")
	case o.column == "":
		return o, nil
	}
	if err := words.Check("sort", o.column, rateTableColumns(c)); err != nil {
		return o, usagef("--%w", err)
	}
	return o, nil
}

// apply sorts and cuts the first list and its rates without the first positions. It fails
// if the rows lack the column.
func (o rowOrder) apply(lists [][]analysis.HitRateRow) error {
	list := lists[askedRates]
	places := make([]int, len(list))
	for i := range places {
		places[i] = i
	}
	if o.column != "" {
		name := o.column
		by := list
		if name == withoutFirst {
			name = "hit_rate"
			by = lists[askedWithoutFirst]
		}
		t := analysis.HitRateTable(by)
		column := t.Column(name)
		if column < 0 {
			return usagef("--sort %s: these dumps have no learned sinks", name)
		}
		doubtful := func(i int) bool { return slices.Contains(rateColumns, name) && by[i].Significant < o.min }
		slices.SortStableFunc(places, func(a, b int) int {
			if doubtful(a) != doubtful(b) {
				if doubtful(a) {
					return 1
				}
				return -1
			}
			return compareCells(t.Rows[a][column], t.Rows[b][column])
		})
	}
	if o.first > 0 {
		places = places[:min(len(places), o.first)]
	}
	for _, which := range []int{askedRates, askedWithoutFirst} {
		if which >= len(lists) {
			continue
		}
		var ordered []analysis.HitRateRow
		for _, i := range places {
			ordered = append(ordered, lists[which][i])
		}
		lists[which] = ordered
	}
	return nil
}

// compareCells orders the cells of a column: texts, and numbers, of which NaN is last.
func compareCells(a, b any) int {
	if text, ok := a.(string); ok {
		return cmp.Compare(text, b.(string))
	}
	x, y := numberOf(a), numberOf(b)
	if math.IsNaN(x) != math.IsNaN(y) {
		if math.IsNaN(x) {
			return 1
		}
		return -1
	}
	return cmp.Compare(x, y)
}

func numberOf(cell any) float64 {
	switch v := cell.(type) {
	case int:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}
