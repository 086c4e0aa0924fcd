// Package hubtest is a hub for tests: it serves folders of models.
package hubtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Commit is the commit of every model.
const Commit = "00112233445566778899aabbccddeeff00112233"

// Hub serves models and counts what it sends.
type Hub struct {
	// Cache is the folder of the cache, which is empty at first.
	Cache  string
	t      testing.TB
	models map[string]string

	mu       sync.Mutex
	sent     map[string]int64
	requests int
}

// Serve starts a hub. models maps the id of each model to the folder of its files. During
// the test, the environment variables of the hub's client point to this hub and to an
// empty cache.
func Serve(t testing.TB, models map[string]string) *Hub {
	t.Helper()
	home := t.TempDir()
	h := &Hub{Cache: filepath.Join(home, "hub"), t: t, models: models, sent: map[string]int64{}}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"HF_HOME": home, "HF_ENDPOINT": server.URL, "HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "",
		"HF_TOKEN": "", "HF_TOKEN_PATH": "", "HF_HUB_OFFLINE": "",
	} {
		t.Setenv(name, value)
	}
	return h
}

// Sent returns the number of bytes that were sent of files with this name.
func (h *Hub) Sent(name string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent[name]
}

// Requests returns the number of requests so far.
func (h *Hub) Requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// ServeHTTP answers a request.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests++
	h.mu.Unlock()
	for id, dir := range h.models {
		if r.URL.Path == "/api/models/"+id+"/revision/main" {
			h.list(w, dir)
			return
		}
		if name, ok := strings.CutPrefix(r.URL.Path, "/"+id+"/resolve/"+Commit+"/"); ok {
			http.ServeFile(&counted{w, h, name}, r, filepath.Join(dir, filepath.FromSlash(name)))
			return
		}
	}
	http.NotFound(w, r)
}

// list answers with the files of a model.
func (h *Hub) list(w http.ResponseWriter, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		h.t.Error(err)
	}
	var list []map[string]any
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			h.t.Error(err)
		}
		git := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
		file := map[string]any{"rfilename": e.Name(), "size": len(data), "blobId": fmt.Sprintf("%x", git)}
		if suffix := filepath.Ext(e.Name()); suffix == ".safetensors" || suffix == ".gguf" {
			file["lfs"] = map[string]any{"sha256": fmt.Sprintf("%x", sha256.Sum256(data)), "size": len(data)}
		}
		list = append(list, file)
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"sha": Commit, "siblings": list}); err != nil {
		h.t.Error(err)
	}
}

// counted counts the bytes of an answer.
type counted struct {
	http.ResponseWriter
	hub  *Hub
	name string
}

func (c *counted) Write(p []byte) (int, error) {
	c.hub.mu.Lock() // before the client may have the bytes
	c.hub.sent[c.name] += int64(len(p))
	c.hub.mu.Unlock()
	return c.ResponseWriter.Write(p)
}
