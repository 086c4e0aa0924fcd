package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// server is a hub of one model, with faults.
type server struct {
	*httptest.Server
	files map[string][]byte
	lfs   map[string]bool
	// negative names a large file that is listed with a size of -1.
	negative string
	// fault may answer a request for a file; true: it did. try counts from 1.
	fault func(w http.ResponseWriter, r *http.Request, name string, try int) bool

	mu    sync.Mutex
	tries map[string]int
	asked []string // file and Range of every request
}

func newServer(t *testing.T) (*server, *Client) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	s := &server{
		tries: map[string]int{}, lfs: map[string]bool{"model-00001-of-00002.safetensors": true, "model-00002-of-00002.safetensors": true, "tiny.Q8_0.gguf": true},
		files: map[string][]byte{
			"config.json": []byte(`{"model_type":"llama"}`), "tokenizer.json": []byte("{}"), "tokenizer.model": []byte("x"), "README.md": []byte("no"), "empty.txt": nil,
			"generation_config.json": nil, "model-00001-of-00002.safetensors": random(300_000), "model-00002-of-00002.safetensors": random(700_001), "tiny.Q8_0.gguf": random(1000),
			"pytorch_model.bin": []byte("no"), "consolidated.safetensors": []byte("no"),
			indexFile: []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`),
		},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s, &Client{Endpoint: s.URL, Cache: t.TempDir(), Token: "secret", pause: time.Millisecond, silence: 300 * time.Millisecond}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/o/tiny/revision/"); ok {
		if rest != "main" && rest != commit && rest != "v1" {
			http.NotFound(w, r)
			return
		}
		var list []map[string]any
		for name, data := range s.files {
			sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
			f := map[string]any{"rfilename": name, "size": len(data), "blobId": hex.EncodeToString(sum[:])}
			if s.lfs[name] {
				sum := sha256.Sum256(data)
				size := len(data)
				if name == s.negative {
					size = -1
				}
				f["lfs"] = map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": size}
			}
			list = append(list, f)
		}
		json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/o/tiny/resolve/"+commit+"/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	s.tries[name]++
	try := s.tries[name]
	s.asked = append(s.asked, name+" "+r.Header.Get("Range"))
	s.mu.Unlock()
	if s.fault != nil && s.fault(w, r, name, try) {
		return
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(s.files[name]))
}

var tiny = Model{ID: "o/tiny"}

func (s *server) whole(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"config.json", "tokenizer.json", "generation_config.json", indexFile, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, s.files[name]) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "../../blobs/*.incomplete")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestPull(t *testing.T) {
	s, c := newServer(t)
	if _, err := c.Find(tiny, ""); !errors.Is(err, ErrNotCached) {
		t.Fatalf("empty cache: %v", err)
	}
	var last, total int64
	var mu sync.Mutex
	c.Progress = func(done, of int64) { mu.Lock(); last, total = max(last, done), of; mu.Unlock() }
	dir, err := c.Pull(t.Context(), tiny, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(c.Cache, "models--o--tiny", "snapshots", commit); dir != want {
		t.Errorf("in %s, want %s", dir, want)
	}
	s.whole(t, dir)
	for _, name := range []string{"README.md", "pytorch_model.bin", "consolidated.safetensors", "tokenizer.model", "tiny.Q8_0.gguf"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil || s.tries[name] > 0 {
			t.Errorf("%s was fetched", name)
		}
	}
	if last != total || total < 1_000_000 {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if target, err := os.Readlink(filepath.Join(dir, "config.json")); err != nil || !strings.HasPrefix(target, filepath.Join("..", "..", "blobs")) {
		t.Errorf("config.json is no relative link into blobs: %q, %v", target, err)
	}
	if ref, err := os.ReadFile(filepath.Join(dir, "../../refs/main")); err != nil || string(ref) != commit {
		t.Errorf("refs/main holds %q, %v", ref, err)
	}
	asked := len(s.asked)
	if again, err := c.Pull(t.Context(), tiny, "v1"); err != nil || again != dir || len(s.asked) != asked {
		t.Errorf("second pull: %s, %v, %d requests more", again, err, len(s.asked)-asked)
	}
	c.Offline = true
	for _, revision := range []string{"", "main", "v1", commit} {
		if got, err := c.Find(tiny, revision); err != nil || got != dir {
			t.Errorf("revision %q: %s, %v", revision, got, err)
		}
	}
	if _, err := c.Pull(t.Context(), Model{ID: "o/other"}, ""); err == nil || !strings.Contains(err.Error(), "offline") {
		t.Errorf("offline: %v", err)
	}
}

// TestLook: the small files are fetched, and of the weights only what is asked for, with
// and without a hub that is busy, cut off, or ignores ranges.
func TestLook(t *testing.T) {
	const big = "model-00002-of-00002.safetensors"
	for name, fault := range map[string]func(s *server, w http.ResponseWriter, try int) bool{
		"well": nil,
		"busy once": func(_ *server, w http.ResponseWriter, try int) bool {
			if try == 1 {
				http.Error(w, "busy", http.StatusServiceUnavailable)
			}
			return try == 1
		},
		"cut off once": func(s *server, w http.ResponseWriter, try int) bool {
			if try == 1 {
				w.Header().Set("Content-Length", "500")
				w.WriteHeader(http.StatusPartialContent)
				w.Write(s.files[big][1000:1100])
				panic(http.ErrAbortHandler)
			}
			return false
		},
		"range ignored": func(s *server, w http.ResponseWriter, _ int) bool {
			w.Write(s.files[big])
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newServer(t)
			if fault != nil {
				s.fault = func(w http.ResponseWriter, _ *http.Request, name string, try int) bool {
					return name == big && fault(s, w, try)
				}
			}
			snapshot, err := c.Look(t.Context(), tiny, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"config.json", "tokenizer.json", indexFile} {
				if got, err := os.ReadFile(filepath.Join(snapshot.Dir(), name)); err != nil || !bytes.Equal(got, s.files[name]) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
			if _, err := c.Find(tiny, commit); !errors.Is(err, ErrNotCached) {
				t.Errorf("without its weights, the model is found: %v", err)
			}
			weights := snapshot.Weights()
			sum := sha256.Sum256(s.files[big])
			want := Weight{Name: big, Size: 700_001, SHA256: hex.EncodeToString(sum[:])}
			if len(weights) != 2 || weights[1] != want || s.tries[big] != 0 {
				t.Errorf("weights %+v, want %+v last, asked for %d times", weights, want, s.tries[big])
			}
			part, err := snapshot.Range(t.Context(), big, 1000, 500)
			if err != nil || !bytes.Equal(part, s.files[big][1000:1500]) {
				t.Errorf("%d bytes, %v", len(part), err)
			}
			if !slices.Contains(s.asked, big+" bytes=1000-1499") {
				t.Errorf("asked for %v", s.asked)
			}
			s.fault = nil
			dir, err := snapshot.Fetch(t.Context())
			if err != nil || dir != snapshot.Path() {
				t.Fatalf("fetched into %s, want %s, %v", dir, snapshot.Path(), err)
			}
			s.whole(t, dir)
		})
	}
}

// TestOtherPart: a hub, or a cache on the way, that sends another part of a file than the one
// that was asked for, is not believed. What was fetched before stays.
func TestOtherPart(t *testing.T) {
	const big = "model-00002-of-00002.safetensors"
	s, c := newServer(t)
	s.fault = func(w http.ResponseWriter, r *http.Request, name string, _ int) bool {
		if name != big || r.Header.Get("Range") == "" {
			return false
		}
		w.Header().Set("Content-Range", "bytes 0-699999/700001")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(s.files[big][:700_000])
		return true
	}
	snapshot, err := c.Look(t.Context(), tiny, "")
	if err != nil {
		t.Fatal(err)
	}
	const want = `"bytes 0-699999/700001", want the bytes from 1000 on`
	if part, err := snapshot.Range(t.Context(), big, 1000, 500); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%d bytes, %v", len(part), err)
	}
	sum := sha256.Sum256(s.files[big])
	part := filepath.Join(c.repo(tiny), "blobs", hex.EncodeToString(sum[:])+".incomplete")
	if err := os.WriteFile(part, s.files[big][:1000], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("fetched: %v", err)
	}
	if fi, err := os.Stat(part); err != nil || fi.Size() != 1000 {
		t.Errorf("what was fetched before is lost: %v", err)
	}
	s.fault = nil
	dir, err := snapshot.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.whole(t, dir)
}

// TestNegativeSize: a list of files with a size below zero is refused.
func TestNegativeSize(t *testing.T) {
	s, c := newServer(t)
	s.negative = "model-00001-of-00002.safetensors"
	snapshot, err := c.Look(t.Context(), tiny, "")
	if err == nil || !strings.Contains(err.Error(), s.negative+`" with -1 bytes`) {
		t.Errorf("%+v, %v", snapshot, err)
	}
}

func TestPullOneFile(t *testing.T) {
	s, c := newServer(t)
	m, ok := ParseModel("o/tiny:tiny.Q8_0.gguf")
	if !ok {
		t.Fatal("no model name")
	}
	path, err := c.Pull(t.Context(), m, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, s.files[m.File]) || len(s.asked) != 1 {
		t.Errorf("%d bytes (%v), %v", len(got), err, s.asked)
	}
	m.File = "other.gguf"
	if _, err := c.Pull(t.Context(), m, ""); err == nil || !strings.Contains(err.Error(), "tiny.Q8_0.gguf") {
		t.Errorf("unknown file: %v", err)
	}
}

// TestPullSplitFile: the first of several GGUF files brings the others.
func TestPullSplitFile(t *testing.T) {
	s, c := newServer(t)
	for i := range 3 {
		s.files[fmt.Sprintf("q/m-%05d-of-00003.gguf", i+1)] = []byte{byte(i)}
	}
	m, ok := ParseModel("o/tiny:q/m-00001-of-00003.gguf")
	if !ok {
		t.Fatal("no model name")
	}
	path, err := c.Pull(t.Context(), m, "")
	if err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(filepath.Dir(path), "m-00003-of-00003.gguf")
	if got, err := os.ReadFile(third); err != nil || !bytes.Equal(got, []byte{2}) || len(s.asked) != 3 {
		t.Errorf("%v (%v), %v", got, err, s.asked)
	}
	if _, err := c.Find(m, ""); err != nil {
		t.Error(err)
	}
	os.Remove(third)
	if _, err := c.Find(m, ""); !errors.Is(err, ErrNotCached) {
		t.Errorf("with a part missing: %v", err)
	}
}

// TestFaults: what a bad line and a busy hub do, and that the files are right
// afterwards.
func TestFaults(t *testing.T) {
	const big = "model-00002-of-00002.safetensors"
	for name, c := range map[string]struct {
		fault func(s *server) func(http.ResponseWriter, *http.Request, string, int) bool
		tries int
	}{
		"busy twice": {func(*server) func(http.ResponseWriter, *http.Request, string, int) bool {
			return func(w http.ResponseWriter, _ *http.Request, name string, try int) bool {
				if name != big || try > 2 {
					return false
				}
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return true
			}
		}, 3},
		"cut three times": {func(s *server) func(http.ResponseWriter, *http.Request, string, int) bool {
			return func(w http.ResponseWriter, r *http.Request, name string, try int) bool {
				if name != big || try > 3 {
					return false
				}
				s.part(w, r, name, 150_000)
				panic(http.ErrAbortHandler)
			}
		}, 4},
		"range ignored": {func(s *server) func(http.ResponseWriter, *http.Request, string, int) bool {
			return func(w http.ResponseWriter, r *http.Request, name string, try int) bool {
				if name != big {
					return false
				}
				if try == 1 {
					s.part(w, r, name, 150_000)
					panic(http.ErrAbortHandler)
				}
				w.Write(s.files[name])
				return true
			}
		}, 2},
		"silence": {func(s *server) func(http.ResponseWriter, *http.Request, string, int) bool {
			return func(w http.ResponseWriter, r *http.Request, name string, try int) bool {
				if name != big || try > 1 {
					return false
				}
				s.part(w, r, name, 1000)
				<-r.Context().Done()
				return true
			}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := newServer(t)
			s.fault = c.fault(s)
			dir, err := client.Pull(t.Context(), tiny, "")
			if err != nil {
				t.Fatal(err)
			}
			s.whole(t, dir)
			if s.tries[big] != c.tries {
				t.Errorf("%d tries, want %d: %v", s.tries[big], c.tries, s.asked)
			}
		})
	}
}

// part sends some bytes of a file from where the request says.
func (s *server) part(w http.ResponseWriter, r *http.Request, name string, n int) {
	data, from := s.files[name], 0
	if x := r.Header.Get("Range"); x != "" {
		from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(x, "bytes="), "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	w.Write(data[from : from+n])
	w.(http.Flusher).Flush()
}

func TestResumeInAnotherRun(t *testing.T) {
	s, c := newServer(t)
	const big = "model-00002-of-00002.safetensors"
	ctx, stop := context.WithCancel(t.Context())
	s.fault = func(w http.ResponseWriter, r *http.Request, name string, try int) bool {
		if name != big {
			return false
		}
		s.part(w, r, name, 300_000)
		time.Sleep(50 * time.Millisecond)
		stop() // the user's Ctrl-C
		<-r.Context().Done()
		return true
	}
	if _, err := c.Pull(ctx, tiny, ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	if _, err := c.Find(tiny, commit); err == nil {
		t.Error("a model that is not whole is found")
	}
	s.fault, s.asked = nil, nil
	dir, err := c.Pull(t.Context(), tiny, "")
	if err != nil {
		t.Fatal(err)
	}
	s.whole(t, dir)
	if !slices.Contains(s.asked, big+" bytes=300000-") {
		t.Errorf("asked for %v, want the rest only", s.asked)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *server, c *Client)
		model  Model
		rev    string
		want   []string
	}{
		"no token":    {func(_ *server, c *Client) { c.Token = "" }, tiny, "", []string{"401", "HF_TOKEN", "o/tiny"}},
		"wrong token": {func(_ *server, c *Client) { c.Token = "x" }, tiny, "", []string{"401", "token in use"}},
		"no model":    {func(*server, *Client) {}, Model{ID: "o/none"}, "", []string{"404", "o/none"}},
		"no revision": {func(*server, *Client) {}, tiny, "v9", []string{"404", "v9"}},
		"no weights": {func(s *server, _ *Client) {
			delete(s.files, "model-00001-of-00002.safetensors")
			delete(s.files, "model-00002-of-00002.safetensors")
			delete(s.files, indexFile)
		}, tiny, "", []string{"safetensors", "tiny.Q8_0.gguf"}},
		"wrong hash": {func(s *server, _ *Client) {
			s.fault = func(w http.ResponseWriter, _ *http.Request, name string, _ int) bool {
				if name != "config.json" {
					return false
				}
				w.Write([]byte(`{"model_type":"lxama"}`))
				return true
			}
		}, tiny, "", []string{"config.json", "hash"}},
		"too long": {func(s *server, _ *Client) {
			s.fault = func(w http.ResponseWriter, _ *http.Request, name string, _ int) bool {
				w.Write(make([]byte, 1<<20))
				return true
			}
		}, tiny, "", []string{"more than"}},
		"always busy": {func(s *server, _ *Client) {
			s.fault = func(w http.ResponseWriter, _ *http.Request, name string, _ int) bool {
				http.Error(w, "busy", http.StatusBadGateway)
				return true
			}
		}, tiny, "", []string{"502", "resumes"}},
		"a name that climbs": {func(s *server, _ *Client) {
			s.files["model-1-of-2.safetensors"] = nil
			s.files["../model.safetensors"] = []byte("x")
		}, Model{ID: "o/tiny", File: "../model.safetensors"}, "", []string{"refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := newServer(t)
			c.change(s, client)
			_, err := client.Pull(t.Context(), c.model, c.rev)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v: want %q in it", err, w)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v: holds the token", err)
			}
			if found, err := client.Find(tiny, ""); err == nil {
				t.Errorf("found %s", found)
			}
		})
	}
}

// TestTokenStaysHome: a redirection to another host does not take the token
// along.
func TestTokenStaysHome(t *testing.T) {
	s, c := newServer(t)
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		w.Write(s.files["tiny.Q8_0.gguf"])
	}))
	defer other.Close()
	s.fault = func(w http.ResponseWriter, r *http.Request, name string, _ int) bool {
		http.Redirect(w, r, other.URL+"/x", http.StatusFound)
		return true
	}
	if _, err := c.Pull(t.Context(), Model{ID: "o/tiny", File: "tiny.Q8_0.gguf"}, ""); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "" {
		t.Errorf("the other host saw %q", got)
	}
}

func TestTwoAtOnce(t *testing.T) {
	s, c := newServer(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d := &Client{Endpoint: c.Endpoint, Cache: c.Cache, Token: c.Token, pause: c.pause, silence: c.silence}
			if dir, err := d.Pull(t.Context(), tiny, ""); err != nil {
				t.Error(err)
			} else {
				s.whole(t, dir)
			}
		}()
	}
	wg.Wait()
	for name, n := range s.tries {
		if n != 1 {
			t.Errorf("%s was fetched %d times", name, n)
		}
	}
}

func TestNamesAndVariables(t *testing.T) {
	for name, ok := range map[string]bool{
		"a/b": true, "Qwen/Qwen2.5-0.5B": true, "a": false, "a/b/c": false, "../b": false, "a/..": false, "a/b:x.gguf": true, "a/b:sub/x.gguf": true,
		"a/b:../x.gguf": false, "a/b:x.bin": false, "a/b:": false, "/a/b": false, "a/b--c": false,
	} {
		if _, got := ParseModel(name); got != ok {
			t.Errorf("%q: %v, want %v", name, got, ok)
		}
	}
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_ENDPOINT", "https://example.test/")
	t.Setenv("HF_HUB_OFFLINE", "1")
	os.WriteFile(filepath.Join(home, "token"), []byte("abc\n"), 0o600)
	c := FromEnv()
	if c.Cache != filepath.Join(home, "hub") || c.Token != "abc" || c.Endpoint != "https://example.test" || !c.Offline {
		t.Errorf("%+v", c)
	}
}
