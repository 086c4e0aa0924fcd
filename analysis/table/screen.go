package table

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/visible"
	"github.com/attnscope/attnscope/internal/words"
)

// Screen says how [Table.Screen] writes a table for readers at a terminal.
type Screen struct {
	// Values lists the columns that hold results. They are shown even if all rows have
	// the same value. Other columns are shown if they differ between rows.
	Values []string
	// Totals holds rows that are written below the others.
	Totals [][]any
	// Doubtful reports whether a cell rests on too little data; such cells are put in
	// parentheses. It may be nil. The totals follow the rows.
	Doubtful func(row int, column string) bool
	// Notes are written below the table, one per line.
	Notes []string
}

// Screen writes the table as aligned text: a line with the columns that are the same in
// all rows, then the others. Numbers have three significant digits, and columns whose
// name ends in _bytes have units. Columns that are empty in every row, because they do not
// apply, are left out. Of a table without rows, only its notes are written.
func (t *Table) Screen(w io.Writer, s Screen) error {
	b := bufio.NewWriter(w)
	if len(t.Rows) == 0 && len(s.Notes) > 0 {
		for _, note := range s.Notes {
			fmt.Fprintln(b, note)
		}
		return b.Flush()
	}
	var shown []int
	var same []string
	for i, name := range t.Columns {
		switch {
		case t.unused(i):
		case slices.Contains(s.Values, name) || !t.constant(i):
			shown = append(shown, i)
		default:
			same = append(same, name+" "+withUnit(name, t.firstCell(i), setting))
		}
	}
	if len(same) > 0 {
		fmt.Fprintln(b, strings.Join(same, ", "))
	}
	rows := slices.Concat(t.Rows, s.Totals)
	columns := make([][]string, len(shown))
	for k, i := range shown {
		columns[k] = s.column(t, rows, i)
	}
	for r := range len(rows) + 1 {
		var line strings.Builder
		for k, i := range shown {
			if k > 0 {
				line.WriteString("  ")
			}
			line.WriteString(pad(columns[k], r, t.numeric(i)))
		}
		fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
	}
	for _, note := range s.Notes {
		fmt.Fprintln(b, note)
	}
	return b.Flush()
}

// column formats the header and the cells of a column.
func (s *Screen) column(t *Table, rows [][]any, i int) []string {
	name := t.Columns[i]
	list := []string{name}
	anyDoubt := s.Doubtful != nil && slices.ContainsFunc(seq(len(rows)), func(r int) bool { return s.Doubtful(r, name) })
	for r, row := range rows {
		cell := withUnit(name, row[i], short)
		switch {
		case r >= len(t.Rows) && aggregated(row[i]):
			cell = ""
			if i == s.first(t) {
				cell = "all"
			}
		case anyDoubt && s.Doubtful(r, name):
			cell = "(" + cell + ")"
		case anyDoubt:
			cell += " " // under the closing parenthesis
		}
		list = append(list, cell)
	}
	return list
}

// first returns the index of the first column that is shown.
func (s *Screen) first(t *Table) int {
	return slices.IndexFunc(seq(len(t.Columns)), func(i int) bool { return !t.unused(i) && !t.constant(i) })
}

// seq lists 0 to n-1.
func seq(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// pad writes cell r of a column with the width of its widest cell.
func pad(cells []string, r int, right bool) string {
	width := 0
	for _, c := range cells {
		width = max(width, utf8.RuneCountInString(c))
	}
	space := strings.Repeat(" ", width-utf8.RuneCountInString(cells[r]))
	if right {
		return space + cells[r]
	}
	return cells[r] + space
}

// aggregated reports whether a cell of a key column says that all values are taken
// together.
func aggregated(cell any) bool { return cell == "*" || cell == -1 }

// unused reports whether a column says in every row that it does not apply.
func (t *Table) unused(i int) bool {
	return !slices.ContainsFunc(t.Rows, func(row []any) bool {
		v, number := row[i].(float64)
		return !isNone(row[i]) && !aggregated(row[i]) && row[i] != "" && !(number && math.IsNaN(v))
	})
}

// constant reports whether a column is the same in all rows, of which there are
// several.
func (t *Table) constant(i int) bool {
	first := t.firstCell(i)
	return len(t.Rows) > 1 && !slices.ContainsFunc(t.Rows, func(row []any) bool {
		return !isNone(row[i]) && text(row[i]) != text(first)
	})
}

// firstCell returns the first cell of a column that is not None, or None.
func (t *Table) firstCell(i int) any {
	for _, row := range t.Rows {
		if !isNone(row[i]) {
			return row[i]
		}
	}
	return None
}

// numeric reports whether a column holds numbers.
func (t *Table) numeric(i int) bool {
	for _, row := range t.Rows {
		if _, word := row[i].(string); word {
			return false
		}
	}
	return true
}

// setting formats a cell of a column that is the same in all rows.
func setting(cell any) string {
	if v, ok := cell.(float64); ok {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return short(cell)
}

// withUnit formats a cell of a column, a number of bytes with its unit, and anything else
// by format.
func withUnit(column string, cell any, format func(cell any) string) string {
	v, number := cell.(float64)
	if number && !math.IsNaN(v) && holdsBytes(column) {
		return sizes.Text(int64(math.Round(v)))
	}
	return format(cell)
}

// holdsBytes reports whether a column holds numbers of bytes.
func holdsBytes(column string) bool { return strings.HasSuffix(column, "_bytes") }

// short formats a cell with three significant digits.
func short(cell any) string {
	v, ok := cell.(float64)
	if !ok {
		return visible.Line(text(cell))
	}
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case v == math.Trunc(v) && size < 1e6:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 1e6 || size < 1e-3:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size < 0.1:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// Pivot returns a table with a row for each combination of the other key columns and a
// column NAME=VALUE for each value of the column name. Its cells are those of the
// column measure. Columns that are neither keys nor named are dropped. It returns an
// error if a name is not a column, or if several rows fall into one cell.
func (t *Table) Pivot(name, measure string, keys []string) (*Table, error) {
	if err := t.CheckPivot(name, measure, keys); err != nil {
		return nil, err
	}
	at := t.Column(name)
	from := t.Column(measure)
	var rest []int
	out := New()
	for _, key := range keys {
		if key != name {
			rest = append(rest, t.Column(key))
			out.Columns = append(out.Columns, key)
		}
	}
	index := map[string]int{} // of a row of out, by its keys
	columns := map[string]int{}
	for _, row := range t.Rows {
		header := name + "=" + text(row[at])
		column, known := columns[header]
		if !known {
			column = len(out.Columns)
			columns[header] = column
			out.Columns = append(out.Columns, header)
		}
		var cells []any
		for _, i := range rest {
			cells = append(cells, row[i])
		}
		id := fmt.Sprintf("%q", cells)
		r, known := index[id]
		if !known {
			r = len(out.Rows)
			index[id] = r
			out.Add(cells...)
		}
		for len(out.Rows[r]) <= column {
			out.Rows[r] = append(out.Rows[r], any(math.NaN()))
		}
		if v, number := out.Rows[r][column].(float64); !number || !math.IsNaN(v) {
			return nil, fmt.Errorf("pivot %q: several rows have the same %s: narrow the selection", name, strings.Join(keys, ", "))
		}
		out.Rows[r][column] = row[from]
	}
	for r := range out.Rows {
		for len(out.Rows[r]) < len(out.Columns) {
			out.Rows[r] = append(out.Rows[r], any(math.NaN()))
		}
	}
	return out, nil
}

// CheckPivot returns the error of [Table.Pivot] for a name that is not a key column, or a
// measure that is not another column. The table needs no rows.
func (t *Table) CheckPivot(name, measure string, keys []string) error {
	if err := words.Check("pivot", name, keys); err != nil {
		return err
	}
	return words.Check("measure", measure, t.others(keys))
}

// others lists the columns that are not keys.
func (t *Table) others(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(t.Columns), func(name string) bool { return slices.Contains(keys, name) })
}
