package view

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestGuard: only paths behind the token answer with content, and no refusal tells what
// exists or what the token is.
func TestGuard(t *testing.T) {
	v := open(t, "rows", 0)
	page := "/" + testToken + "/"
	for _, c := range []struct {
		name, method, path, host, origin, site string
		want                                   int
	}{
		{"page", "GET", page, "127.0.0.1:1234", "", "", 200},
		{"head", "HEAD", page, "localhost:1234", "", "none", 200},
		{"own origin", "GET", page + "api/captures", "127.0.0.1:1234", "http://127.0.0.1:1234", "same-origin", 200},
		{"IPv6", "GET", page, "[::1]:1234", "", "", 200},
		{"rebound name", "GET", page, "evil.example:1234", "", "", 403},
		{"name that begins like a loopback", "GET", page, "127.0.0.1.evil.example", "", "", 403},
		{"no host", "GET", page, "", "", "", 403},
		{"another machine's address", "GET", page, "10.0.0.1:1234", "", "", 403},
		{"other origin", "GET", page, "127.0.0.1:1234", "http://evil.example", "", 403},
		{"other port's origin", "GET", page, "127.0.0.1:1234", "http://127.0.0.1:9", "", 403},
		{"null origin", "GET", page, "127.0.0.1:1234", "null", "", 403},
		{"https origin", "GET", page, "127.0.0.1:1234", "https://127.0.0.1:1234", "", 403},
		{"cross-site fetch", "GET", page, "127.0.0.1:1234", "", "cross-site", 403},
		{"post", "POST", page + "api/captures", "127.0.0.1:1234", "", "", 405},
		{"options", "OPTIONS", page, "127.0.0.1:1234", "", "", 405},
		{"no token", "GET", "/", "127.0.0.1:1234", "", "", 404},
		{"no token, a real name", "GET", "/api/captures", "127.0.0.1:1234", "", "", 404},
		{"wrong token", "GET", "/0123456789abcdee/", "127.0.0.1:1234", "", "", 404},
		{"token without slash", "GET", "/" + testToken, "127.0.0.1:1234", "", "", 404},
		{"longer token", "GET", "/" + testToken + "0/", "127.0.0.1:1234", "", "", 404},
		{"up", "GET", page + "../../../etc/passwd", "127.0.0.1:1234", "", "", 404},
		{"up, encoded", "GET", page + "%2e%2e/%2e%2e/etc/passwd", "127.0.0.1:1234", "", "", 404},
		{"up, slash encoded", "GET", page + "..%2f..%2fetc%2fpasswd", "127.0.0.1:1234", "", "", 404},
		{"double slash", "GET", page + "/etc/passwd", "127.0.0.1:1234", "", "", 404},
		{"backslash", "GET", page + "..%5cview.go", "127.0.0.1:1234", "", "", 404},
		{"nul", "GET", page + "index.html%00", "127.0.0.1:1234", "", "", 404},
		{"folder", "GET", page + "web/index.html", "127.0.0.1:1234", "", "", 404},
		{"the dump", "GET", page + "x.attn", "127.0.0.1:1234", "", "", 404},
	} {
		r := httptest.NewRequest(c.method, "http://x"+c.path, nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		w := httptest.NewRecorder()
		v.s.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
		h := w.Header()
		if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", c.name, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Location") != "" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", c.name, h)
		}
		if c.want != 200 && (strings.Contains(w.Body.String(), testToken) || strings.Contains(w.Body.String(), "root:")) {
			t.Errorf("%s: the refusal tells a secret: %s", c.name, w.Body)
		}
	}
}

// TestAnotherSiteMayOnlyOpenThePage: the file that hands the address to the browser is
// another site. Only the page itself opens from there, only with the token, and only as a
// document of its own.
func TestAnotherSiteMayOnlyOpenThePage(t *testing.T) {
	v := open(t, "rows", 0)
	for _, c := range []struct {
		path, mode, dest string
		want             int
	}{
		{"/" + testToken + "/", "navigate", "document", 200},
		{"/" + testToken + "/", "navigate", "iframe", 403},
		{"/" + testToken + "/", "no-cors", "document", 403},
		{"/" + testToken + "/", "cors", "empty", 403},
		{"/" + testToken + "/api/captures", "navigate", "document", 403},
		{"/" + testToken + "/main.js", "navigate", "document", 403},
		{"/0123456789abcdee/", "navigate", "document", 403},
		{"/", "navigate", "document", 403},
	} {
		r := httptest.NewRequest("GET", "http://127.0.0.1:1234"+c.path, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		r.Header.Set("Sec-Fetch-Dest", c.dest)
		w := httptest.NewRecorder()
		v.s.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s, %s, %s: %d, want %d", c.path, c.mode, c.dest, w.Code, c.want)
		}
	}
}

// TestFrames: another page may show the viewer in a frame only if its origin was named.
func TestFrames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Random(t, path, "rows", "exact", rand.New(rand.NewPCG(1, 2)))
	for _, c := range []struct {
		frames    []string
		code      int
		ancestors string
	}{
		{nil, 403, "frame-ancestors 'none'"},
		{[]string{"http://localhost:*", "vscode-webview:"}, 200, "frame-ancestors http://localhost:* vscode-webview:"},
	} {
		s, err := Open([]string{path}, Options{Token: testToken, Frames: c.frames})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, place := range []string{"", "api/captures"} {
			r := httptest.NewRequest("GET", "http://127.0.0.1:1234/"+testToken+"/"+place, nil)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "iframe")
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			want := c.code
			if place != "" {
				want = 403
			}
			if got := w.Header().Get("Content-Security-Policy"); w.Code != want || !strings.HasSuffix(got, c.ancestors) {
				t.Errorf("%q, frames %v: %d with the policy %q, want %d and %q",
					place, c.frames, w.Code, got, want, c.ancestors)
			}
		}
	}
	for _, bad := range []string{"", "'self'", "localhost", "http://a;", "http://a b", "*", "http://a/b", "http://a,b"} {
		if s, err := Open([]string{path}, Options{Frames: []string{bad}}); err == nil {
			s.Close()
			t.Errorf("the origin %q is accepted", bad)
		}
	}
}

// TestQueriesThatMakeNoSense: each is answered with an error in JSON.
func TestQueriesThatMakeNoSense(t *testing.T) {
	v := open(t, "rows", 0)
	for _, path := range []string{
		"map?c=1", "map?c=-1", "map?p=2", "map?p=x", "map?layer=2", "map?layer=-1", "map?head=4", "map?head=-2", "row?head=0&row=21", "row?row=-1",
		"column?key=42", "column?key=1e3", "tile?level=1", "tile?level=99", "tile?down=21", "tile?x=1", "tile?y=1", "tile?x=9223372036854775807", "tile?pool=min",
		"vote?window=0", "vote?window=17", "vote?kernel=2", "vote?kernel=-1", "kept?method=nothing", "kept?method=snapkv&capacity=3&window=4",
		"kept?method=knorm&window=4&capacity=9", "kept?head=9", "kept?group=all", "stats?top=2", "stats?top=NaN", "stats?theta=-1", "stats?layers=0,9", "stats?layers=1,1", "sweep?layers=0,x", "stats?draft=2", "stats?window=2,3", "stats?kernel=4",
		"sweep?window=17", "sweep?window=1,,2", "sweep?p=2", "sweep?window=" + strings.Repeat("1,", 70) + "1", "tokens?p=9",
	} {
		code, body := v.get("api/" + path)
		if code != 400 || !strings.Contains(string(body), `"error":"`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := v.get("api/nothing"); code != 404 {
		t.Errorf("unknown name: %d", code)
	}
}

// TestListenOnlyOnLoopback: addresses that other machines can reach are errors.
func TestListenOnlyOnLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.168.0.1:0", "example.com:80", "127.0.0.1", ""} {
		if l, err := Listen(address); err == nil {
			l.Close()
			t.Errorf("%q: listens", address)
		}
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestPageHasNoOutsideResources: the embedded files name no other site, and use nothing
// that turns text into markup or code.
func TestPageHasNoOutsideResources(t *testing.T) {
	v := open(t, "rows", 0)
	files, err := web.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	bad := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser|javascript:|@import|https?://|["'(]//`)
	inline := regexp.MustCompile(`(?i)<script[^>]*>[^<]|\son[a-z]+\s*=\s*["']|<style|\sstyle=`)
	for _, f := range files {
		r, err := http.Get(v.url + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != 200 || r.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d, type %q", f.Name(), r.StatusCode, r.Header.Get("Content-Type"))
		}
		clean := strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", "")
		if found := bad.FindString(clean); found != "" {
			t.Errorf("%s holds %q", f.Name(), found)
		}
		if found := inline.FindString(clean); strings.HasSuffix(f.Name(), ".html") && found != "" {
			t.Errorf("%s: inline %q, which the policy forbids", f.Name(), found)
		}
	}
}
