package table

import (
	"io"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// parquet writes the table with the types of the cells of its first row that has values:
// strings, 64-bit integers, or doubles, whose NaN becomes null. None is null as well.
func (t *Table) parquet(w io.Writer) error {
	group := parquet.Group{}
	kinds := make([]any, len(t.Columns))
	level := make([]int, len(t.Columns)) // 1: optional
	for i, name := range t.Columns {
		kinds[i] = ""
		if first := t.firstCell(i); !isNone(first) {
			kinds[i] = first
		}
		switch kinds[i].(type) {
		case int:
			group[name] = parquet.Int(64)
		case float64:
			group[name] = parquet.Leaf(parquet.DoubleType)
			level[i] = 1
		default:
			group[name] = parquet.String()
		}
		if slices.ContainsFunc(t.Rows, func(row []any) bool { return isNone(row[i]) }) {
			level[i] = 1
		}
		if level[i] > 0 {
			group[name] = parquet.Optional(group[name])
		}
	}
	schema := parquet.NewSchema("table", ordered{group, t.Columns})
	pw := parquet.NewWriter(w, schema)
	for _, row := range t.Rows {
		values := make(parquet.Row, len(row))
		for c, cell := range row {
			switch v := cell.(type) {
			case none:
				values[c] = parquet.NullValue().Level(0, 0, c)
			case int:
				values[c] = parquet.Int64Value(int64(v)).Level(0, level[c], c)
			case float64:
				if math.IsNaN(v) {
					values[c] = parquet.NullValue().Level(0, 0, c)
				} else {
					values[c] = parquet.DoubleValue(v).Level(0, 1, c)
				}
			default:
				values[c] = parquet.ByteArrayValue([]byte(text(cell))).Level(0, level[c], c)
			}
		}
		if _, err := pw.WriteRows([]parquet.Row{values}); err != nil {
			return err
		}
	}
	return pw.Close()
}

// ordered is a group with its columns in a given order. A plain Group sorts its
// columns by name.
type ordered struct {
	parquet.Group
	names []string
}

// Fields returns the columns in order.
func (o ordered) Fields() []parquet.Field {
	by := map[string]parquet.Field{}
	for _, f := range o.Group.Fields() {
		by[f.Name()] = f
	}
	list := make([]parquet.Field, len(o.names))
	for i, name := range o.names {
		list[i] = by[name]
	}
	return list
}
