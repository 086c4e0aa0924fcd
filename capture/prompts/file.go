package prompts

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/attnscope/attnscope/internal/filekind"
)

// rows are the records of a file, each a JSON object.
type rows struct {
	unit  string // what a record is called in errors: line, record or row
	next  func() (json.RawMessage, error)
	line  func() int // of a table: the line in which the last record begins
	close func()
}

// A compressed set may have maxExpanded bytes when decompressed, plus maxRatio bytes
// for each byte of the file.
const (
	maxExpanded = 256 << 20
	maxRatio    = 64
)

// bounded is a reader that fails after more than maxExpanded bytes, and maxRatio more for
// each byte that was read of the file.
type bounded struct {
	r    io.Reader
	file *counted
	n    int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.n += int64(n); b.n > maxExpanded+maxRatio*b.file.n {
		return 0, fmt.Errorf("decompresses to more than %d MB and %d times its size: decompress the file first",
			maxExpanded>>20, maxRatio)
	}
	return n, err
}

// counted counts the bytes that are read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// conversions say how to make a set of a file that is none.
var conversions = map[filekind.Kind]string{
	filekind.Zip:   "unzip it first",
	filekind.Bzip2: "run bunzip2 on it first",
	filekind.XZ:    "run unxz on it first",
	filekind.Arrow: `convert it with python -c "import pandas; pandas.read_feather('FILE').to_parquet('prompts.parquet')"`,
	filekind.ArrowStream: `convert it with python -c "from datasets import Dataset; ` +
		`Dataset.from_file('FILE').to_parquet('prompts.parquet')"`,
	filekind.Dump:        "name the prompts from which it was captured",
	filekind.GGUF:        "name it with -m",
	filekind.Safetensors: "if it is a part of a model, name the model's folder with -m",
	filekind.HTML:        "extract its text, and write records of it",
	filekind.SQLite:      `export a table with sqlite3 -json FILE "select * from TABLE"`,
	filekind.Pickle:      "convert it to JSON lines with Python",
	filekind.PDF:         "extract its text, and write records of it",
	filekind.LFSPointer:  "fetch the file itself with git lfs pull",
	filekind.UTF32:       "convert it with iconv -f utf-32 -t utf-8 FILE",
}

// rowsOf returns the records of a file. With anyColumns, the columns of a CSV file may have
// any names.
func rowsOf(file io.Reader, name string, anyColumns bool) (*rows, error) {
	raw := &counted{r: file}
	in := bufio.NewReaderSize(raw, 1<<16)
	done := func() {}
	head, _ := in.Peek(filekind.HeadBytes)
	packed := ""
	switch filekind.Of(head) {
	case filekind.Gzip:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReaderSize(&bounded{r: z, file: raw}, 1<<16)
		packed = "gzip"
	case filekind.Zstd:
		z, err := zstd.NewReader(in,
			zstd.WithDecoderMaxMemory(1<<40), zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		done = z.Close
		in = bufio.NewReaderSize(&bounded{r: z, file: raw}, 1<<16)
		packed = "zstd"
	}
	r, err := uncompressedRows(in, file, name, packed, anyColumns)
	if err != nil {
		done()
		return nil, err
	}
	r.close = done
	return r, nil
}

// uncompressedRows returns the records of a file that begins with head.
func uncompressedRows(in *bufio.Reader, file io.Reader, name, packed string, anyColumns bool) (*rows, error) {
	head, err := in.Peek(filekind.HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	kind := filekind.Of(head)
	if how := conversions[kind]; how != "" {
		how = strings.ReplaceAll(how, "FILE", name)
		return nil, fmt.Errorf("is %s, want records as JSON lines, JSON, CSV, TSV or Parquet: %s", kind, how)
	}
	switch kind {
	case filekind.Gzip, filekind.Zstd:
		return nil, errors.New("is compressed twice: decompress it once first")
	case filekind.Parquet:
		f, ok := file.(*os.File)
		if packed != "" || !ok || !isRegular(f) {
			return nil, errors.New("is Parquet, which can only be read from a file that is not compressed otherwise")
		}
		return parquetRows(f)
	}
	if order, ok := utf16Order(head); ok {
		decoder := unicode.UTF16(order, unicode.UseBOM).NewDecoder()
		in = bufio.NewReaderSize(transform.NewReader(in, decoder), 1<<16)
	}
	if head, _ := in.Peek(3); bytes.HasPrefix(head, []byte("\ufeff")) {
		in.Discard(len("\ufeff"))
	}
	first, err := firstByte(in)
	if err != nil {
		return nil, err
	}
	switch first {
	case '{', 0:
		return lineRows(in), nil
	case '[':
		return arrayRows(in), nil
	}
	return tableOf(in, name, packed, anyColumns)
}

// isRegular reports whether a file can be read at any place.
func isRegular(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode().IsRegular()
}

// utf16Order tells text in UTF-16 by its mark, or by the zeros in its first two letters.
func utf16Order(head []byte) (unicode.Endianness, bool) {
	switch {
	case len(head) < 4:
		return unicode.LittleEndian, false
	case head[0] == 0xff && head[1] == 0xfe:
		return unicode.LittleEndian, true
	case head[0] == 0xfe && head[1] == 0xff:
		return unicode.BigEndian, true
	case head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0:
		return unicode.LittleEndian, true
	case head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0:
		return unicode.BigEndian, true
	}
	return unicode.LittleEndian, false
}

// firstByte returns the first byte that is not white space, or 0 if the file has none.
func firstByte(in *bufio.Reader) (byte, error) {
	for n := 1; n <= 1<<16; n *= 2 {
		head, err := in.Peek(n)
		for _, c := range head {
			if strings.IndexByte(" \t\r\n", c) < 0 {
				return c, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, errors.New("begins with 64 KB of white space")
}

// lineRows reads JSON lines.
func lineRows(in io.Reader) *rows {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 1<<20), maxLine)
	line := 0
	next := func() (json.RawMessage, error) {
		line++
		more := s.Scan()
		if err := s.Err(); err != nil { // what comes before it is only the beginning of a line
			if errors.Is(err, bufio.ErrTooLong) {
				err = fmt.Errorf("longer than %d bytes", maxLine)
			}
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if !more {
			return nil, io.EOF
		}
		text := bytes.TrimSpace(s.Bytes())
		if len(text) == 0 {
			return nil, fmt.Errorf("line %d is empty: want one JSON object per line", line)
		}
		return text, nil
	}
	return &rows{unit: "line", next: next}
}

// limited is a reader that fails after left bytes, which the caller renews.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("longer than %d bytes", maxLine)
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// arrayRows reads a JSON array of objects.
func arrayRows(in io.Reader) *rows {
	source := &limited{in, maxLine}
	d := json.NewDecoder(source)
	number := 0
	next := func() (json.RawMessage, error) {
		if number == 0 {
			if _, err := d.Token(); err != nil {
				return nil, err
			}
		}
		number++
		source.left = maxLine
		fail := func(err error) (json.RawMessage, error) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("record %d: %w", number, err)
		}
		if !d.More() {
			if _, err := d.Token(); err != nil {
				return fail(err)
			}
			if _, err := d.Token(); !errors.Is(err, io.EOF) {
				return nil, errors.New("there is more after the array of records: want one array, or one JSON object per line")
			}
			return nil, io.EOF
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fail(err)
		}
		return raw, nil
	}
	return &rows{unit: "record", next: next}
}

// tableOf returns the rows of a CSV or TSV file. A file is one if its first line names a
// field that a form begins with. With anyColumns, or if the file's name says that it is
// CSV or TSV, the columns may have any names.
func tableOf(in *bufio.Reader, name, packed string, anyColumns bool) (*rows, error) {
	first, _ := in.Peek(1)
	no := fmt.Errorf("line 1: starts with %q, want a JSON object per line, a JSON array of objects, "+
		"or CSV or TSV with a line of names", first)
	stem := name
	if packed != "" {
		stem = strings.TrimSuffix(name, filepath.Ext(name))
	}
	ext := strings.ToLower(filepath.Ext(stem))
	head, _ := in.Peek(1 << 16)
	line, _, _ := bytes.Cut(head, []byte("\n"))
	comma := byte(',')
	tabs, commas := bytes.Count(line, []byte("\t")), bytes.Count(line, []byte(","))
	if tabs > commas || ext == ".tsv" && commas == 0 {
		comma = '\t'
	}
	t := &table{in: in, comma: comma}
	names, err := t.header()
	known := err == nil && (anyColumns || ext == ".csv" || ext == ".tsv" || slices.ContainsFunc(names, isFormField))
	if !known && (ext == ".csv" || ext == ".tsv") {
		return nil, err
	}
	if !known {
		return nil, no
	}
	return &rows{unit: "line", next: t.next, line: func() int { return t.line }}, nil
}

// isFormField reports whether a form begins with a field of this name.
func isFormField(name string) bool {
	return slices.ContainsFunc(forms, func(f form) bool { return slices.Contains(f.has, name) })
}
