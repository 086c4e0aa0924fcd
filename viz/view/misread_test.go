package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestPooledRatesAreThoseOfTheTables compares the rates over all layers and heads, and
// the counts of heads, with analysis.HitRates. A mean over the layers' rates is another
// number.
func TestPooledRatesAreThoseOfTheTables(t *testing.T) {
	v := open(t, "rows", 0)
	cfg := analysis.Paper
	cfg.Windows, cfg.Tops, cfg.Thetas = []int{2, 8}, []float64{0.2}, []float64{0.04}
	for _, skip := range []int{0, 4} {
		cfg.By, cfg.SkipFirst = nil, skip
		want, _, err := analysis.HitRates(t.Context(), []string{v.path}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		q := fmt.Sprintf("?p=all&top=0.2&theta=0.04&skip=%d", skip)
		var got struct{ Rows []map[string]float64 }
		v.json("api/sweep"+q+"&layer=all&window=2,8", &got)
		if len(got.Rows) != 2 || len(want) != 2 {
			t.Fatalf("%d rows, want %d", len(got.Rows), len(want))
		}
		for i, rates := range got.Rows {
			for name, g := range rates {
				if w := rateNamed(want[i], name); math.Abs(g-w) > 1e-12 {
					t.Errorf("skip %d, window %d: %s is %g, want %g", skip, want[i].Window, name, g, w)
				}
			}
		}
		cfg.By = []analysis.By{analysis.ByLayer, analysis.ByHead}
		if want, _, err = analysis.HitRates(t.Context(), []string{v.path}, cfg); err != nil {
			t.Fatal(err)
		}
		compared := 0
		for _, row := range want {
			if row.Window != 8 {
				continue
			}
			var got struct{ Significant, Hits []int }
			v.json(fmt.Sprintf("api/stats%s&layer=%d&window=8", q, row.Layer), &got)
			if got.Significant[row.Head] != row.Significant || got.Hits[row.Head] != row.Hits {
				t.Errorf("skip %d, layer %d, head %d: %d of %d hits, want %d of %d", skip, row.Layer, row.Head,
					got.Hits[row.Head], got.Significant[row.Head], row.Hits, row.Significant)
			}
			compared++
		}
		if compared != 8 {
			t.Errorf("%d heads compared", compared)
		}
	}
}

// text returns the text of the elements that a selector finds.
func (b *tab) text(selector string) string {
	b.Helper()
	var s string
	list := fmt.Sprintf(`return [...document.querySelectorAll(%q)].map(e => e.innerText).join("\n")`, selector)
	if err := json.Unmarshal([]byte(b.eval(list)), &s); err != nil {
		b.Fatal(err)
	}
	return s
}

// TestFewPositionsAreNotRanked: heads whose rate rests on fewer positions than min are not
// among the highest and lowest. The summary is the pooled rate, with the one without the
// first positions. The box at the pointer has value and count.
func TestFewPositionsAreNotRanked(t *testing.T) {
	b := openTab(t)
	v := open(t, "factors", 0)
	const settings = "&theta=0.04&top=0.2"
	type head struct {
		layer, head, n int
		rate           float64
	}
	var heads []head
	for layer := range 2 {
		var got struct {
			Measures    map[string][]float64
			Significant []int
		}
		v.json(fmt.Sprintf("api/stats?p=all&layer=%d&window=8%s", layer, settings), &got)
		for i, n := range got.Significant {
			heads = append(heads, head{layer, i, n, got.Measures["hit_rate"][i]})
		}
	}
	slices.SortFunc(heads, func(x, y head) int { return x.n - y.n })
	least := heads[3].n
	var want []string
	for _, h := range heads {
		if h.n >= least {
			want = append(want, fmt.Sprint(h.layer, h.head, h.n))
		}
	}
	few := len(heads) - len(want)
	if few == 0 || len(want) < 3 {
		t.Fatalf("the dump does not test the minimum: %v", heads)
	}
	b.visit(v, fmt.Sprintf("v=overview&mean=1&w=8&min=%d%s", least, settings))
	total := b.table(0)
	for i, skip := range []int{0, 4} {
		var got struct {
			Rows []struct {
				Significant int
				HitRate     float64 `json:"hit_rate"`
			}
		}
		v.json(fmt.Sprintf("api/sweep?p=all&layer=all&window=8&skip=%d%s", skip, settings), &got)
		row := total[1+i]
		if math.Abs(number64(strings.Trim(row[1], "()"))-got.Rows[0].HitRate) > 0.0006 || row[3] != fmt.Sprint(got.Rows[0].Significant) {
			t.Errorf("without the first %d: the page says %v, the API %+v", skip, row, got.Rows[0])
		}
	}
	var ranked []string
	for _, row := range b.table(1)[1:] {
		ranked = append(ranked, fmt.Sprint(row[0], " ", row[1], " ", row[4]))
	}
	slices.Sort(ranked)
	slices.Sort(want)
	if !slices.Equal(ranked, want) {
		t.Errorf("ranked heads (layer, head, n): %v, want %v", ranked, want)
	}
	if text := b.text("aside"); !strings.Contains(text, fmt.Sprintf("%d heads are hatched and not ranked", few)) {
		t.Errorf("the panel does not say that %d heads are hatched: %s", few, text)
	}
	first := heads[0] // the pointer is put on its cell
	var point struct{ X, Y float64 }
	at := `const c = document.querySelector(".stage canvas").getBoundingClientRect();
		for (let y = 60; y < c.height; y += 4) for (let x = 40; x < c.width; x += 4) {
			document.querySelector(".stage canvas").dispatchEvent(new PointerEvent("pointermove", {clientX: c.left + x, clientY: c.top + y}));
			const tip = document.getElementById("tip");
			if (!tip.hidden && tip.innerText.startsWith("layer %d, head %d\n")) return {x: c.left + x, y: c.top + y};
		} return {};`
	if err := json.Unmarshal([]byte(b.eval(fmt.Sprintf(at, first.layer, first.head))), &point); err != nil || point.X == 0 {
		t.Fatalf("no cell of the first head: %v", err)
	}
	if tip := b.text("#tip"); !strings.Contains(tip, fmt.Sprintf("n = %d: too few", first.n)) {
		t.Errorf("the box at the pointer says %q, want n = %d: too few", tip, first.n)
	}
	if cursor := b.eval(`return document.querySelector(".stage canvas").style.cursor`); cursor != `"pointer"` {
		t.Errorf("the cursor on a cell is %s", cursor)
	}
	if b.exception != "" {
		t.Errorf("exceptions: %s", b.exception)
	}
}

// TestMethodsAreProvisional: while a layer is missing, the plot says so, nothing is ranked
// and nothing can be exported.
func TestMethodsAreProvisional(t *testing.T) {
	b := openTab(t)
	v := open(t, "factors", 0)
	b.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		const ask = fetch; const gate = new Promise(open => { window.open_ = open; });
		window.fetch = async (url, o) => { if (/methods.*layer=1/.test(url)) await gate; return ask(url, o); };
		window.said = []; const write = CanvasRenderingContext2D.prototype.fillText;
		CanvasRenderingContext2D.prototype.fillText = function (text, x, y) { said.push(text); write.call(this, text, x, y); };`})
	b.load(v, "v=sweep&sw=method&w=8") // the address of earlier versions
	const half = `document.querySelector("[data-provisional=yes]") && said.some(text => /^provisional: \d/.test(text)) && said.includes("snapkv")`
	if !b.until(half) {
		t.Errorf("the plot of one layer is not provisional: %s", b.eval("return said.slice(-40)"))
	}
	if tab := b.text("[aria-pressed=true]"); tab != "Methods" {
		t.Errorf("the tab is %q, want Methods", tab)
	}
	if n := b.eval(`return document.querySelectorAll("aside table").length`); n != "0" {
		t.Errorf("%s tables rank methods by one layer", n)
	}
	b.eval(`const choice = document.querySelector("[aria-label=export]"); choice.value = "csv"; choice.dispatchEvent(new Event("change"));`)
	if got := b.text("#status"); !strings.Contains(got, "not all layers are read yet") {
		t.Errorf("an export of one layer says %q", got)
	}
	b.eval("said.length = 0; open_()")
	b.ready()
	if got := b.eval(`return said.filter(text => /provisional/.test(text)).length - said.filter(text => /^until all/.test(text)).length`); got != "0" {
		t.Errorf("provisional texts: %s", got)
	}
	b.eval("said.length = 0; dispatchEvent(new Event('resize')); await new Promise(r => setTimeout(r, 300));")
	if got := b.eval("return said.some(text => /provisional/.test(text))"); got != "false" {
		t.Error("the complete plot is called provisional")
	}
}

// TestCompareOpensOnTwoPrompts also checks that a choice of the same prompt is obeyed.
func TestCompareOpensOnTwoPrompts(t *testing.T) {
	b := openTab(t)
	v := open(t, "factors", 0)
	for hash, want := range map[string][2]string{
		"v=compare&w=8":               {"p0", "p1"},
		"v=compare&w=8&p=1":           {"p1", "p0"},
		"v=compare&w=8&p=1&c2=0&p2=1": {"p1", "p1"},
	} {
		b.visit(v, hash)
		rows := b.table(0)
		for i, id := range want {
			if !strings.HasSuffix(rows[i][1], ": "+id) {
				t.Errorf("%s: row %d compares %q, want %s", hash, i, rows[i][1], id)
			}
		}
	}
}

// TestWindowsSayTheyDiffer: the rates of two windows are not of the same positions, and the
// page says so.
func TestWindowsSayTheyDiffer(t *testing.T) {
	b := openTab(t)
	b.visit(evilDump(t), "v=sweep&w=8")
	if text := b.text("aside"); !strings.Contains(text, "the rates of different windows are not of the same positions") {
		t.Errorf("the panel does not say that the windows differ: %s", text)
	}
}

// TestSelectorSaysWhatIsShaded: without a marked token the text is shaded by the vote, and
// the selector says so.
func TestSelectorSaysWhatIsShaded(t *testing.T) {
	b := openTab(t)
	v := evilDump(t)
	const selector = `const s = document.querySelector("[data-state=shade]"); return [s.value, s.selectedOptions[0].innerText, [...s.options].filter(o => o.disabled).map(o => o.value).join()].join("; ")`
	b.visit(v, "v=text&head=0&w=8&shade=row")
	if got := b.eval(selector); got != `"vote; the window's vote; row,readers"` {
		t.Errorf("nothing is marked, and the selector says %s", got)
	}
	b.eval(`document.querySelector("[data-i='41']").click()`)
	if !b.until(`document.querySelector("[data-state=shade]").value === "row"`) {
		t.Fatal("a click on a reply token does not change the selector")
	}
	if got := b.eval(selector); got != `"row; attention of token 41; readers"` {
		t.Errorf("token 41 is marked, and the selector says %s", got)
	}
}

// TestGoneServerIsSaid: the page says that the server does not answer, with the command
// to start it again, and goes on when it answers.
func TestGoneServerIsSaid(t *testing.T) {
	b := openTab(t)
	v := open(t, "factors", 0)
	b.visit(v, "v=overview&w=8")
	b.eval(`window.ask = fetch; window.fetch = () => Promise.reject(new TypeError("gone"));
		document.querySelector("[data-state=sort]"); location.hash; document.querySelectorAll(".tabs button")[1].click();`)
	if !b.until(`!document.getElementById("gone").hidden`) {
		t.Fatal("no message")
	}
	if got := b.text("#gone"); !strings.Contains(got, "attnscope view x.attn --at") || !strings.Contains(got, "v=head") {
		t.Errorf("the message does not say how to go on: %s", got)
	}
	covers := `const r = document.getElementById("gone").getBoundingClientRect(); return r.width === innerWidth && r.height === innerHeight`
	if b.eval(covers) != "true" {
		t.Error("the message does not cover the page")
	}
	b.eval(`window.fetch = ask; document.querySelector("#gone button").click()`)
	if !b.until(`document.getElementById("gone").hidden`) {
		t.Error("the message stays although the server answers")
	}
	b.ready()
}

// TestNarrowPage: at the width of a phone no view is wider than the screen, and each has
// room.
func TestNarrowPage(t *testing.T) {
	b := openTab(t)
	v := open(t, "factors", 0)
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": false})
	for _, view := range []string{"overview", "head", "text", "sweep", "methods", "compare"} {
		b.visit(v, "v="+view+"&w=8")
		if got := b.eval("return document.documentElement.scrollWidth <= innerWidth && innerWidth === 390"); got != "true" {
			t.Errorf("%s is wider than 390 pixels", view)
		}
		if got := b.eval(`return document.querySelector(".stage, .text").clientHeight >= 400`); got != "true" {
			t.Errorf("%s has no room", view)
		}
		shown := `return getComputedStyle(document.querySelector("nav")).display !== "none"`
		if b.eval(shown) != "false" {
			t.Errorf("%s: the settings take the screen", view)
		}
	}
	b.eval(`document.querySelector("button.narrow").click()`)
	if b.eval(`return getComputedStyle(document.querySelector("nav")).display !== "none"`) != "true" {
		t.Error("the settings do not open")
	}
}

// TestDroppedPositionsRecede counts the pixels of a map that stand out from the page, in
// both color schemes.
func TestDroppedPositionsRecede(t *testing.T) {
	b := openTab(t)
	v := evilDump(t)
	for theme, background := range map[string]int{"light": 251, "dark": 20} {
		share := func(veil int) float64 {
			b.visit(v, fmt.Sprintf("v=head&head=1&w=8&method=snapkv&cap=10&apart=0&theme=%s&veil=%d", theme, veil))
			img, err := png.Decode(bytes.NewReader(b.call("Page.captureScreenshot", nil).Result.Data))
			if err != nil {
				t.Fatal(err)
			}
			var box struct{ X, Y float64 }
			json.Unmarshal([]byte(b.eval(`const c = document.querySelector(".stage canvas").getBoundingClientRect(); return {x: c.left, y: c.top}`)), &box)
			return standOut(img, image.Rect(int(box.X)+110, int(box.Y)+130, int(box.X)+500, int(box.Y)+400), background)
		}
		if with, without := share(1), share(0); with > 0.3 || without < 0.7 {
			t.Errorf("%s: %.2f of the pixels stand out with dropped positions dimmed, %.2f without", theme, with, without)
		}
	}
}

// standOut is the share of pixels with a channel that differs from the background.
func standOut(img image.Image, in image.Rectangle, background int) float64 {
	n := 0
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			for _, channel := range []uint32{r, g, b} {
				if d := int(channel>>8) - background; d > 70 || d < -70 {
					n++
					break
				}
			}
		}
	}
	return float64(n) / float64(in.Dx()*in.Dy())
}

// TestShortPromptsDoNotShortenTheWindow: means over prompts leave out prompts that are no
// longer than the default window, as the tables do, instead of giving all prompts its rows.
func TestShortPromptsDoNotShortenTheWindow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	var prompts []dumpstest.Planted
	for _, n := range []int{1, 60, 40} {
		weight := func(layer, head, query, key int) float32 {
			if (query*7+key*key*5+layer*3+head)%17 == 0 {
				return 0.06
			}
			return 0.01
		}
		prompts = append(prompts, dumpstest.Planted{ID: fmt.Sprint(n), Tokens: make([]int32, n), Reply: 4, Weight: weight})
	}
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 2, Heads: 2, Rows: 64}, prompts)
	v := serve(t, path, Options{Token: testToken})
	cfg := analysis.Paper
	cfg.By = nil
	want, _, err := analysis.HitRates(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Rows []map[string]float64 }
	v.json("api/sweep?p=all&layer=all", &got)
	if len(got.Rows) != 1 || want[0].Significant == 0 || got.Rows[0]["window"] != 32 || got.Rows[0]["prompts"] != 2 ||
		got.Rows[0]["significant"] != float64(want[0].Significant) || math.Abs(got.Rows[0]["hit_rate"]-want[0].HitRate) > 1e-12 {
		t.Errorf("%v, want window 32 on 2 prompts, %+v", got.Rows, want[0])
	}
	b := openTab(t)
	b.visit(v, "v=overview&mean=1")
	if title := b.eval(`return document.querySelector("aside").innerText`); !strings.Contains(title, fmt.Sprint(want[0].Significant)) {
		t.Errorf("the page says\n%s\nwant n %d", title, want[0].Significant)
	}
}
