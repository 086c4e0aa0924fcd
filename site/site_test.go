package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/glossary"
	"github.com/attnscope/attnscope/snapkv"
)

// built is the program and the site, made once for all tests.
var built = sync.OnceValues(func() (builtSite, error) {
	dir, err := os.MkdirTemp("", "attnscope-site-")
	if err != nil {
		return builtSite{}, err
	}
	b := builtSite{dir: filepath.Join(dir, "site"), program: filepath.Join(dir, "attnscope")}
	b.clean = dir
	if out, err := exec.Command("go", "build", "-o", b.program, "../cmd/attnscope").CombinedOutput(); err != nil {
		return b, &buildError{out}
	}
	if b.site, err = newSite("..", b.program); err != nil {
		return b, err
	}
	return b, b.site.write(b.dir)
})

type builtSite struct {
	*site
	dir     string // the site's folder
	program string
	clean   string
}

type buildError struct{ out []byte }

func (e *buildError) Error() string { return string(e.out) }

func TestMain(m *testing.M) {
	code := m.Run()
	if b, _ := built(); b.clean != "" {
		os.RemoveAll(b.clean)
	}
	os.Exit(code)
}

func siteOf(t *testing.T) builtSite {
	t.Helper()
	b, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPagesOfVerbsAndTerms checks that each verb that help lists, and each term, has its
// place, with the text that the program prints.
func TestPagesOfVerbsAndTerms(t *testing.T) {
	b := siteOf(t)
	help, err := helpOf(b.program)
	if err != nil {
		t.Fatal(err)
	}
	verbs := strings.Split(help["COMMANDS"], "\n")
	if len(verbs) < 20 {
		t.Fatalf("help lists %d verbs", len(verbs))
	}
	for _, line := range verbs {
		verb := strings.Fields(line)[0]
		p := b.byURL["verbs/"+verb+".html"]
		if p == nil || p.title != "attnscope "+verb {
			t.Errorf("no page of the verb %s", verb)
		}
	}
	hitrate := string(b.byURL["verbs/hitrate.html"].html)
	for _, want := range []string{
		"<p>Share of the positions a reply attends to that the observation window had voted for.</p>",
		"attnscope hitrate RUN.attn...\n</code>",
		`<td><code><span class="flag">--window</span> ROWS</code></td>` + "\n<td>let the last ROWS prompt tokens vote (repeatable) (default: 32)</td>",
		`<a href="../measures.html">docs/MEASURES.md</a> defines all columns.`,
	} {
		if !strings.Contains(hitrate, want) {
			t.Errorf("the page of hitrate lacks %q", want)
		}
	}
	snapkv := string(b.byURL["verbs/snapkv.html"].html)
	if !strings.Contains(snapkv, "\n   kvpress              64      1024       5  avgpool  mean   NVIDIA's kvpress\n</code>") {
		t.Error("the page of snapkv does not keep the columns of the presets")
	}
	if got := len(b.byURL["terms.html"].parts); got != len(glossary.Terms)+1 {
		t.Errorf("the page of terms has %d parts for %d terms", got, len(glossary.Terms))
	}
}

// TestPagesOfCode checks the pages that are made of the code: of each method, family and
// package, with links from the pages that list them.
func TestPagesOfCode(t *testing.T) {
	b := siteOf(t)
	for _, m := range snapkv.Methods {
		p := b.byURL["methods/"+m.Name+".html"]
		list := string(b.byURL["methods.html"].html)
		if p == nil || !strings.Contains(list, `<a href="`+p.url+`">`+m.Name+`</a>`) {
			t.Errorf("the page of methods does not lead to one of %s", m.Name)
		}
	}
	for _, a := range model.Architectures {
		p := b.byURL["models/"+a.Name+".html"]
		if p == nil || !strings.Contains(string(b.byURL["models.html"].html), `<a href="`+p.url+`"><code>`+a.Name+`</code></a>`) {
			t.Errorf("the page of models does not lead to one of %s", a.Name)
		}
	}
	for url, want := range map[string][]string{
		"methods/tova.html": {
			"<p>tova keeps the positions that the last query attends to most, on average over all heads of the layer, as kvpress does.",
			"<code>score[h, j] = 1/heads · Σ weight[g, last query, j] over the heads g\n</code>",
			`<td><a href="https://arxiv.org/abs/2401.06104">arXiv:2401.06104</a></td>`,
			"<td>rows of the window</td>",
			"func scoreTOVA(l *Layer, c Config) ([][]float64, error) {",
		},
		"models/deepseek_v3.html": {
			"<p>DeepSeek V3 and R1.</p>", "<td>no: latent attention</td>", `<a href="../methods.html#kinds-of-layers">`,
			"&quot;kv_lora_rank&quot;: 512,",
		},
		"packages/hitrate.html": {
			`<h3 id="Counts">Counts</h3>`, "func CountKept(", "<p>It prints:</p>",
		},
		"packages/dumps.html": {`<h4 id="Reader.Header">Reader.Header</h4>`},
	} {
		p := b.byURL[url]
		for _, text := range want {
			if p == nil || !strings.Contains(string(p.html), text) {
				t.Errorf("%s lacks %q", url, text)
			}
		}
	}
}

// TestSameBytes checks that the same repository gives the same site.
func TestSameBytes(t *testing.T) {
	b := siteOf(t)
	s, err := newSite("..", b.program)
	if err != nil {
		t.Fatal(err)
	}
	again := t.TempDir()
	if err := s.write(again); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = fs.WalkDir(os.DirFS(b.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		if !bytes.Equal(contentOf(t, b.dir, name), contentOf(t, again, name)) {
			t.Errorf("%s differs", name)
		}
		return nil
	})
	if err != nil || files < len(b.pages) {
		t.Fatalf("%d files of %d pages (%v)", files, len(b.pages), err)
	}
}

func contentOf(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var reference = regexp.MustCompile(`(?:src|href|action)="([^"]*)"`)

// TestReferences checks that what a written page refers to is in the site, and that
// pages load nothing from elsewhere.
func TestReferences(t *testing.T) {
	b := siteOf(t)
	count := 0
	for _, p := range b.pages {
		html := string(contentOf(t, b.dir, p.url))
		for _, m := range reference.FindAllStringSubmatch(html, -1) {
			to, _, _ := strings.Cut(m[1], "#")
			switch {
			case isOutside(to):
				if !strings.HasPrefix(m[0], "href") {
					t.Errorf("%s loads %s", p.url, to)
				}
				continue
			case to == "" || strings.HasPrefix(to, "data:"):
				continue
			}
			count++
			if _, err := os.Stat(filepath.Join(b.dir, filepath.Dir(p.url), to)); err != nil {
				t.Errorf("%s refers to %s: %v", p.url, to, err)
			}
		}
		if strings.Contains(html, `rel="stylesheet" href="http`) || strings.Contains(html, "@import") {
			t.Errorf("%s loads a style from elsewhere", p.url)
		}
	}
	if count < 1000 {
		t.Errorf("%d references within the site", count)
	}
	if style := contentOf(t, b.dir, "style.css"); bytes.Contains(style, []byte("url(")) {
		t.Error("style.css loads a file")
	}
}

// TestMistakesInPages checks that links, images and headings that lead nowhere are errors.
func TestMistakesInPages(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"# A\n\n[b](missing.md)", "x.html: link to missing.md, which is neither a page nor a file of the repository"},
		{"# A\n\n![b](missing.png)", "x.html: image missing.png, which is no file of the repository"},
		{"# A\n\n[b](#missing)", "x.html: link to #missing of x.html, which has no such heading"},
		{"Text", "x.html: the page does not begin with a heading of level 1"},
	} {
		s := &site{root: "..", bySource: map[string]*page{}, byURL: map[string]*page{}, files: map[string]string{}}
		p := &page{url: "x.html", base: ".", text: []byte(c.text)}
		err := s.add(p)
		if err == nil {
			err = s.render(p)
		}
		if err == nil {
			err = s.checkAnchors()
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
}

// TestSearch checks in a browser that the search finds the term first, from files alone.
func TestSearch(t *testing.T) {
	b := siteOf(t)
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("SKIPPED, no chromium in PATH: the search of the site is not tested (Debian: apt-get install chromium)")
	}
	dump := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu",
		"--user-data-dir="+filepath.Join(b.clean, "browser"), "--virtual-time-budget=5000", "--dump-dom",
		"file://"+filepath.ToSlash(filepath.Join(b.dir, searchURL))+"?q=hit+rate")
	out, err := dump.Output()
	if err != nil {
		t.Fatal(err)
	}
	results := string(out)
	for _, want := range []string{
		` for “hit rate”`,
		`<ol id="results"><li><a href="terms.html#hit-rate">Terms: hit rate</a>`,
		`<mark>rate</mark>`,
	} {
		if !strings.Contains(results, want) {
			t.Errorf("the page of results lacks %s", want)
		}
	}
}

// TestFlagsDoNotBreak: flags in code within a text are marked, other hyphens are not.
func TestFlagsDoNotBreak(t *testing.T) {
	for code, want := range map[string]string{
		"<code>--same-prefix</code>":       `<code><span class="flag">--same-prefix</span></code>`,
		"<code>info -m a-b --top P</code>": `<code>info <span class="flag">-m</span> a-b <span class="flag">--top</span> P</code>`,
		"<pre><code>x --top</code>":        "<pre><code>x --top</code>",
	} {
		if got := string(inlineCode.ReplaceAllFunc([]byte(code), keepFlags)); got != want {
			t.Errorf("%s becomes %s, want %s", code, got, want)
		}
	}
}
