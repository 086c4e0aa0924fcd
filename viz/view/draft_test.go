package view

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestDraft computes the draft of a long prompt from 16 rows of the window and 16 of
// the reply, evenly spread and with the last, and compares the answers. They must be
// marked as drafts until the whole layer has been read.
func TestDraft(t *testing.T) {
	const prompt, rows, reply, window, skip, k, theta = 300, 64, 40, 48, 4, 10, 0.001
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteLarge(t, path, dumpstest.Shape{Layers: 2, Heads: 4, KVHeads: 2, Dim: 16, Prompt: prompt, Rows: rows, Reply: reply})
	v := serve(t, path, Options{Token: testToken})
	v.s.draftWeights = 1
	type answer struct {
		Layer, Rows, Of int
		Draft           bool
		Measures        map[string][]*float64
	}
	q := fmt.Sprintf("api/stats?window=%d&theta=%g&budget=%d&skip=%d", window, theta, k, skip)
	var got []answer
	v.json(q+"&layers=1,0&draft=1", &got)
	if len(got) != 2 || got[0].Layer != 1 || got[1].Layer != 0 || !got[0].Draft || got[0].Rows != 16 || got[0].Of != reply {
		t.Fatalf("answers %+v", got)
	}
	missed := 0.0
	for _, a := range got {
		for head := range 4 {
			w := v.weights(0, a.Layer, head)
			vote := make([]float64, prompt-window)
			for i := range 16 {
				for j := range vote {
					vote[j] += float64(w[rows-window+(i+1)*window/16-1][j])
				}
			}
			var order []int
			for j := skip; j < len(vote); j++ {
				order = append(order, j)
			}
			sort.SliceStable(order, func(i, j int) bool { return vote[order[i]] > vote[order[j]] })
			kept := map[int]bool{}
			for _, j := range order[:k] {
				kept[j] = true
			}
			var hits, significant, mass, entropy, sink, distance float64
			for i := range 16 {
				row := rows + (i+1)*reply/16 - 1
				for j, x := range w[row] {
					x := float64(x)
					if j >= skip && j < len(vote) && x > theta {
						significant++
						if kept[j] {
							hits++
						}
					}
					if kept[j] {
						mass += x / 16
					}
					if x > 0 {
						entropy -= x * math.Log2(x) / 16
					}
					if j < 4 {
						sink += x / 16
					}
					distance += x * float64(prompt-rows+row-j) / 16
				}
			}
			missed += significant - hits
			for name, want := range map[string]float64{"hit_rate": hits / significant, "mass": mass, "entropy": entropy, "sink": sink, "distance": distance} {
				if g := *a.Measures[name][head]; math.Abs(g-want) > 1e-6*math.Max(1, want) {
					t.Errorf("layer %d, head %d: the draft's %s is %g, want %g", a.Layer, head, name, g, want)
				}
			}
		}
	}
	if missed < 10 {
		t.Errorf("%g positions missed show little", missed)
	}
	var whole, again answer
	v.json(q+"&layer=1", &whole)
	v.json(q+"&layer=1&draft=1", &again)
	if whole.Draft || whole.Rows != reply || !reflect.DeepEqual(whole, again) {
		t.Errorf("the whole %+v, asked for a draft again %+v", whole, again)
	}
	if *whole.Measures["entropy"][0] == *got[0].Measures["entropy"][0] {
		t.Error("the draft looked at all rows")
	}
	v.json(q+"&layer=0&draft=1", &again)
	if !again.Draft {
		t.Error("layer 0 was never read, but is no draft")
	}
}

// TestPageMarksEstimates: while layers are being read, the page marks estimates and
// exports no table. Afterwards no mark is left.
func TestPageMarksEstimates(t *testing.T) {
	b := openTab(t)
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteLarge(t, path, dumpstest.Shape{Layers: 3, Heads: 4, KVHeads: 2, Dim: 16, Prompt: 300, Rows: 64, Reply: 40})
	v := serve(t, path, Options{Token: testToken})
	v.s.draftWeights = 1
	whole := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/api/stats") && !strings.Contains(r.URL.RawQuery, "draft=1") {
			<-whole
		}
		v.s.Handler().ServeHTTP(w, r)
	}))
	defer web.Close()
	release := sync.OnceFunc(func() { close(whole) })
	defer release()
	v.url = web.URL + "/" + testToken + "/"
	b.load(v, "v=overview")
	const says = "≈ estimates from 16 of 40 reply rows"
	aside := func() (s string) {
		json.Unmarshal([]byte(b.eval(`return document.querySelector("aside").textContent`)), &s)
		return s
	}
	if !b.until(`document.querySelector("canvas")?.dataset.layers === "3"`) || !b.until(`document.querySelector("aside").textContent.includes("Highest")`) {
		t.Fatalf("no grid: %s", b.status())
	}
	if !strings.Contains(b.status(), says+"; 0 of 3 layers are complete") || !strings.Contains(aside(), says) {
		t.Errorf("the page says %q and %s", b.status(), aside())
	}
	b.eval(`const s = document.querySelector("[aria-label=export]"); s.value = "csv"; s.dispatchEvent(new Event("change"))`)
	if !strings.Contains(b.status(), "not all rows are read yet") {
		t.Errorf("asked for a table, the page says %q", b.status())
	}
	b.press("ArrowRight")
	if !strings.Contains(b.status(), "head 1: ≈ hit rate") {
		t.Errorf("of a head the page says %q", b.status())
	}
	release()
	b.ready()
	b.press("ArrowLeft")
	if strings.Contains(b.status()+aside(), "≈") || b.exception != "" {
		t.Errorf("all rows are read, the page says %q and %s; %s", b.status(), aside(), b.exception)
	}
}

// TestManyLayers requests 100 layers together.
func TestManyLayers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep.attn")
	dumpstest.WriteLarge(t, path, dumpstest.Shape{Layers: 100, Heads: 2, KVHeads: 1, Dim: 8, Prompt: 40, Rows: 8, Reply: 4})
	v := serve(t, path, Options{Token: testToken})
	var list []string
	for layer := range 100 {
		list = append(list, fmt.Sprint(99-layer))
	}
	for _, what := range []string{"stats", "sweep"} {
		var got []struct{ Layer int }
		v.json("api/"+what+"?window=4&layers="+strings.Join(list, ","), &got)
		if len(got) != 100 || got[0].Layer != 99 || got[99].Layer != 0 {
			t.Errorf("%s: %d answers, %v", what, len(got), got)
		}
	}
}
