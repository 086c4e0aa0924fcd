// Package table writes tables: as aligned text for a terminal, TSV, CSV, JSON, JSON
// lines, Parquet and Markdown.
//
//	t := table.New("layer", "hit_rate")
//	t.Add(0, 0.75)
//	err := t.Write(os.Stdout, "tsv")
//
// A cell is a string, an int, a float64 or [None]. Numbers with a fraction have six
// significant digits in text and all digits in JSON and Parquet. NaN is NaN in text
// and null in JSON and Parquet.
//
// Strings may hold anything. In TSV and CSV, a cell with a separator, a quote or a line
// end is quoted as RFC 4180 says; one that a spreadsheet would take for a formula, and one
// that begins with an apostrophe, gets an apostrophe in front; control characters other
// than tabs and line ends are escaped (\u001b). Aligned text and Markdown escape tabs and
// line ends as well. JSON and Parquet have the string itself.
package table

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/internal/visible"
	"github.com/attnscope/attnscope/internal/words"
)

// Table has named columns. Each row has a cell for each column, in their order.
type Table struct {
	Columns []string
	Rows    [][]any
	// Values lists columns that hold results: LaTeX shows them even if all rows have the
	// same value.
	Values []string
}

// New returns an empty table.
func New(columns ...string) *Table { return &Table{Columns: columns} }

// Add appends a row.
func (t *Table) Add(cells ...any) { t.Rows = append(t.Rows, cells) }

// Formats lists the formats of [Table.Write].
var Formats = []string{"table", "tsv", "csv", "json", "jsonl", "parquet", "latex"}

// FormatOf returns the format of a file by its extension, or "" if no format has the
// extension.
func FormatOf(path string) string {
	switch filepath.Ext(path) {
	case ".tsv", ".txt":
		return "tsv"
	case ".csv":
		return "csv"
	case ".json":
		return "json"
	case ".jsonl":
		return "jsonl"
	case ".parquet":
		return "parquet"
	case ".tex":
		return "latex"
	}
	return ""
}

// text formats a cell.
func text(cell any) string {
	if v, ok := cell.(float64); ok {
		if math.IsNaN(v) {
			return "NaN"
		}
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	return fmt.Sprint(cell)
}

// exactBytes returns a table in which numbers of bytes are whole numbers, which text has
// with all digits.
func (t *Table) exactBytes() *Table {
	out := New(t.Columns...)
	for _, row := range t.Rows {
		cells := slices.Clone(row)
		for i, cell := range row {
			if v, number := cell.(float64); number && holdsBytes(t.Columns[i]) && !math.IsNaN(v) {
				cells[i] = int(math.Round(v))
			}
		}
		out.Add(cells...)
	}
	return out
}

// Write writes the table in one of [Formats]; "" is tsv. Unknown formats are errors.
func (t *Table) Write(w io.Writer, format string) error {
	b := bufio.NewWriter(w)
	var err error
	switch format {
	case "table":
		tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
		t.exactBytes().lines(visible.Line, None.String(), func(cells []string) {
			fmt.Fprintln(tw, strings.Join(cells, "\t")+"\t")
		})
		err = tw.Flush()
	case "tsv", "":
		err = t.separated(b, '\t')
	case "csv":
		err = t.separated(b, ',')
	case "json", "jsonl":
		t.json(b, format == "json")
	case "parquet":
		err = t.parquet(b)
	case "latex":
		t.latex(b)
	default:
		return words.Check("format", format, Formats)
	}
	if err == nil {
		err = b.Flush()
	}
	return err
}

// separated writes the table as CSV or TSV.
func (t *Table) separated(w io.Writer, separator rune) error {
	rows := visible.NewRows(w, separator)
	t.lines(visible.Cell, "", func(cells []string) { _ = rows.Write(cells) })
	rows.Flush()
	return rows.Error()
}

// lines calls emit with the columns, then with the cells of each row. clean is applied to
// every string; none is the text of [None].
func (t *Table) lines(clean func(string) string, none string, emit func([]string)) {
	emit(t.Columns)
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			switch cells[i] = text(c); {
			case isNone(c):
				cells[i] = none
			case !isNumber(c):
				cells[i] = clean(cells[i])
			}
		}
		emit(cells)
	}
}

func isNumber(cell any) bool {
	switch cell.(type) {
	case int, float64:
		return true
	}
	return false
}

// json writes an object for each row, as elements of an array or one per line.
func (t *Table) json(b *bufio.Writer, array bool) {
	if array {
		b.WriteString("[")
	}
	for r, row := range t.Rows {
		if array && r > 0 {
			b.WriteString(",")
		}
		if array {
			b.WriteString("\n")
		}
		b.WriteByte('{')
		for i, c := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, "%q:", t.Columns[i])
			if v, ok := c.(float64); ok && (math.IsNaN(v) || math.IsInf(v, 0)) {
				b.WriteString("null")
				continue
			}
			raw, _ := json.Marshal(c)
			b.WriteString(visible.Text(string(raw)))
		}
		b.WriteByte('}')
		if !array {
			b.WriteByte('\n')
		}
	}
	if array {
		b.WriteString("\n]\n")
	}
}

// WriteFile writes the table to path. It writes a temporary file first and renames
// it, so that a failure leaves no incomplete file.
func (t *Table) WriteFile(path, format string) error {
	return outfile.Write(path, func(w io.Writer) error { return t.Write(w, format) })
}

// Column returns the index of a column, or -1 if no column has that name.
func (t *Table) Column(name string) int { return slices.Index(t.Columns, name) }

// Pick returns a table of some of the columns, in the given order. It panics if a name
// is not a column of the table.
func (t *Table) Pick(columns ...string) *Table {
	out := New(columns...)
	for _, row := range t.Rows {
		cells := make([]any, len(columns))
		for i, name := range columns {
			cells[i] = row[t.Column(name)]
		}
		out.Add(cells...)
	}
	return out
}

// Format returns a table in which number has turned every float64 into text. Other
// cells are unchanged.
func (t *Table) Format(number func(column string, x float64) string) *Table {
	out := New(t.Columns...)
	for _, row := range t.Rows {
		cells := slices.Clone(row)
		for i, cell := range row {
			if x, ok := cell.(float64); ok {
				cells[i] = number(t.Columns[i], x)
			}
		}
		out.Add(cells...)
	}
	return out
}

// Markdown writes the table as a Markdown table.
func (t *Table) Markdown(w io.Writer) {
	first := true
	inCell := func(s string) string { return strings.ReplaceAll(visible.Line(s), "|", `\|`) }
	t.lines(inCell, None.String(), func(cells []string) {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if first {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(cells)))
			first = false
		}
	})
}
