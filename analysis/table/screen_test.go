package table

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// rates is a table like that of hitrate: two layers, two windows.
func rates() *Table {
	t := New("model", "prompt", "layer", "window", "theta", "n", "rate", "mass")
	t.Add("m", "*", 0, 8, 0.05, 3, 1.0, 0.12345)
	t.Add("m", "*", 0, 32, 0.05, 3, 2.0/3, 0.5)
	t.Add("m", "*", 10, 8, 0.05, 1200, 0.98765, math.NaN())
	t.Add("m", "*", 10, 32, 0.05, 1200, 0.00012345, 12345678.0)
	return t
}

// TestScreen: what is the same in all rows stands above the table, doubtful cells are
// in parentheses, and the total is the last row.
func TestScreen(t *testing.T) {
	var b strings.Builder
	err := rates().Screen(&b, Screen{
		Values:   []string{"rate", "mass"},
		Totals:   [][]any{{"m", "*", -1, -1, 0.05, 1203, 0.5, 0.25}},
		Doubtful: func(r int, column string) bool { return column == "rate" && r < 2 },
		Notes:    []string{"In parentheses: fewer than 30."},
	})
	want := `model m, theta 0.05
layer  window     n      rate      mass
    0       8     3       (1)     0.123
    0      32     3   (0.667)     0.500
   10       8  1200     0.988         -
   10      32  1200  0.000123  1.23e+07
  all          1203     0.500     0.250
In parentheses: fewer than 30.
`
	got := strings.ReplaceAll(b.String(), " \n", "\n")
	if err != nil || squeeze(got) != squeeze(want) {
		t.Errorf("%v\n%swant\n%s", err, got, want)
	}
	for i, line := range strings.Split(strings.TrimSpace(b.String()), "\n")[1:7] {
		if at := strings.Index(line, "  "); at < 0 {
			t.Errorf("line %d, %q, has no columns", i, line)
		}
	}
}

// squeeze joins runs of spaces, so that a test does not count them.
func squeeze(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

// TestScreenAlignsColumns: numbers end, and words begin, in the same place.
func TestScreenAlignsColumns(t *testing.T) {
	x := New("name", "n")
	x.Add("a", 1)
	x.Add("longer", 1000)
	var b strings.Builder
	if err := x.Screen(&b, Screen{}); err != nil {
		t.Fatal(err)
	}
	if want := "name       n\na          1\nlonger  1000\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestLaTeX: special characters are escaped, constants are in comments, and numbers are
// short.
func TestLaTeX(t *testing.T) {
	x := New("model", "name", "hit_rate", "n")
	x.Add("m_1", "50% & more", 0.98765, 3)
	x.Add("m_1", "a\\b", 1.5e-7, 12)
	x.Add("m_1", "{x}", math.NaN(), 7)
	var b strings.Builder
	if err := x.Write(&b, "latex"); err != nil {
		t.Fatal(err)
	}
	want := `% model: m\_1
\begin{tabular}{lrr}
\toprule
name & hit rate & n \\
\midrule
50\% \& more & 0.988 & 3 \\
a\textbackslash{}b & $1.5\cdot 10^{-7}$ & 12 \\
\{x\} & -- & 7 \\
\bottomrule
\end{tabular}
`
	if b.String() != want {
		t.Errorf("%s want %s", b.String(), want)
	}
}

func TestPivot(t *testing.T) {
	keys := []string{"model", "prompt", "layer", "window", "theta"}
	got, err := rates().Pivot("window", "rate", keys)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := got.Write(&b, "csv"); err != nil {
		t.Fatal(err)
	}
	want := "model,prompt,layer,theta,window=8,window=32\nm,*,0,0.05,1,0.666667\nm,*,10,0.05,0.98765,0.00012345\n"
	if b.String() != want {
		t.Errorf("%s want %s", b.String(), want)
	}
	for _, bad := range [][2]string{{"rate", "mass"}, {"none", "rate"}, {"window", "layer"}, {"window", "none"}} {
		if _, err := rates().Pivot(bad[0], bad[1], keys); err == nil {
			t.Errorf("pivot %q of %q: no error", bad[0], bad[1])
		}
	}
	if _, err := rates().Pivot("layer", "rate", []string{"layer"}); err == nil || !strings.Contains(err.Error(), "several rows") {
		t.Errorf("two windows in one cell: %v", err)
	}
}

// TestScreenWritesBytesWithUnits, and small numbers with three significant digits.
func TestScreenWritesBytesWithUnits(t *testing.T) {
	x := New("method", "full_bytes", "cache_bytes", "loss")
	x.Add("snapkv", 1536.0, 512.0, 0.012345)
	x.Add("h2o", 1536.0, 80239100.0, 0.5)
	x.Add("knorm", 1536.0, math.NaN(), 0.00012345)
	var b strings.Builder
	if err := x.Screen(&b, Screen{}); err != nil {
		t.Fatal(err)
	}
	want := "full_bytes 1.5 KiB\n" +
		"method  cache_bytes      loss\n" +
		"snapkv        512 B    0.0123\n" +
		"h2o        76.5 MiB     0.500\n" +
		"knorm             -  0.000123\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestWideTablesHaveExactBytes: all digits in the format table; other formats have six.
func TestWideTablesHaveExactBytes(t *testing.T) {
	x := New("method", "cache_bytes")
	x.Add("snapkv", 80239104.0)
	x.Add("h2o", math.NaN())
	for format, want := range map[string]string{
		"table": "  method  cache_bytes\n  snapkv     80239104\n     h2o          NaN\n",
		"tsv":   "method\tcache_bytes\nsnapkv\t8.02391e+07\nh2o\tNaN\n",
	} {
		var b strings.Builder
		if err := x.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("%s: got\n%q want\n%q", format, b.String(), want)
		}
	}
}

// TestScreenWithoutRowsHasOnlyNotes: there are no columns to head.
func TestScreenWithoutRowsHasOnlyNotes(t *testing.T) {
	var b strings.Builder
	if err := New("a", "b").Screen(&b, Screen{Notes: []string{"nothing found"}}); err != nil {
		t.Fatal(err)
	}
	if b.String() != "nothing found\n" {
		t.Errorf("got %q", b.String())
	}
}

// TestCheckPivotNeedsNoRows: names are checked before anything is computed.
func TestCheckPivotNeedsNoRows(t *testing.T) {
	x := New("layer", "window", "rate", "hits")
	keys := []string{"layer", "window"}
	for _, test := range []struct{ name, measure, want string }{
		{"window", "rate", "<nil>"},
		{"windw", "rate", `pivot "windw": want layer or window`},
		{"rate", "rate", `pivot "rate": want layer or window`},
		{"window", "rat", `measure "rat": want rate or hits`},
		{"window", "layer", `measure "layer": want rate or hits`},
	} {
		if got := fmt.Sprint(x.CheckPivot(test.name, test.measure, keys)); got != test.want {
			t.Errorf("%s, %s: %s, want %s", test.name, test.measure, got, test.want)
		}
	}
}
