package leaderboard

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/viz"
)

// TestPage: the page has a row for each row of the table, takes names as text, and names no
// other place.
func TestPage(t *testing.T) {
	b := board("</script><b>m", map[string]map[string][]float64{"a": {"full": {1, 1}, "snapkv": {1, 0.25}}})
	rows := b.Rows(RowOptions{Seed: 1})
	var out bytes.Buffer
	if err := WritePage(&out, b, rows, RowOptions{}); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	match := regexp.MustCompile(`(?m)^const rows = (\[.*\]) \|\| \[\];$`).FindStringSubmatch(page)
	if match == nil {
		t.Fatal("the page has no rows")
	}
	var got []pageRow
	if err := json.Unmarshal([]byte(match[1]), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1].Method != "snapkv" || got[1].Score != 0.625 || got[1].Loss != 0.375 || got[1].Model != "</script><b>m" {
		t.Errorf("rows %+v", got)
	}
	if strings.Count(page, "</script>") != 1 || strings.Contains(page, "<b>m") {
		t.Error("the name of a model is not taken as text")
	}
	own := strings.ReplaceAll(page, "http://www.w3.org/2000/svg", "")
	if outside := regexp.MustCompile(`(src|href)=|url\(|import |https?:`).FindString(own); outside != "" {
		t.Errorf("the page has %q", outside)
	}
	if !strings.Contains(page, "2 planned, 0 missing") || !strings.Contains(page, "Intervals are bootstrapped over 2 prompts") {
		t.Error("the page does not say what it rests on")
	}
}

// TestFigure: a curve for each method of the first place, and the full cache.
func TestFigure(t *testing.T) {
	b := board("m", map[string]map[string][]float64{
		"a": {"full": {1, 1}, "snapkv": {1, 0.5}, "random": {0, 0}}, "b": {"full": {1}, "snapkv": {0}, "random": {0}},
	})
	rows := b.Rows(RowOptions{Seed: 1})
	text, err := Figure(b, rows, viz.Meta{}).Encode("svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">full<", ">snapkv<", ">random<", "m; all tasks, 100 tokens; mean over 3 prompts"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the figure lacks %q", want)
		}
	}
}
