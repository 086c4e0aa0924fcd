package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestLatexHasTheRatesOfEveryLayer: in a model of which one layer has attention, the LaTeX
// tables of both verbs have the result in the row of that layer and "none" in the others.
func TestLatexHasTheRatesOfEveryLayer(t *testing.T) {
	shapes := dumpstest.Kinds()["hybrid"]
	linear := shapes[slices.IndexFunc(shapes, func(s dumps.LayerShape) bool { return !s.HasAttention() })]
	seen := false
	for l := range shapes {
		if shapes[l].HasAttention() && seen {
			shapes[l] = linear
			shapes[l].CacheOf = l
		}
		seen = seen || shapes[l].HasAttention()
	}
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Shapes(t, path, shapes, dumps.StoreRows, dumps.Exact, "a", "b")
	for args, column := range map[string]string{
		"hitrate --window 8": "hit rate", "snapkv --window 8 --capacity 16": "mass",
	} {
		code, out, messages := call(t, append(strings.Fields(args), path, "--format", "latex")...)
		if code != 0 || !strings.Contains(out, "& "+column) || !strings.Contains(out, "& none") {
			t.Errorf("%s: exit %d, no column %q:\n%s%s", args, code, column, out, messages)
		}
	}
}
