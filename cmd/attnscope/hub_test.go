package main

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHubModel: a hub id is fetched once, captured from, and found again when
// offline.
func TestHubModel(t *testing.T) {
	const commit = "00112233445566778899aabbccddeeff00112233"
	const dir = "../../engine/model/testdata/qwen3"
	asked := 0
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if name, ok := strings.CutPrefix(r.URL.Path, "/some/tiny/resolve/"+commit+"/"); ok {
			http.ServeFile(w, r, filepath.Join(dir, filepath.Base(name)))
			return
		}
		if r.URL.Path != "/api/models/some/tiny/revision/main" {
			http.NotFound(w, r)
			return
		}
		var list []map[string]any
		for _, name := range []string{"config.json", "model.safetensors"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
			list = append(list, map[string]any{"rfilename": name, "size": len(data), "blobId": fmt.Sprintf("%x", sum)})
		}
		json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
	}))
	defer hub.Close()
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_ENDPOINT", hub.URL)
	want := filepath.Join(home, "hub", "models--some--tiny", "snapshots", commit)
	if got := strings.TrimSpace(must(t, "pull", "some/tiny")); got != want {
		t.Errorf("pulled into %s, want %s", got, want)
	}
	before := asked
	prompts := filepath.Join(home, "p.jsonl")
	if err := os.WriteFile(prompts, []byte(`{"id":"a","input_ids":[1,2,3,4,5,6,7,8]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	dump := filepath.Join(home, "x.attn")
	must(t, "capture", "-m", "some/tiny", "-p", prompts, "-o", dump, "--max-new-tokens", "2")
	t.Setenv("HF_HUB_OFFLINE", "1")
	info := must(t, "info", "-m", "some/tiny")
	if !strings.Contains(info, "qwen3: ") || !strings.Contains(info, "in memory") {
		t.Errorf("info: %s", info)
	}
	if asked != before {
		t.Errorf("%d requests after the pull", asked-before)
	}
	if code, _, errs := call(t, "pull", "some/other"); code != 1 || !strings.Contains(errs, "some/other") || !strings.Contains(errs, "offline") {
		t.Errorf("offline, not there: exit %d, %s", code, errs)
	}
	t.Setenv("HF_HUB_OFFLINE", "")
	if code, _, errs := call(t, "capture", "-m", "some/other", "-p", prompts, "-o", dump, "--force"); code != 1 || !strings.Contains(errs, "404") {
		t.Errorf("unknown model: exit %d, %s", code, errs)
	}
}
