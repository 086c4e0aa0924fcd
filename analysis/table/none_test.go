package table

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// holesOfTest has a model of five layers, of which 0, 2 and 4 have no attention.
func holesOfTest(model string) []int {
	if model == "hybrid" {
		return []int{0, 2, 4}
	}
	return nil
}

// TestWithLayers inserts rows of None in the order of the layers, for each data set.
func TestWithLayers(t *testing.T) {
	table := New("model", "dataset", "layer", "window", "rate")
	for _, dataset := range []string{"x", "y"} {
		for _, layer := range []int{1, 3} {
			table.Add("hybrid", dataset, layer, 8, 0.5)
			table.Add("hybrid", dataset, layer, 16, 0.25)
		}
	}
	table.Add("plain", "x", 0, 8, 0.75)
	out, origin := table.WithLayers(holesOfTest)
	var got []string
	for i, row := range out.Rows {
		got = append(got, strings.Trim(strings.ReplaceAll(strings.Join([]string{text(row[1]), text(row[2]), text(row[3]), text(row[4])}, " "), "*", ""), " "))
		if (origin[i] < 0) != isNone(row[4]) || origin[i] >= 0 && !slices.Equal(row, table.Rows[origin[i]]) {
			t.Errorf("row %d comes from %d: %v", i, origin[i], row)
		}
	}
	want := []string{
		"x 0 none none", "x 1 8 0.5", "x 1 16 0.25", "x 2 none none", "x 3 8 0.5", "x 3 16 0.25", "x 4 none none",
		"y 0 none none", "y 1 8 0.5", "y 1 16 0.25", "y 2 none none", "y 3 8 0.5", "y 3 16 0.25", "y 4 none none",
		"x 0 8 0.75",
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var b bytes.Buffer
	if err := out.Write(&b, "jsonl"); err != nil || !strings.HasPrefix(b.String(), `{"model":"hybrid","dataset":"x","layer":0,"window":null,"rate":null}`) {
		t.Errorf("JSON (%v): %s", err, b.String())
	}
	b.Reset()
	if err := out.Write(&b, "parquet"); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Layer  int64    `parquet:"layer"`
		Window *int64   `parquet:"window,optional"`
		Rate   *float64 `parquet:"rate,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(rows) != len(want) {
		t.Fatal(len(rows), err)
	}
	if rows[0].Window != nil || rows[0].Rate != nil || *rows[1].Window != 8 || *rows[2].Rate != 0.25 || rows[3].Layer != 2 {
		t.Errorf("Parquet rows %+v", rows[:4])
	}
	b.Reset()
	if err := out.Screen(&b, Screen{Values: []string{"rate"}}); err != nil || !strings.Contains(b.String(), "none") {
		t.Errorf("screen (%v): %s", err, b.String())
	}
}

// TestWithLayersOfOtherTables: rows about all layers get none, sorted rows get them last,
// and a table that is pivoted by layer gets columns.
func TestWithLayersOfOtherTables(t *testing.T) {
	pooled := New("model", "layer", "rate")
	pooled.Add("hybrid", -1, 0.5)
	if out, _ := pooled.WithLayers(holesOfTest); len(out.Rows) != 1 {
		t.Errorf("rows about all layers: %v", out.Rows)
	}
	sorted := New("model", "layer", "rate")
	sorted.Add("hybrid", 3, 0.1)
	sorted.Add("hybrid", 1, 0.5)
	out, _ := sorted.WithLayers(holesOfTest)
	var layers []int
	for _, row := range out.Rows {
		layers = append(layers, row[1].(int))
	}
	if want := []int{3, 1, 0, 2, 4}; !slices.Equal(layers, want) {
		t.Errorf("sorted rows: layers %v, want %v", layers, want)
	}
	pivoted := New("model", "layer=1", "layer=3")
	pivoted.Add("hybrid", 0.5, 0.25)
	pivoted.Add("plain", 0.75, math.NaN())
	out, _ = pivoted.WithLayers(holesOfTest)
	if want := []string{"model", "layer=0", "layer=1", "layer=2", "layer=3", "layer=4"}; !slices.Equal(out.Columns, want) {
		t.Errorf("columns %v, want %v", out.Columns, want)
	}
	if row := out.Rows[0]; !isNone(row[1]) || row[2] != 0.5 || !isNone(row[5]) {
		t.Errorf("pivoted row %v", row)
	}
	if v, number := out.Rows[1][1].(float64); !number || !math.IsNaN(v) {
		t.Errorf("pivoted row of a model without holes: %v", out.Rows[1])
	}
}

// TestLatexShowsWhatLayersLack: with rates of one layer only, the rows of the other
// layers say that they have none, instead of a comment with a rate that seems to be that
// of all.
func TestLatexShowsWhatLayersLack(t *testing.T) {
	table := New("model", "layer", "window", "rate")
	table.Add("hybrid", 3, 32, 0.25)
	out, _ := table.WithLayers(holesOfTest)
	out.Values = []string{"rate"}
	var b bytes.Buffer
	if err := out.Write(&b, "latex"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"% window: 32\n", "layer & rate", "\n0 & none \\\\\n", "\n3 & 0.250 \\\\\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestAlternatingPromptsHaveTheirLayers: every prompt gets rows of the layers without
// attention, also if the rows of the prompts alternate.
func TestAlternatingPromptsHaveTheirLayers(t *testing.T) {
	table := New("model", "prompt", "layer", "head")
	for head := range 2 {
		for _, prompt := range []string{"a", "b"} {
			table.Add("hybrid", prompt, 1, head)
		}
	}
	out, origin := table.WithLayers(holesOfTest)
	var got []string
	for _, row := range out.Rows {
		got = append(got, strings.Join([]string{text(row[1]), text(row[2]), text(row[3])}, " "))
	}
	want := []string{
		"a 0 none", "b 0 none", "a 1 0", "b 1 0", "a 1 1", "b 1 1", "a 2 none", "b 2 none", "a 4 none", "b 4 none",
	}
	if !slices.Equal(got, want) || !slices.Equal(origin, []int{-1, -1, 0, 1, 2, 3, -1, -1, -1, -1}) {
		t.Errorf("rows %q of %v, want %q", got, origin, want)
	}
}

// TestNoneInText: an empty cell for programs, a word for readers.
func TestNoneInText(t *testing.T) {
	tab := New("layer", "rate", "mass")
	tab.Add(0, None, 1.5)
	tab.Add(1, math.NaN(), None)
	for format, want := range map[string]string{
		"csv": "layer,rate,mass\n0,,1.5\n1,NaN,\n",
		"tsv": "layer\trate\tmass\n0\t\t1.5\n1\tNaN\t\n",
	} {
		var b strings.Builder
		if err := tab.Write(&b, format); err != nil || b.String() != want {
			t.Errorf("%s: %q, want %q (%v)", format, b.String(), want, err)
		}
	}
	var b strings.Builder
	if err := tab.Write(&b, "table"); err != nil || strings.Count(b.String(), "none") != 2 {
		t.Errorf("table: %q (%v)", b.String(), err)
	}
}
