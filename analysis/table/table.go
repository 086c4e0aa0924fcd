// Package table writes tables in the formats that people load: aligned text on
// a terminal, TSV, CSV, JSON, JSON lines and Parquet. An undefined number is NaN in
// text and null in JSON and Parquet.
package table

import (
	"bufio"
	"encoding/csv"
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
)

// Table has named columns; a cell is a string, an int or a float64.
type Table struct {
	Columns []string
	Rows    [][]any
}

// New makes an empty table.
func New(columns ...string) *Table { return &Table{Columns: columns} }

// Add appends a row.
func (t *Table) Add(cells ...any) { t.Rows = append(t.Rows, cells) }

// Formats are the names that Write takes.
var Formats = []string{"table", "tsv", "csv", "json", "jsonl", "parquet"}

// FormatOf chooses a format by a file's extension; empty if none fits.
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
	}
	return ""
}

func text(cell any) string {
	if v, ok := cell.(float64); ok {
		if math.IsNaN(v) {
			return "NaN"
		}
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	return fmt.Sprint(cell)
}

// clean keeps a cell on its line and in its column.
var clean = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

// Write writes the table.
func (t *Table) Write(w io.Writer, format string) error {
	b := bufio.NewWriter(w)
	var err error
	switch format {
	case "table":
		tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
		t.lines(func(cells []string) { fmt.Fprintln(tw, strings.Join(cells, "\t")+"\t") })
		err = tw.Flush()
	case "tsv", "":
		t.lines(func(cells []string) { fmt.Fprintln(b, strings.Join(cells, "\t")) })
	case "csv":
		cw := csv.NewWriter(b)
		t.lines(func(cells []string) { _ = cw.Write(cells) })
		cw.Flush()
		err = cw.Error()
	case "json", "jsonl":
		t.json(b, format == "json")
	case "parquet":
		err = t.parquet(b)
	default:
		return fmt.Errorf("format %q: want %s", format, strings.Join(Formats, ", "))
	}
	if err == nil {
		err = b.Flush()
	}
	return err
}

func (t *Table) lines(emit func([]string)) {
	emit(t.Columns)
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = clean.Replace(text(c))
		}
		emit(cells)
	}
}

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
			b.Write(raw)
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

// WriteFile writes beside path and renames.
func (t *Table) WriteFile(path, format string) error {
	return outfile.Write(path, func(w io.Writer) error { return t.Write(w, format) })
}

// Column is the index of a column, -1 if there is none.
func (t *Table) Column(name string) int { return slices.Index(t.Columns, name) }

// Pick is the table with some of its columns, in that order; it panics on a name
// that is none.
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

// Format returns a table whose numbers with a fraction are texts made by number;
// integers and texts stay.
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

// Markdown writes the table as Markdown.
func (t *Table) Markdown(w io.Writer) {
	first := true
	t.lines(func(cells []string) {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if first {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(cells)))
			first = false
		}
	})
}
