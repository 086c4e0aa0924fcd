package view

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// FuzzRequest sends arbitrary requests to a viewer of two dumps. It must never panic,
// answer nothing without the token, and send valid JSON where it says so.
func FuzzRequest(f *testing.F) {
	var paths []string
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		path := filepath.Join(f.TempDir(), string(store)+".attn")
		dumpstest.WithValues(f, path, store, "fine", 2, rand.New(rand.NewPCG(5, 6)))
		paths = append(paths, path)
	}
	s, err := Open(paths, Options{Token: testToken, CacheBytes: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	h := s.Handler()
	for _, q := range []string{
		"api/captures", "api/tokens?c=1&p=1", "api/map?head=2&layer=1", "api/tile?level=1&down=2&x=0&y=0&pool=mean", "api/row?row=20&head=-1",
		"api/column?key=41", "api/vote?window=16&kernel=5&pooling=maxpool", "api/kept?c=1&method=keydiff&capacity=24&window=4&group=mean&seed=3",
		"api/stats?window=4&top=0.1&theta=0.01&skip=4", "api/sweep?window=1,2,16&budget=3", "api/kept?method=snapkv&capacity=9223372036854775807",
		"index.html", "../../etc/passwd", "api/row?row=%zz", "api/map?head=1;layer=0",
	} {
		path, query, _ := strings.Cut(q, "?")
		f.Add("GET", "/"+testToken+"/"+path, query, "127.0.0.1:80", "")
		f.Add("HEAD", "/"+path, query, "localhost", "http://localhost")
	}
	f.Fuzz(func(t *testing.T, method, path, query, host, origin string) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		r := (&http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: host, Header: http.Header{}, Body: http.NoBody,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: path,
		}).WithContext(ctx)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		start := time.Now()
		h.ServeHTTP(w, r)
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%s?%s took %s", path, query, d)
		}
		body, _ := io.ReadAll(w.Result().Body)
		if !strings.HasPrefix(strings.TrimPrefix(path, "/"), testToken+"/") && w.Code == http.StatusOK {
			t.Errorf("%q is answered without the token", path)
		}
		if w.Code == http.StatusInternalServerError || len(body) > 64<<20 {
			t.Errorf("%q?%q: %d, %d bytes", path, query, w.Code, len(body))
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(body) {
			t.Errorf("%q?%q: no JSON: %.200q", path, query, body)
		}
	})
}
