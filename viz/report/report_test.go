package report

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/viz"
)

var small = Config{Window: 4, Top: 0.2, Theta: 0.04, SkipFirst: 2, MinSignificant: 1, Origin: viz.Origin{Arguments: []string{"report", "x.attn"}}}

func dump(t *testing.T, model, id string, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	h := dumpstest.Header("rows", "fine")
	h.Model.ID = model
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		dumpstest.Add(t, w, fmt.Sprint(id, i), "rows", rand.New(rand.NewPCG(1, uint64(i))))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPageHasTheNumbersOfTheTables finds the hit rate, the interval and the baselines
// of every layer in the page.
func TestPageHasTheNumbersOfTheTables(t *testing.T) {
	path := dump(t, "random", "p", 3)
	page, _, err := HTML(t.Context(), []string{path}, small)
	if err != nil {
		t.Fatal(err)
	}
	cfg := analysis.Paper
	cfg.Windows, cfg.Tops, cfg.Thetas = []int{4}, []float64{0.2}, []float64{0.04}
	rows, _, err := analysis.HitRates(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.SkipFirst = small.SkipFirst
	without, _, err := analysis.HitRates(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		want := fmt.Sprintf("<tr><td>%d</td>", row.Layer)
		for _, r := range []analysis.HitRateRow{row, without[i]} {
			want += fmt.Sprintf("<td>%.3f</td><td>%.3f</td><td>%.3f</td><td>%d</td>", r.HitRate, r.Low, r.High, r.Significant)
		}
		for _, value := range []float64{row.Chance, row.Recent, row.SinksRecent, row.Oracle, row.Overlap, row.Mass} {
			want += fmt.Sprintf("<td>%.3f</td>", value)
		}
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("no line %s", want)
		}
	}
	for _, want := range []string{
		"Hit rate by layer", "Hit rate by layer and head", "Hit rate by size of the window, without the first 2 positions",
		"Layer 0", "Layer 1", "p2", "sinks + recent", "Definitions",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	again, _, err := HTML(t.Context(), []string{path}, small)
	if err != nil || !bytes.Equal(page, again) {
		t.Errorf("the page differs the second time (%v)", err)
	}
}

// TestPageIsOffline checks that the page loads nothing and runs no scripts.
func TestPageIsOffline(t *testing.T) {
	page, _, err := HTML(t.Context(), []string{dump(t, "random", "p", 2)}, small)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`base64,[A-Za-z0-9+/=]*`).ReplaceAllString(string(page), "")
	if found := regexp.MustCompile(`(?i)<script|https?://|url\(|@import|<link|<iframe|\son\w+=`).FindString(text); found != "" {
		t.Errorf("the page holds %q", found)
	}
	if !strings.Contains(text, "default-src &#39;none&#39;") && !strings.Contains(text, "default-src 'none'") {
		t.Error("no policy")
	}
	if len(page) > MaxBytes {
		t.Errorf("%d bytes", len(page))
	}
}

// TestHostileNamesAreText checks that ids and names of models cannot become markup.
func TestHostileNamesAreText(t *testing.T) {
	const evil = `"><img src=x onerror=alert(1)></title></style><script>alert(2)</script>`
	page, _, err := HTML(t.Context(), []string{dump(t, evil, evil, 2)}, Config{Window: 4, Top: 0.2, Theta: 0.04, SkipFirst: 2, MinSignificant: 1, Origin: viz.Origin{Arguments: []string{evil}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<img src=x", "<script", "</title></style>"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %s", bad)
		}
	}
	if !bytes.Contains(page, []byte("&lt;script&gt;alert(2)")) {
		t.Error("the name is not shown as text")
	}
}

// TestNothingToReport checks that a page without numbers is an error and leaves no
// file.
func TestNothingToReport(t *testing.T) {
	path := dump(t, "random", "p", 1)
	out := filepath.Join(t.TempDir(), "r.html")
	for _, cfg := range []Config{
		{Window: 99, Top: 0.1, Theta: 0.1, SkipFirst: 4},
		{Window: 4, Top: 0.1, Theta: 0.1, SkipFirst: 4, Prompt: "none"},
	} {
		if _, err := WriteFile(t.Context(), out, []string{path}, cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file is left")
	}
}

// TestThinKeepsThePageSmall checks that thin leaves out every second figure and counts
// what it leaves out.
func TestThinKeepsThePageSmall(t *testing.T) {
	p := &page{}
	for i := range 5 {
		p.Layers = append(p.Layers, figure{Name: fmt.Sprint(i)})
	}
	p.thin()
	if len(p.Layers) != 3 || p.Layers[1].Name != "2" || p.LeftOut != 2 {
		t.Errorf("%d layers, %d left out", len(p.Layers), p.LeftOut)
	}
	for range 3 {
		p.thin()
	}
	if len(p.Layers) != 0 || p.LeftOut != 5 {
		t.Errorf("%d layers, %d left out", len(p.Layers), p.LeftOut)
	}
}

// TestTextIsShadedByTheHeadsThatKeepIt checks that a position is shaded by the share of
// heads that keep it, and not shaded if no head does.
func TestTextIsShadedByTheHeadsThatKeepIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteLarge(t, path, dumpstest.Shape{Layers: 2, Heads: 4, KVHeads: 2, Dim: 8, Prompt: 70, Rows: 16, Reply: 5})
	page, _, err := HTML(t.Context(), []string{path}, small)
	if err != nil {
		t.Fatal(err)
	}
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	count := make([]int, 66)
	for layer := range 2 {
		a, err := r.Weights(0, layer, dumps.Prefill)
		if err != nil {
			t.Fatal(err)
		}
		for h := range 4 {
			vote := make([]float64, 66)
			for i := 12; i < 16; i++ {
				for j := range vote {
					vote[j] += float64(a.Head(h)[i*70+j])
				}
			}
			for range 13 { // 20 % of 66
				best := 0
				for j, v := range vote {
					if v > vote[best] {
						best = j
					}
				}
				vote[best] = -1
				count[best]++
			}
		}
	}
	shaded := 0
	for j, n := range count {
		word := fmt.Sprintf("word%d ", j)
		if j%17 == 16 {
			continue // equal line ends
		}
		want := ">" + word + "<"
		if n > 0 {
			shaded++
			want = fmt.Sprintf(`<span class="k%d">%s</span>`, max(1, (9*n+4)/8), word)
		}
		if got := bytes.Contains(page, []byte(want)); n > 0 && !got {
			t.Errorf("position %d, kept by %d of 8 heads: no %s", j, n, want)
		}
		if n == 0 && bytes.Contains(page, []byte(">"+word+"</span>")) {
			t.Errorf("position %d is shaded, no head keeps it", j)
		}
	}
	if shaded < 14 || !bytes.Contains(page, []byte("word70 word71 ")) {
		t.Errorf("%d positions are kept; or the reply is missing", shaded)
	}
}

// TestPageHasSharesOfSinks: the tables of a model with learned sinks have their share in
// a last column, and other pages do not name it.
func TestPageHasSharesOfSinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Shapes(t, path, dumpstest.Kinds()["sinks"], dumps.StoreRows, dumps.Exact, "p", "q")
	page, _, err := HTML(t.Context(), []string{path}, small)
	if err != nil {
		t.Fatal(err)
	}
	cfg := analysis.Paper
	cfg.Windows, cfg.Tops, cfg.Thetas = []int{4}, []float64{0.2}, []float64{0.04}
	rows, _, err := analysis.HitRates(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		want := fmt.Sprintf("<td>%.3f</td><td>%.3f</td></tr>", row.Mass, row.Sink)
		if row.Sink < 0.1 || !bytes.Contains(page, []byte(want)) {
			t.Errorf("layer %d: share %g, no line with %s", row.Layer, row.Sink, want)
		}
	}
	if n := bytes.Count(page, []byte("<th>learned sink</th>")); n != 2 || !bytes.Contains(page, []byte("<dt>learned sink</dt>")) {
		t.Errorf("%d columns named learned sink, or no definition", n)
	}
	page, _, err = HTML(t.Context(), []string{dump(t, "random", "p", 2)}, small)
	if err != nil || bytes.Contains(page, []byte("learned sink")) {
		t.Errorf("a page of a model without learned sinks names them (%v)", err)
	}
}
