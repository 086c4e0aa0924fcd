package hub

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBusyHub: the listing and the files are asked for again when the hub is busy, after
// the time that the hub names.
func TestBusyHub(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		want   []time.Duration // pauses; nil: the pull fails
		says   string          // in the error
	}{
		"429 with seconds":      {429, "7", []time.Duration{7 * time.Second}, ""},
		"503 with seconds":      {503, " 2 ", []time.Duration{2 * time.Second}, ""},
		"429 without a header":  {429, "", []time.Duration{time.Millisecond}, ""},
		"503 with nonsense":     {503, "soon", []time.Duration{time.Millisecond}, ""},
		"429, negative":         {429, "-5", []time.Duration{time.Millisecond}, ""},
		"502":                   {502, "", []time.Duration{time.Millisecond}, ""},
		"429, the longest":      {429, "300", []time.Duration{5 * time.Minute}, ""},
		"429, too long":         {429, "3600", nil, "asks to wait 1h0m0s, more than 5m0s"},
		"429, far too long":     {429, "99999999999999", nil, "more than 5m0s"},
		"503, a date long past": {503, "Wed, 21 Oct 2015 07:28:00 GMT", []time.Duration{time.Millisecond}, ""},
		"400 is for good":       {400, "1", nil, "400"},
	} {
		for _, what := range []string{"listing", "file"} {
			t.Run(name+" of the "+what, func(t *testing.T) {
				s, client := newServer(t)
				failed := false
				inner := s.Server.Config.Handler
				s.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					listing := strings.HasPrefix(r.URL.Path, "/api/")
					if listing == (what == "listing") && !failed {
						failed = true
						w.Header().Set("Retry-After", c.header)
						w.WriteHeader(c.status)
						return
					}
					inner.ServeHTTP(w, r)
				})
				var pauses []time.Duration
				client.waited = func(d time.Duration) { pauses = append(pauses, d) }
				_, err := client.Pull(t.Context(), Model{ID: "o/tiny", File: "tiny.Q8_0.gguf"}, "")
				if (err == nil) != (c.want != nil) {
					t.Fatalf("error %v", err)
				}
				if err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v: want %q in it", err, c.says)
				}
				if !slices.Equal(pauses, c.want) {
					t.Errorf("paused %v, want %v", pauses, c.want)
				}
			})
		}
	}
}

// TestListingGivesUp: a hub that stays busy is asked five times.
func TestListingGivesUp(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer s.Close()
	c := &Client{Endpoint: s.URL, Cache: t.TempDir(), pause: time.Second, silence: time.Second}
	var pauses []time.Duration
	c.waited = func(d time.Duration) { pauses = append(pauses, d) }
	_, err := c.Pull(t.Context(), tiny, "")
	if err == nil || !strings.Contains(err.Error(), "429") || asked != maxFailures {
		t.Errorf("%v after %d requests", err, asked)
	}
	if want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}; !slices.Equal(pauses, want) {
		t.Errorf("paused %v, want %v", pauses, want)
	}
}

// TestListingOfARefusingHub: a hub that refuses connections is asked three times, and found
// when it is back.
func TestListingOfARefusingHub(t *testing.T) {
	s, c := newServer(t)
	address := s.Listener.Addr().String()
	s.Close()
	var pauses int
	c.waited = func(time.Duration) { pauses++ }
	if _, err := c.Pull(t.Context(), tiny, ""); err == nil || pauses != mostRefused-1 {
		t.Errorf("%v after %d pauses", err, pauses)
	}
	var back *httptest.Server
	c.waited = func(time.Duration) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("SKIPPED, the port of the hub was taken: %v", err)
		}
		back = httptest.NewUnstartedServer(s)
		back.Listener.Close()
		back.Listener = l
		back.Start()
	}
	dir, err := c.Pull(t.Context(), tiny, "")
	if err != nil {
		t.Fatal(err)
	}
	s.whole(t, dir)
	back.Close()
}

func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Second).Format(http.TimeFormat):     0,
		"Friday, 02-Jan-26 03:04:15 GMT":                  10 * time.Second, // RFC 850
		"Fri Jan  2 03:05:05 2026":                        time.Minute,      // asctime
		"9223372036854775807":                             1000 * time.Hour,
		"1.5":                                             0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// TestWhoMayHaveTheToken lists where a redirection may take the token.
func TestWhoMayHaveTheToken(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"https://hub.test/a", "https://hub.test/b", true},
		{"https://hub.test", "https://HUB.test/b", true},
		{"https://hub.test", "http://hub.test/b", false},
		{"https://hub.test:8443", "http://hub.test:8443/b", false},
		{"https://hub.test", "https://cdn.hub.test/b", false},
		{"https://hub.test", "https://hub.test.evil/b", false},
		{"https://hub.test", "https://hub.test:8443/b", false},
		{"https://127.0.0.1", "http://127.0.0.1", false},
		{"http://hub.test", "http://hub.test/b", true},
		{"http://hub.test", "https://hub.test/b", true},
		{"http://hub.test:8080", "https://hub.test/b", false},
		{"http://hub.test", "https://other.test/b", false},
		{"https://hub.test", "ftp://hub.test/b", false},
	} {
		from, err := url.Parse(c.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.Parse(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := mayHaveToken(from, to); got != c.want {
			t.Errorf("%s to %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// TestTokenNotToHTTP: an endpoint with https that redirects to http on the same host and
// port does not get the token carried there.
func TestTokenNotToHTTP(t *testing.T) {
	var plain []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain = append(plain, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer other.Close()
	var secure []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure = append(secure, r.Header.Get("Authorization"))
		http.Redirect(w, r, "http://"+r.Host+r.URL.Path, http.StatusFound)
	}))
	defer s.Close()
	c := &Client{Endpoint: s.URL, Cache: t.TempDir(), Token: "secret", pause: time.Millisecond, silence: time.Second}
	if resp, err := c.get(t.Context(), s.URL+"/x", ""); err == nil { // prepares c.http
		resp.Body.Close()
	}
	transport := c.http.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	// Plain requests to the same host and port go to the other server.
	transport.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme == "http" {
			return url.Parse(other.URL)
		}
		return nil, nil
	}
	if _, err := c.Pull(t.Context(), tiny, ""); err == nil {
		t.Error("no error")
	}
	if !slices.Equal(secure, []string{"Bearer secret"}) || !slices.Equal(plain, []string{""}) {
		t.Errorf("over https %q, over http %q", secure, plain)
	}
}

// TestCachedBlobIsCheckedOnce: what another program left in the cache is read once to
// check it, again only after it has changed, and a damaged blob is not used.
func TestCachedBlobIsCheckedOnce(t *testing.T) {
	s, c := newServer(t)
	var read []string
	c.hashed = func(blob string) { read = append(read, blob) }
	dir, err := c.Pull(t.Context(), tiny, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(read) > 0 {
		t.Errorf("fetched files were read again: %v", read)
	}
	// The same cache, as another program leaves it.
	if err := os.RemoveAll(filepath.Join(c.Cache, ".locks")); err != nil {
		t.Fatal(err)
	}
	find := func() error {
		read = nil
		_, err := c.Find(tiny, "")
		return err
	}
	if err := find(); err != nil || len(read) != 6 {
		t.Errorf("first use: %v, read %d blobs, want 6", err, len(read))
	}
	if err := find(); err != nil || len(read) != 0 {
		t.Errorf("second use: %v, read %v", err, read)
	}
	const name = "model-00001-of-00002.safetensors"
	blob, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour)
	if err := os.Chtimes(blob, at, at); err != nil {
		t.Fatal(err)
	}
	if err := find(); err != nil || !slices.Equal(read, []string{blob}) {
		t.Errorf("another time: %v, read %v", err, read)
	}
	// The same bytes in a new file with the same time: another inode.
	if err := os.Rename(blob, blob+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blob, s.files[name], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(blob, at, at); err != nil {
		t.Fatal(err)
	}
	if err := find(); err != nil || !slices.Equal(read, []string{blob}) {
		t.Errorf("another inode: %v, read %v", err, read)
	}
	damaged := bytes.Clone(s.files[name])
	damaged[1000] ^= 1
	if err := os.WriteFile(blob, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := find(); err == nil || !strings.Contains(err.Error(), blob) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("damaged: %v", err)
		}
	}
	s.asked = nil
	if _, err := c.Pull(t.Context(), tiny, ""); err != nil || !slices.Equal(s.asked, []string{name + " "}) {
		t.Errorf("pull of a damaged blob: %v, asked for %v", err, s.asked)
	}
	if err := find(); err != nil || len(read) != 0 {
		t.Errorf("after the pull: %v, read %v", err, read)
	}
	s.whole(t, dir)
}
