package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHeatmapsOfAllPrompts: a prompt no longer than the window is left out and
// named; ids that look alike as file names do not share a folder.
func TestHeatmapsOfAllPrompts(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.ints("input_ids")
	dir := t.TempDir()
	dump := filepath.Join(dir, "run.attn")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "short", "input_ids": ids[:8]})+"\n"+
		jsonOf(map[string]any{"id": "a/0", "input_ids": ids[:30]})+"\n"+jsonOf(map[string]any{"id": "a_0", "input_ids": ids[:40]})+"\n")
	must(t, "capture", "-m", f.dir, "-p", p, "-o", dump, "--max-new-tokens", "2", "--window-rows", "16")
	maps := filepath.Join(dir, "maps")
	code, _, errs := call(t, "heatmap", dump, "-o", maps, "--prompt", "all", "--window", "8", "--layers", "0", "--format", "png")
	if code != 0 || !strings.Contains(errs, `"short"`) {
		t.Fatalf("exit %d: %s", code, errs)
	}
	drawn, err := filepath.Glob(filepath.Join(maps, "*", "layer-00.png"))
	if err != nil || len(drawn) != 2 {
		t.Errorf("drawn %v, want a layer of two prompts", drawn)
	}
	if _, err := os.Stat(filepath.Join(maps, "a_0", "layer-00.png")); err != nil {
		t.Error(err)
	}
	if code, _, errs := call(t, "heatmap", dump, "-o", maps, "--prompt", "short", "--window", "8"); code != 1 || !strings.Contains(errs, "8 tokens") {
		t.Errorf("the short prompt alone: exit %d, %s", code, errs)
	}
	if code, _, errs := call(t, "snapkv", dump, "--prompt", "a/0", "--capacity", "16", "--window", "8"); code != 2 || !strings.Contains(errs, "--indices") {
		t.Errorf("snapkv --prompt without --indices: exit %d, %s", code, errs)
	}
}
