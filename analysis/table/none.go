package table

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// None is the cell of something that does not exist, such as the attention of a layer
// without attention: "none" in tables for readers, an empty cell in TSV and CSV, so that
// pandas, R and spreadsheets read the column as numbers, and null in JSON and Parquet. NaN,
// in contrast, is an undefined value of something that exists.
var None none

type none struct{}

func (none) String() string { return "none" }

// MarshalJSON implements json.Marshaler.
func (none) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// isNone reports whether a cell is None.
func isNone(cell any) bool { return cell == any(None) }

// WithLayers returns the table with a row of None for each layer that a model has but
// that has no attention, if the rows are about single layers; holes lists these layers.
// The rows of a model, data set and prompt are in the order of their layers, unless they
// were sorted otherwise: then the new rows come last. A table that is pivoted by layer
// gets columns instead. origin lists the rows of the result by their number in t, or -1.
func (t *Table) WithLayers(holes func(model string) []int) (out *Table, origin []int) {
	layer, model := t.Column("layer"), t.Column("model")
	if model < 0 {
		return t, seq(len(t.Rows))
	}
	if layer < 0 {
		return t.withColumns(model, holes), seq(len(t.Rows))
	}
	out = New(t.Columns...)
	for _, g := range t.groups(layer, []int{model, t.Column("dataset"), t.Column("prompt")}) {
		var missing []hole
		if g.layers {
			missing = g.holes(holes)
		}
		add := func(below int) {
			for len(missing) > 0 && missing[0].layer < below {
				out.Rows = append(out.Rows, t.noneRow(layer, missing[0], g.at))
				origin = append(origin, -1)
				missing = missing[1:]
			}
		}
		for _, r := range g.rows {
			if at, single := t.Rows[r][layer].(int); single && g.ascends {
				add(at)
			}
			out.Rows = append(out.Rows, t.Rows[r])
			origin = append(origin, r)
		}
		add(1 << 30)
	}
	return out, origin
}

// group holds rows of a model, data set and prompt, or all rows of a table in which those
// of several alternate.
type group struct {
	keys    [][]any // of the columns at, in the order of their first rows
	at      []int
	rows    []int
	layers  bool // the rows are about single layers
	ascends bool // in the order of the layers
}

// hole is a layer without attention of the model, data set and prompt of a key.
type hole struct {
	layer int
	key   []any
}

// holes lists the layers that need a row for each key, in their order.
func (g *group) holes(of func(model string) []int) []hole {
	var list []hole
	for _, key := range g.keys {
		for _, layer := range of(fmt.Sprint(key[0])) {
			list = append(list, hole{layer, key})
		}
	}
	slices.SortStableFunc(list, func(a, b hole) int { return a.layer - b.layer })
	return list
}

// groups puts rows of equal cells in the columns at together. If the rows of two groups
// alternate, all rows are one group with all keys.
func (t *Table) groups(layer int, at []int) []*group {
	at = slices.DeleteFunc(at, func(i int) bool { return i < 0 })
	all := &group{at: at, ascends: true}
	var list []*group
	seen := map[string]bool{}
	last := ""
	for r, row := range t.Rows {
		key := make([]any, len(at))
		for i, column := range at {
			key[i] = row[column]
		}
		id := fmt.Sprintf("%q", key)
		if r == 0 || id != last {
			list = append(list, &group{keys: [][]any{key}, at: at, ascends: true})
			if !seen[id] {
				all.keys = append(all.keys, key)
			}
			seen[id] = true
		}
		last = id
		for _, g := range []*group{all, list[len(list)-1]} {
			g.add(t, layer, r)
		}
	}
	if len(list) > len(all.keys) { // sorted by something else
		return []*group{all}
	}
	return list
}

// add appends row r of a table.
func (g *group) add(t *Table, layer, r int) {
	number, _ := t.Rows[r][layer].(int)
	g.layers = g.layers || number >= 0
	if n := len(g.rows); n > 0 {
		last, _ := t.Rows[g.rows[n-1]][layer].(int)
		g.ascends = g.ascends && last <= number
	}
	g.rows = append(g.rows, r)
}

// noneRow returns the row of a layer without attention. at lists the columns of its key.
func (t *Table) noneRow(layer int, h hole, at []int) []any {
	row := make([]any, len(t.Columns))
	for i := range row {
		row[i] = None
	}
	for i, column := range at {
		row[column] = h.key[i]
	}
	row[layer] = h.layer
	return row
}

// withColumns adds the columns of layers without attention to a table that is pivoted by
// layer.
func (t *Table) withColumns(model int, holes func(model string) []int) *Table {
	first := slices.IndexFunc(t.Columns, func(name string) bool { return strings.HasPrefix(name, "layer=") })
	if first < 0 {
		return t
	}
	var ids []int
	for _, name := range t.Columns[first:] {
		id := -1
		_, _ = fmt.Sscanf(name, "layer=%d", &id)
		ids = append(ids, id)
	}
	all := slices.Clone(ids)
	for _, row := range t.Rows {
		all = append(all, holes(fmt.Sprint(row[model]))...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	out := New(slices.Clone(t.Columns[:first])...)
	for _, id := range all {
		out.Columns = append(out.Columns, fmt.Sprintf("layer=%d", id))
	}
	for _, row := range t.Rows {
		missing := holes(fmt.Sprint(row[model]))
		cells := slices.Clone(row[:first])
		for _, id := range all {
			switch at := slices.Index(ids, id); {
			case slices.Contains(missing, id):
				cells = append(cells, None)
			case at >= 0:
				cells = append(cells, row[first+at])
			default:
				cells = append(cells, math.NaN())
			}
		}
		out.Add(cells...)
	}
	return out
}
