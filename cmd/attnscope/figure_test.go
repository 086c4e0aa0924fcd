package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/viz"
)

// TestFigureAgain draws figures from what their files say: the same bytes.
func TestFigureAgain(t *testing.T) {
	dir := t.TempDir()
	dump := filepath.Join(dir, "a run.attn")
	dumpstest.WithValues(t, dump, "factors", "fine", 2, rand.New(rand.NewPCG(1, 2)))
	must(t, "heatmap", dump, "-o="+filepath.Join(dir, "maps"), "--window", "8", "--layers", "1")
	must(t, "snapkv", "--figures", filepath.Join(dir, "kept"), dump, "--method", "snapkv,knorm", "--window", "4", "--capacity", "8,16", "-o", filepath.Join(dir, "t.csv"))
	maps, err := filepath.Glob(filepath.Join(dir, "maps", "*", "layer-01.*"))
	if err != nil || len(maps) != 2 {
		t.Fatalf("%v, %v", maps, err)
	}
	for _, from := range append(maps, filepath.Join(dir, "maps", "layers-heads.svg"), filepath.Join(dir, "kept", "mass-capacity.png")) {
		out := filepath.Join(dir, "again"+filepath.Ext(from))
		must(t, "figure", "--from", from, "-o", out, "--force")
		want, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want the same %d (%v)", from, len(got), len(want), err)
		}
	}
	if got := must(t, "figure", "--from", maps[0], "--print"); !strings.HasPrefix(got, "attnscope heatmap '"+dir) {
		t.Errorf("printed %q", got)
	}
	if code, _, errs := call(t, "figure", "--from", maps[0], "-o", filepath.Join(dir, "again.png")); code != 1 || !strings.Contains(errs, "--force") {
		t.Errorf("existing file: exit %d, %s", code, errs)
	}
	dumpstest.WithValues(t, filepath.Join(dir, "other.attn"), "factors", "exact", 2, rand.New(rand.NewPCG(3, 4)))
	if err := os.Rename(filepath.Join(dir, "other.attn"), dump); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, "figure", "--from", maps[0], "-o", filepath.Join(dir, "b.png")); code != 1 || !strings.Contains(errs, "another capture") {
		t.Errorf("another dump: exit %d, %s", code, errs)
	}
}

// TestHostileFigures: a figure can make only figures be drawn.
func TestHostileFigures(t *testing.T) {
	dir := t.TempDir()
	for name, m := range map[string]viz.Meta{
		"capture": viz.Origin{Arguments: []string{"capture", "-m", "x", "-p", "y", "-o", filepath.Join(dir, "z.attn")}}.Meta().With("figure", "a"),
		"climbs":  viz.Origin{Arguments: []string{"heatmap", "x", "-o", "y"}}.Meta().With("figure", "../../a"),
		"none":    viz.Origin{Arguments: []string{}}.Meta().With("figure", "a"),
		"broken":  {"arguments": "[", "figure": "a"},
		"silent":  {"figure": "a"},
	} {
		f := viz.SummaryFigure(viz.Summary{Title: "t", Rates: viz.NewGrid(1, 1), Columns: []string{"0"}, Layers: []int{0}, Meta: m})
		for _, ext := range []string{".png", ".svg"} {
			path := filepath.Join(dir, name+ext)
			if err := f.Save(path); err != nil {
				t.Fatal(err)
			}
			if code, out, errs := call(t, "figure", "--from", path, "-o", filepath.Join(dir, "out"+ext)); code != 1 || out != "" || !strings.Contains(errs, name+ext) {
				t.Errorf("%s: exit %d, %q, %s", name, code, out, errs)
			}
		}
	}
	other := filepath.Join(dir, "text.png")
	if err := os.WriteFile(other, []byte("\x89PNG\r\n\x1a\n\xff\xff\xff\xff"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{other, "../../README.md", filepath.Join(dir, "none.gif")} {
		if code, _, errs := call(t, "figure", "--from", path); code != 1 || !strings.Contains(errs, filepath.Base(path)) {
			t.Errorf("%s: exit %d, %s", path, code, errs)
		}
	}
}
