package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps"
)

// chromium returns the path of a browser, or skips the test without one.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("SKIPPED, no chromium in PATH: the page itself is not tested (Debian: apt-get install chromium)")
	return ""
}

// profile returns a folder for a browser. The browser's processes may outlive it by a
// moment and write to the folder while it is removed.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "attnscope-browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s cannot be removed", dir)
	})
	return dir
}

const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>&lt;`

// evilDump has markup in every text that a dump holds.
func evilDump(t *testing.T) *site {
	const n = 40
	p := dumps.Prompt{ID: evil, Dataset: evil}
	for i := range n {
		word := fmt.Sprintf("word%d ", i)
		if i%10 == 3 {
			word = evil
		}
		p.Text += word
		p.Offsets = append(p.Offsets, int32(len(p.Text)))
	}
	path := filepath.Join(t.TempDir(), "a<b>&'\".attn")
	writeLong(t, path, n, 16, 4, p)
	return serve(t, path, Options{Token: testToken, Pieces: func(*dumps.Header) func(int32) string {
		return func(id int32) string { return "<b>" + fmt.Sprint(id) + "</b>" }
	}})
}

// dom returns the present page as text.
func (b *tab) dom() (s string) {
	b.Helper()
	if err := json.Unmarshal([]byte(b.eval("return document.documentElement.outerHTML")), &s); err != nil {
		b.Fatal(err)
	}
	return s
}

// TestPageInABrowser opens every view of a hostile dump. Each must draw without a
// console message, and no text may become an element or run.
func TestPageInABrowser(t *testing.T) {
	b := openTab(t)
	v := evilDump(t)
	for _, c := range []struct{ name, hash, want string }{
		{"overview", "v=overview&min=0", `<tr class="pick"`},
		{"overview by value", "v=overview&m=distance&sort=value&theme=dark&min=0", `<tr class="pick"`},
		{"all heads ranked, mean over prompts", "v=overview&mean=1&sort=rank&m=retrieval", `<tr class="pick"`},
		{"methods", "v=sweep&sw=method&w=8", "oracle"},
		{"head", "v=head&head=1&row=18&key=3&method=snapkv&w=8&cap=16&scale=quantile", "attends to"},
		{"mean of heads", "v=head&pool=mean&apart=0&scale=linear", "This map"},
		{"text by vote", "v=text&head=0&method=recent&w=8&cap=16", "Reply: 4 tokens"},
		{"text of a row", "v=text&head=0&row=17&shade=row", "attends to"},
		{"text of a word", "v=text&head=0&key=3&shade=readers", "gets attention from"},
		{"windows", "v=sweep&w=8&theta=0.01&skip=4", "as attnscope hitrate does"},
		{"compare", "v=compare&head=1", "nothing differs"},
		{"numbers out of range", "v=nothing&c=9&p=-3&layer=99&head=77&w=1e9&k=4&k0=-5&k1=NaN&row=1e9&min=0", `<tr class="pick"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.T, b.console = t, ""
			b.visit(v, c.hash)
			if !b.until(fmt.Sprintf("document.documentElement.outerHTML.includes(%q)", c.want)) {
				t.Errorf("no %q in the page", c.want)
			}
			if b.console != "" {
				t.Errorf("console: %s", b.console)
			}
			dom := b.dom()
			if strings.Contains(dom, "<img") || strings.Contains(dom, "<b>") || strings.Count(dom, "<script") != 1 || strings.Contains(dom, "<title>owned") {
				t.Errorf("text became markup")
			}
			if strings.HasPrefix(c.hash, "v=text") {
				if n := strings.Count(dom, "data-i="); n != 44 {
					t.Errorf("%d tokens, want 44", n)
				}
				if text := html.UnescapeString(dom); !strings.Contains(text, ">"+evil+"</span>") {
					t.Error("the hostile token is not shown as it is")
				}
			}
		})
	}
}

// TestTextViewMarksWhatIsKept compares the marks of the page with the selection.
func TestTextViewMarksWhatIsKept(t *testing.T) {
	b := openTab(t)
	v := evilDump(t)
	b.visit(v, "v=text&head=1&method=snapkv&w=8&cap=16")
	dom := b.dom()
	var want struct{ Kept []int }
	v.json("api/kept?head=1&method=snapkv&window=8&capacity=16&kernel=5", &want)
	kept := map[string]bool{}
	for _, j := range want.Kept {
		kept[fmt.Sprint(j)] = true
	}
	marked := regexp.MustCompile(`class="([^"]*)" data-i="(\d+)"`).FindAllStringSubmatch(dom, -1)
	if len(marked) != 44 || len(kept) != 8 {
		t.Fatalf("%d tokens, %d kept", len(marked), len(kept))
	}
	for i, m := range marked {
		if got := strings.Contains(m[1], "kept"); got != kept[m[2]] {
			t.Errorf("token %s: kept %v, want %v", m[2], got, kept[m[2]])
		}
		if got, want := strings.Contains(m[1], "dropped"), i < 32 && !kept[m[2]]; got != want {
			t.Errorf("token %s: dropped %v, want %v", m[2], got, want)
		}
	}
}

// TestMapHasColors: the canvas of the head view holds a map and is not blank.
func TestMapHasColors(t *testing.T) {
	b := openTab(t)
	path := filepath.Join(t.TempDir(), "long.attn")
	writeLong(t, path, 2300, 140, 9, dumps.Prompt{})
	b.visit(serve(t, path, Options{Token: testToken}), "v=head&head=1")
	img, err := png.Decode(bytes.NewReader(b.call("Page.captureScreenshot", nil).Result.Data))
	if err != nil {
		t.Fatal(err)
	}
	if b.console != "" {
		t.Errorf("console: %s", b.console)
	}
	seen := map[[3]uint32]bool{}
	for y := 250; y < 700; y++ {
		for x := 200; x < 800; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}] = true
		}
	}
	if len(seen) < 60 {
		t.Errorf("%d colors in the map", len(seen))
	}
}
