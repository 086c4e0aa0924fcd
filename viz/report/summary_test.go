package report

import (
	"bytes"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// sinkDump has two layers. In layer 0 the reply attends to the first position, for which
// the window votes, and to position 6, for which it does not. In layer 1 it attends to
// position 7 in both rows, for which the window votes in half of the rows of prompt a.
const sinkDump = `
dump layers=2 heads=1 rows=2
prompt a tokens=12 reply=2
0 * *     0=0.5
0 * 12-13 0=0.5 6=0.25
1 * 10-11 7=0.5
1 * 12    7=0.5
1 * 13    7=0.5 8=0.25
`

func sinkPage(t *testing.T, cfg Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteText(t, path, sinkDump)
	page, _, err := HTML(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestSinksDoNotFlatter checks that the summary names the layers that are lowest without
// the first positions, shows both rates, and says how much the first positions add.
func TestSinksDoNotFlatter(t *testing.T) {
	page := sinkPage(t, Config{Window: 2, Top: 0.1, Theta: 0.1, SkipFirst: 4, MinSignificant: 1})
	for _, want := range []string{
		"The vote kept 0.571 (n = 7) of the attended positions; without the first 4 positions, 0.400 (n = 5).",
		"29 % of the attended positions are among the first 4 (2 of 7).",
		"Without the first 4 positions: layer 0 (0.000, n = 2), layer 1 (0.667, n = 3).",
		"Without the first 4 positions: layer 0 head 0 (0.000, n = 2), layer 1 head 0 (0.667, n = 3).",
		"<tr><td>0</td><td>0.500</td><td>–</td><td>–</td><td>4</td><td>0.000</td><td>–</td><td>–</td><td>2</td>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestTooFewPositionsAreNotHeadlined checks that a layer whose rate rests on too few
// positions is marked in the table and not named in the summary.
func TestTooFewPositionsAreNotHeadlined(t *testing.T) {
	page := sinkPage(t, Config{Window: 2, Top: 0.1, Theta: 0.1, SkipFirst: 4, MinSignificant: 3})
	for _, want := range []string{
		"Without the first 4 positions: layer 1 (0.667, n = 3). 1 of 2 layers are left out, because they have fewer than 3 attended positions there.",
		`<tr><td>0</td><td>0.500</td><td>–</td><td>–</td><td>4</td><td class="few">0.000</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	page = sinkPage(t, Config{Window: 2, Top: 0.1, Theta: 0.1, SkipFirst: 4, MinSignificant: 9})
	for _, want := range []string{
		"0.571 (n = 7, too few for a conclusion)",
		"Every layer has fewer than 9 attended positions, too few for a conclusion.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestFewPromptsAreSaid checks that the summary says that intervals over two prompts are too
// narrow, and says nothing of the interval of one prompt, which has none.
func TestFewPromptsAreSaid(t *testing.T) {
	_, second, _ := strings.Cut(sinkDump, "prompt a")
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteText(t, path, sinkDump+"prompt b"+second)
	cfg := Config{Window: 2, Top: 0.1, Theta: 0.1, SkipFirst: 4, MinSignificant: 1}
	page, _, err := HTML(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	const note = "Intervals are bootstrapped over 2 prompts; with fewer than 10 they are too narrow."
	if !strings.Contains(string(page), note) {
		t.Errorf("the page lacks %q", note)
	}
	if strings.Contains(sinkPage(t, cfg), "How sure are the intervals?") {
		t.Error("the page of one prompt speaks of intervals")
	}
}

// TestCurvesLeaveOutFewPositions checks that a rate that rests on too few positions has
// neither a point nor a band.
func TestCurvesLeaveOutFewPositions(t *testing.T) {
	row := func(layer, significant int) analysis.HitRateRow {
		r := analysis.HitRateRow{Significant: significant, HitRate: 0.5, Low: 0.4, High: 0.6}
		r.Layer = layer
		return r
	}
	rows := []analysis.HitRateRow{row(0, 29), row(1, 30)}
	s := rateLine("x", false, rows, Config{MinSignificant: 30}, func(r *analysis.HitRateRow) float64 { return r.HitRate })
	if !math.IsNaN(s.Y[0]) || !math.IsNaN(s.Low[0]) || s.Y[1] != 0.5 || s.High[1] != 0.6 {
		t.Errorf("%+v", s)
	}
}

func TestWindowsAround(t *testing.T) {
	for _, c := range []struct {
		chosen, recorded int
		want             []int
	}{
		{32, 128, []int{2, 8, 32, 128}},
		{32, 64, []int{2, 8, 32, 64}},
		{32, 32, []int{2, 8, 32}},
		{4, 100, []int{1, 4, 16, 64, 100}},
	} {
		if got := windowsAround(c.chosen, c.recorded); !slices.Equal(got, c.want) {
			t.Errorf("window %d of %d rows: %v, want %v", c.chosen, c.recorded, got, c.want)
		}
	}
}

// TestProgressCoversBothPasses checks that the report says how far it has come, from the
// first layer of the first pass to the last of the second.
func TestProgressCoversBothPasses(t *testing.T) {
	var seen []analysis.Progress
	cfg := small
	cfg.Progress = func(p analysis.Progress) { seen = append(seen, p) }
	path := dump(t, "random", "p", 2)
	if _, _, err := HTML(t.Context(), []string{path}, cfg); err != nil {
		t.Fatal(err)
	}
	last := seen[len(seen)-1]
	if first := seen[0]; first.Done <= 0 || first.Total != last.Total || first.Done*2 > first.Total {
		t.Errorf("it begins with %+v", first)
	}
	if last.Done != last.Total/2 && last.Done != last.Total {
		t.Errorf("it ends with %+v", last)
	}
	if !slices.IsSortedFunc(seen, func(a, b analysis.Progress) int { return int(a.Done - b.Done) }) {
		t.Errorf("it goes back: %+v", seen)
	}
}

// TestPageFollowsTheColorScheme checks that the page and its figures have a dark scheme,
// and that paper is white.
func TestPageFollowsTheColorScheme(t *testing.T) {
	page := []byte(sinkPage(t, Config{Window: 2, Top: 0.1, Theta: 0.1, SkipFirst: 4, MinSignificant: 1}))
	for _, want := range []string{"color-scheme: light dark", "@media print { :root { color-scheme: light;", "@media (prefers-color-scheme: dark)"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if bytes.Contains(page, []byte("data:image/png")) {
		t.Error("a figure of the page is a PNG, which cannot follow the color scheme")
	}
}

// TestSizesAreOfTheSamePositions: position 7 is in the prefix of window 1, but not in that
// of window 4. Its rate is not compared with that of window 4, but stands above the table.
func TestSizesAreOfTheSamePositions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteText(t, path, `
dump layers=1 heads=1 rows=4
prompt a tokens=10 reply=1
0 0 6-8 3=0.5
0 0 9   1=0.2 7=0.4
0 0 10  1=0.1 3=0.2 7=0.3
`)
	page, _, err := HTML(t.Context(), []string{path}, Config{Window: 1, Top: 0.17, Theta: 0.05, SkipFirst: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"The vote kept 0.333 (n = 3)",
		"those before the last 4 prompt tokens",
		"<tr><td>1</td><td>0.500</td><td>–</td><td>–</td><td>2</td>",
		"<tr><td>4</td><td>0.500</td><td>–</td><td>–</td><td>2</td>",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := bytes.Count(page, []byte("All windows are rated on the same positions, the prefix of the largest window, 4.")); n != 2 {
		t.Errorf("%d captions of figures name the prefix, want 2", n)
	}
}

// TestBestMethodsNameTies: h2o's interval overlaps with that of tova, snapkv's does not.
// Without intervals nothing is said about ties.
func TestBestMethodsNameTies(t *testing.T) {
	row := func(method string, mass, low, high float64) analysis.MethodRow {
		r := analysis.MethodRow{Mass: mass, Low: low, High: high}
		r.Method = method
		r.Capacity = 64
		return r
	}
	c := comparison{capacities: []int{64}, settings: "window 32", rows: []analysis.MethodRow{
		row("snapkv", 0.3, 0.2, 0.39), row("tova", 0.5, 0.4, 0.6), row("h2o", 0.45, 0.3, 0.5), row("oracle", 0.9, 0.8, 1),
	}}
	want := "(window 32): tova at 64 (0.500, 95 % interval 0.400 to 0.600; overlapping: h2o 0.450)."
	if got := bestMethods(&c); !strings.Contains(got, want) || !strings.HasPrefix(got, "Of the methods shown below") {
		t.Errorf("%q lacks %q", got, want)
	}
	for i := range c.rows {
		c.rows[i].Low = math.NaN()
		c.rows[i].High = math.NaN()
	}
	if got := bestMethods(&c); !strings.Contains(got, ": tova at 64 (0.500).") {
		t.Errorf("%q", got)
	}
}

// TestLowestNamesSparsePrompts: a rate that one prompt with 3 of 45 positions decides as
// much as the others says so.
func TestLowestNamesSparsePrompts(t *testing.T) {
	cfg := Config{SkipFirst: 4, MinSignificant: 30}
	list := []place{
		{"layer 1", &analysis.HitRateRow{HitRate: 0.1, Significant: 45, Sparsest: 3, Prompts: 4}},
		{"layer 2", &analysis.HitRateRow{HitRate: 0.2, Significant: 90, Sparsest: 20, Prompts: 4}},
	}
	want := "Without the first 4 positions: layer 1 (0.100, n = 45, only 3 in one prompt), layer 2 (0.200, n = 90). " +
		"A rate is a mean over prompts: one with only a few positions counts as much as any other."
	if got := lowest("layer", list, cfg); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := lowest("layer", list[1:], cfg); got != "Without the first 4 positions: layer 2 (0.200, n = 90)." {
		t.Errorf("%q", got)
	}
}
