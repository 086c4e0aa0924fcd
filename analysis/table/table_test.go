package table

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/attnscope/attnscope/internal/visible"
)

func sample() *Table {
	t := New("name", "n", "rate")
	t.Add("a\tb", 3, 0.25)
	t.Add("c\"d", -1, math.NaN())
	return t
}

func TestFormats(t *testing.T) {
	for format, want := range map[string]string{
		"tsv":   "name\tn\trate\n\"a\tb\"\t3\t0.25\n\"c\"\"d\"\t-1\tNaN\n",
		"csv":   "name,n,rate\na\tb,3,0.25\n\"c\"\"d\",-1,NaN\n",
		"jsonl": "{\"name\":\"a\\tb\",\"n\":3,\"rate\":0.25}\n{\"name\":\"c\\\"d\",\"n\":-1,\"rate\":null}\n",
		"json":  "[\n{\"name\":\"a\\tb\",\"n\":3,\"rate\":0.25},\n{\"name\":\"c\\\"d\",\"n\":-1,\"rate\":null}\n]\n",
	} {
		var b bytes.Buffer
		if err := sample().Write(&b, format); err != nil || b.String() != want {
			t.Errorf("%s: %q (%v), want %q", format, b.String(), err, want)
		}
	}
	if err := sample().Write(&bytes.Buffer{}, "xml"); err == nil || !strings.Contains(err.Error(), "parquet") {
		t.Errorf("an unknown format: %v", err)
	}
}

// hostile are texts that prompts may have as ids.
var hostile = []string{
	"a\tb", "line\nline", "cr\rcr", "say \"hi\"", "\"quoted\"", "comma, comma", " spaces ", "", "NA", "ünï 中文",
	"=cmd|'/C calc'!A0", "+1+1", "-x", "@SUM(A1)", "\t=1", "\r=1", "'tis", "-1", "|pipe|", "\x1b]0;pwned\a\x1b[2J\u009b1m\u202eevil\x7f\x00",
}

// TestTextsReadBack reads every hostile text back from TSV and CSV by the documented rule:
// the cell without an apostrophe in front is the text, apart from control characters.
func TestTextsReadBack(t *testing.T) {
	tab := New("id", "x", "dataset")
	for i, id := range hostile {
		tab.Add(id, -float64(i), id)
	}
	for format, separator := range map[string]rune{"tsv": '\t', "csv": ','} {
		var b bytes.Buffer
		if err := tab.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(bytes.NewReader(b.Bytes()))
		r.Comma = separator
		rows, err := r.ReadAll()
		if err != nil || len(rows) != len(hostile)+1 {
			t.Fatalf("%s: %d rows, %v: %q", format, len(rows), err, b.String())
		}
		for i, id := range hostile {
			for _, cell := range []string{rows[i+1][0], rows[i+1][2]} {
				want := visible.Cell(id)
				if strings.ContainsAny(id, "\x1b\x7f\x00") {
					want = `\u001b]0;pwned\u0007\u001b[2J\u009b1m\u202eevil\u007f\u0000`
				} else if strings.TrimPrefix(cell, "'") != id && cell != id {
					t.Errorf("%s: %q reads back as %q", format, id, cell)
				}
				if cell != want {
					t.Errorf("%s: %q is the cell %q, want %q", format, id, cell, want)
				}
				if cell != "" && strings.Contains("=+@\t\r", cell[:1]) {
					t.Errorf("%s: %q begins like a formula", format, cell)
				}
			}
			if want := text(-float64(i)); rows[i+1][1] != want { // numbers are not marked
				t.Errorf("%s: %s, want %s", format, rows[i+1][1], want)
			}
		}
	}
	for _, format := range []string{"json", "jsonl"} {
		var b bytes.Buffer
		if err := tab.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\x7f\u009b\u202e") {
			t.Errorf("%s holds control characters", format)
		}
		text := b.String()
		if format == "jsonl" {
			text = "[" + strings.ReplaceAll(strings.TrimSpace(text), "\n", ",") + "]"
		}
		var rows []struct{ ID string }
		if err := json.Unmarshal([]byte(text), &rows); err != nil || len(rows) != len(hostile) {
			t.Fatalf("%s: %v", format, err)
		}
		for i, id := range hostile {
			if rows[i].ID != id {
				t.Errorf("%s: %q reads back as %q", format, id, rows[i].ID)
			}
		}
	}
}

// TestTextForPeople: in aligned text and Markdown, every row is a line without control
// characters, with all its columns.
func TestTextForPeople(t *testing.T) {
	tab := New("id", "x")
	for i, id := range hostile {
		tab.Add(id, i)
	}
	var aligned, markdown, screen bytes.Buffer
	if err := tab.Screen(&screen, Screen{}); err != nil {
		t.Fatal(err)
	}
	if err := tab.Write(&aligned, "table"); err != nil {
		t.Fatal(err)
	}
	tab.Markdown(&markdown)
	for name, c := range map[string]struct {
		text  string
		lines int
	}{"table": {aligned.String(), len(hostile) + 1}, "Markdown": {markdown.String(), len(hostile) + 2}, "screen": {screen.String(), len(hostile) + 1}} {
		if strings.ContainsAny(c.text, "\x1b\x7f\x00\r\t\u009b\u202e") || strings.Count(c.text, "\n") != c.lines {
			t.Errorf("%s: %q", name, c.text)
		}
		if !strings.Contains(c.text, `\u001b]0;pwned\u0007\u001b[2J\u009b1m\u202eevil`) || !strings.Contains(c.text, `line\nline`) {
			t.Errorf("%s does not show what it escapes: %q", name, c.text)
		}
	}
	if !strings.Contains(markdown.String(), `\|pipe\|`) {
		t.Errorf("Markdown: %s", markdown.String())
	}
}

func TestParquetReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b, "parquet"); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name string   `parquet:"name"`
		N    int64    `parquet:"n"`
		Rate *float64 `parquet:"rate,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Name != "a\tb" || rows[0].N != 3 || *rows[0].Rate != 0.25 || rows[1].Rate != nil || rows[1].N != -1 {
		t.Errorf("read back %+v", rows)
	}
}
