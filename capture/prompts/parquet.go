package prompts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/parquet-go/parquet-go"
)

// maxValues is the largest number of values of a Parquet file: of strings, numbers and
// elements of lists.
const maxValues = 32 << 20

// parquetRows reads the rows of a Parquet file.
func parquetRows(file *os.File) (_ *rows, err error) {
	defer caught(&err)
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(file, fi.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	values, size := int64(0), int64(0)
	for _, group := range f.Metadata().RowGroups {
		for _, column := range group.Columns {
			values += column.MetaData.NumValues
			size += column.MetaData.TotalUncompressedSize
		}
	}
	most := maxExpanded + maxRatio*fi.Size()
	switch {
	case f.NumRows() > maxPrompts:
		return nil, fmt.Errorf("%d rows, at most %d are taken: split the file", f.NumRows(), maxPrompts)
	case values > maxValues:
		return nil, fmt.Errorf("%d values, at most %d are taken: split the file", values, maxValues)
	case size > most:
		return nil, fmt.Errorf("decompresses to %d MB, at most %d MB are taken: split the file", size>>20, most>>20)
	}
	reader := parquet.NewGenericReader[any](f, f.Schema())
	left := most
	row := make([]any, 1)
	next := func() (_ json.RawMessage, err error) {
		defer caught(&err)
		row[0] = nil
		n, err := reader.Read(row)
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return nil, err
		}
		var b bytes.Buffer
		if err := writeGroup(&b, f.Schema(), row[0]); err != nil {
			return nil, err
		}
		if left -= int64(b.Len()); left < 0 {
			return nil, fmt.Errorf("decompresses to more than %d MB: split the file", most>>20)
		}
		return b.Bytes(), nil
	}
	return &rows{unit: "row", next: next}, nil
}

// caught makes an error of what a reader of a damaged file panics with.
func caught(err *error) {
	if x := recover(); x != nil {
		*err = fmt.Errorf("is damaged: %v", x)
	}
}

// writeGroup writes a struct as JSON, with its fields in the order of the schema.
func writeGroup(b *bytes.Buffer, node parquet.Node, value any) error {
	fields, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("a struct is a %T", value)
	}
	b.WriteByte('{')
	for i, f := range node.Fields() {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(f.Name())
		if err != nil {
			return err
		}
		b.Write(name)
		b.WriteByte(':')
		if err := writeValue(b, f, fields[f.Name()]); err != nil {
			return fmt.Errorf("column %q: %w", f.Name(), err)
		}
	}
	b.WriteByte('}')
	return nil
}

// writeValue writes a value as JSON.
func writeValue(b *bytes.Buffer, node parquet.Node, value any) error {
	switch v := value.(type) {
	case nil:
		b.WriteString("null")
		return nil
	case []any:
		return writeList(b, elementOf(node), v)
	case map[string]any:
		return writeGroup(b, node, v)
	case string:
		return writeText(b, []byte(v))
	case []byte:
		return writeText(b, v)
	case float32:
		return writeFloat(b, float64(v))
	case float64:
		return writeFloat(b, v)
	case bool, int, int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		fmt.Fprint(b, v)
		return nil
	}
	return fmt.Errorf("values of type %s (%T) are not read: convert the file to JSON lines", node.Type(), value)
}

// elementOf returns the node of the elements of a list: a group LIST around a repeated
// group around the element, or simply a repeated field.
func elementOf(node parquet.Node) parquet.Node {
	if node.Leaf() || len(node.Fields()) != 1 || !node.Fields()[0].Repeated() {
		return node
	}
	list := node.Fields()[0]
	if list.Leaf() || len(list.Fields()) != 1 {
		return list
	}
	return list.Fields()[0]
}

// writeList writes the elements of a list.
func writeList(b *bytes.Buffer, element parquet.Node, list []any) error {
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeValue(b, element, v); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeText(b *bytes.Buffer, text []byte) error {
	if err := checkText(bytes.ReplaceAll(text, []byte(`\`), nil)); err != nil {
		return err
	}
	quoted, err := json.Marshal(string(text))
	b.Write(quoted)
	return err
}

func writeFloat(b *bytes.Buffer, v float64) error {
	if math.IsNaN(v) {
		b.WriteString("null") // a missing number, as data frames write it
		return nil
	}
	text, err := json.Marshal(v)
	if err == nil && v == math.Trunc(v) && !bytes.ContainsAny(text, ".e") {
		text = append(text, ".0"...)
	}
	b.Write(text)
	return err
}
