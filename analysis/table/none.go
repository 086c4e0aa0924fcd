package table

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// None is the cell of something that does not exist, such as the attention of a layer
// without attention: "none" in text, null in JSON and Parquet. NaN, in contrast, is an
// undefined value of something that exists.
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
	groups := t.groups(layer, []int{model, t.Column("dataset"), t.Column("prompt")})
	out = New(t.Columns...)
	for _, g := range groups {
		missing := holes(fmt.Sprint(g.key[0]))
		if !g.layers {
			missing = nil
		}
		add := func(below int) {
			for len(missing) > 0 && missing[0] < below {
				out.Rows = append(out.Rows, t.noneRow(layer, missing[0], g))
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

// group holds the rows of a model, data set and prompt.
type group struct {
	key     []any // of the columns at
	at      []int
	rows    []int
	layers  bool // the rows are about single layers
	ascends bool // in the order of the layers
}

// groups groups rows whose cells in the columns at are equal. If equal rows are not
// consecutive, all rows are one group with the key of the first row.
func (t *Table) groups(layer int, at []int) []*group {
	at = slices.DeleteFunc(at, func(i int) bool { return i < 0 })
	var list []*group
	seen := map[string]bool{}
	for r, row := range t.Rows {
		key := make([]any, len(at))
		for i, column := range at {
			key[i] = row[column]
		}
		id := fmt.Sprintf("%q", key)
		if r == 0 || id != fmt.Sprintf("%q", list[len(list)-1].key) {
			if seen[id] { // sorted by something else
				return []*group{{key: list[0].key, at: at, rows: seq(len(t.Rows)), layers: list[0].layers}}
			}
			seen[id] = true
			list = append(list, &group{key: key, at: at, ascends: true})
		}
		g := list[len(list)-1]
		number, _ := row[layer].(int)
		g.layers = g.layers || number >= 0
		if n := len(g.rows); n > 0 {
			last, _ := t.Rows[g.rows[n-1]][layer].(int)
			g.ascends = g.ascends && last <= number
		}
		g.rows = append(g.rows, r)
	}
	return list
}

// noneRow returns the row of a layer without attention.
func (t *Table) noneRow(layer, id int, g *group) []any {
	row := make([]any, len(t.Columns))
	for i := range row {
		row[i] = None
	}
	for i, column := range g.at {
		row[column] = g.key[i]
	}
	row[layer] = id
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
