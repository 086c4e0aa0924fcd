package analysis

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// handDump has one layer of two heads and a prompt whose rates can be computed by
// hand. With a window of 2, the prefix has 8 positions, and a top of 0.25 keeps two.
//
//	head 0  keeps 1 and 3; significant are 1, 5, 6 in the first reply row, 3 in the second
//	head 1  keeps 0 and, by the tie, 1; significant is 6 in the first row
const handDump = `
dump layers=1 heads=2 rows=2
prompt a tokens=10 reply=2
0 0 8  1=0.3 3=0.2
0 0 9  1=0.3 3=0.1
0 0 10 1=0.2 5=0.2 6=0.2
0 0 11 3=0.3
0 1 8-9 0=0.5
0 1 10 6=0.5
`

// handConfig is the setting of handDump.
func handConfig() HitRateConfig {
	cfg := Paper
	cfg.Windows = []int{2}
	cfg.Tops = []float64{0.25}
	return cfg
}

func writeText(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteText(t, path, text)
	return path
}

// rowsOf rates a dump and fails on an error.
func rowsOf(t *testing.T, path string, cfg HitRateConfig) ([]HitRateRow, []Warning) {
	t.Helper()
	rows, warnings, err := HitRates(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return rows, warnings
}

func TestHitRatesByHand(t *testing.T) {
	rows, warnings := rowsOf(t, writeText(t, handDump), handConfig())
	if len(rows) != 1 {
		t.Fatalf("%d rows, want one layer: %+v", len(rows), rows)
	}
	row := rows[0]
	if row.Layer != 0 || row.Head != -1 || row.Span != -1 || row.Prompt != "*" || row.Window != 2 || row.Budget != 2 {
		t.Errorf("key %+v, want layer 0, window 2, budget 2, the rest aggregated", row.Key)
	}
	if row.Rows != 4 || row.Skipped != 1 || row.Prompts != 1 || row.Significant != 5 || row.Hits != 2 {
		t.Errorf("%+v, want 4 rows of one prompt, 1 skipped, 2 hits of 5", row)
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"hit rate", row.HitRate, 2.0 / 5},
		{"chance", row.Chance, 2.0 / 8},
		{"recent", row.Recent, 2.0 / 5},              // 6 and 7
		{"sinks + recent", row.SinksRecent, 1.0 / 5}, // 0 and 1
		{"oracle", row.Oracle, 3.0 / 5},              // 1 and 3; 0 and 6
		{"overlap", row.Overlap, (1 + 0.5) / 2},
		{"mass", row.Mass, (0.1 + 0.15) / 2},
	} {
		if math.Abs(c.got-c.want) > 1e-3 {
			t.Errorf("%s %g, want %g", c.name, c.got, c.want)
		}
	}
	if !math.IsNaN(row.Low) || !math.IsNaN(row.High) {
		t.Errorf("interval %g to %g of one prompt", row.Low, row.High)
	}
	if !slices.Equal(warnings, []Warning{{Kind: FewPrompts}}) {
		t.Errorf("warnings %v, want that there are too few prompts", warnings)
	}
}

// Rows have rates 1/3, 1 and 0; heads have means 2/3 and 0.
func TestAverages(t *testing.T) {
	path := writeText(t, handDump)
	for average, want := range map[Average]float64{AveragePooled: 2.0 / 5, AverageRows: 4.0 / 9, AverageHeads: 1.0 / 3} {
		cfg := handConfig()
		cfg.Average = average
		if rows, _ := rowsOf(t, path, cfg); math.Abs(rows[0].HitRate-want) > 1e-12 {
			t.Errorf("%s: %g, want %g", average, rows[0].HitRate, want)
		}
	}
}

func TestKeysSplitRows(t *testing.T) {
	cfg := handConfig()
	cfg.By = []By{ByHead, BySpan}
	cfg.Span = 1
	rows, _ := rowsOf(t, writeText(t, handDump), cfg)
	want := []struct {
		head, span        int
		hits, significant int
	}{{0, 0, 1, 3}, {0, 1, 1, 1}, {1, 0, 0, 1}, {1, 1, 0, 0}}
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i, w := range want {
		r := &rows[i]
		if r.Layer != -1 || r.Head != w.head || r.Span != w.span || r.Hits != w.hits || r.Significant != w.significant {
			t.Errorf("row %d is %+v, want %+v", i, *r, w)
		}
	}
	if !math.IsNaN(rows[3].HitRate) {
		t.Errorf("hit rate %g where nothing is significant, want NaN", rows[3].HitRate)
	}
}

// The mean rows of head 0 have .1 on 1, 5 and 6 and .15 on 3: with a threshold of
// 0.12 only 3 is significant.
func TestMeanRowIsThresholded(t *testing.T) {
	cfg := handConfig()
	cfg.Thetas = []float64{0.12}
	cfg.By = []By{ByHead}
	cfg.Generation = GenerationMean
	rows, _ := rowsOf(t, writeText(t, handDump), cfg)
	if r := rows[0]; r.Rows != 1 || r.Significant != 1 || r.Hits != 1 {
		t.Errorf("%+v, want one row with one position, kept", r)
	}
}

// With Exact the prompt ends one token early: its last row counts as the first row of
// the reply.
func TestExactMovesTheLastRow(t *testing.T) {
	cfg := handConfig()
	cfg.Windows = []int{1}
	cfg.Exact = true
	rows, _ := rowsOf(t, writeText(t, handDump), cfg)
	if r := rows[0]; r.Rows != 6 || r.Significant != 8 || r.Chance != 2.0/8 {
		t.Errorf("%d rows with %d significant positions, chance %g; want 6 with 8, and 2 of 8", r.Rows, r.Significant, r.Chance)
	}
}

func TestHitRateWarnings(t *testing.T) {
	path := writeText(t, handDump+"prompt silent tokens=9 reply=0\nprompt short tokens=2 reply=1\n")
	_, warnings := rowsOf(t, path, handConfig())
	want := []Warning{
		{Kind: NoReply, Path: path, Prompt: "silent"},
		{Kind: NoPrefix, Path: path, Prompt: "short", Tokens: 2, Window: 2},
		{Kind: FewPrompts},
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("warnings %+v, want %+v", warnings, want)
	}
	if left := Without(warnings, NoReply); len(left) != 2 || len(warnings) != 3 {
		t.Errorf("%d of %d warnings without one kind, want 2 of 3", len(left), len(warnings))
	}
	cfg := handConfig()
	cfg.Tops = []float64{0.01}
	if _, warnings := rowsOf(t, path, cfg); !slices.Contains(warnings, Warning{Kind: NothingKept}) {
		t.Errorf("warnings %v, want that nothing is kept", warnings)
	}
}

func TestHitRateErrors(t *testing.T) {
	path := writeText(t, handDump)
	cfg := handConfig()
	cfg.Windows = []int{3}
	if _, _, err := HitRates(t.Context(), []string{path}, cfg); err == nil || !strings.Contains(err.Error(), "--window-rows 3") {
		t.Errorf("a window that was not recorded: %v", err)
	}
	silent := writeText(t, "dump layers=1 heads=1 rows=2\nprompt a tokens=9 reply=0\n")
	if _, _, err := HitRates(t.Context(), []string{silent}, handConfig()); !errors.Is(err, ErrNothing) {
		t.Errorf("no reply: %v, want ErrNothing", err)
	}
}

func TestHitRateConfigCheck(t *testing.T) {
	if err := Paper.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*HitRateConfig){
		"window 0":         func(c *HitRateConfig) { c.Windows = []int{0} },
		"top 1.5":          func(c *HitRateConfig) { c.Tops = []float64{1.5} },
		"top NaN":          func(c *HitRateConfig) { c.Tops = []float64{math.NaN()} },
		"budget -1":        func(c *HitRateConfig) { c.Budgets = []int{-1} },
		"theta 2":          func(c *HitRateConfig) { c.Thetas = []float64{2} },
		`by "day"`:         func(c *HitRateConfig) { c.By = []By{"day"} },
		"span 0":           func(c *HitRateConfig) { c.Span = 0 },
		"skip-first -1":    func(c *HitRateConfig) { c.SkipFirst = -1 },
		"kernel 4":         func(c *HitRateConfig) { c.Kernel = 4 },
		`pooling "sum"`:    func(c *HitRateConfig) { c.Pooling = "sum" },
		`average "all"`:    func(c *HitRateConfig) { c.Average = "all" },
		`generation "all"`: func(c *HitRateConfig) { c.Generation = "all" },
	} {
		cfg := Paper
		change(&cfg)
		if err := cfg.Check(); err == nil || !strings.HasPrefix(err.Error(), want+": want ") {
			t.Errorf("%v, want an error that begins with %q", err, want)
		}
	}
}

func TestParseBy(t *testing.T) {
	for text, want := range map[string][]By{
		"layer":          {ByLayer},
		" head , prompt": {ByHead, ByPrompt},
		"none":           nil,
		"":               nil,
	} {
		if got, err := ParseBy(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := ParseBy("layer,day"); err == nil || !strings.Contains(err.Error(), `"day"`) {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestHitRateTableHasTheRowsCells(t *testing.T) {
	row := HitRateRow{
		Key:  Key{"m", "d", "p", 1, 2, 3, 4, 0.5, 6, 0.25},
		Rows: 7, Skipped: 8, Prompts: 9, Significant: 10, Hits: 11, HitRate: 0.1, Low: 0.2, High: 0.3, Chance: 0.4,
		Recent: 0.5, SinksRecent: 0.6, Oracle: 0.7, Overlap: 0.8, Mass: 0.9,
	}
	var b strings.Builder
	if err := HitRateTable([]HitRateRow{row}).Write(&b, "csv"); err != nil {
		t.Fatal(err)
	}
	want := "model,dataset,prompt,layer,head,window,span,top,budget,theta,rows,skipped,prompts,significant,hits," +
		"hit_rate,ci_low,ci_high,chance,recent,sinks_recent,oracle,overlap,mass\n" +
		"m,d,p,1,2,3,4,0.5,6,0.25,7,8,9,10,11,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9\n"
	if b.String() != want {
		t.Errorf("table\n%swant\n%s", b.String(), want)
	}
}
