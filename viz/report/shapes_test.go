package report

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestEveryKindOfLayer: the page describes the layers of each kind, and those without
// attention have rows that say so.
func TestEveryKindOfLayer(t *testing.T) {
	for _, kind := range dumpstest.KindNames() {
		path := filepath.Join(t.TempDir(), kind+".attn")
		dumpstest.Shapes(t, path, dumpstest.Kinds()[kind], dumps.StoreFactors, dumps.Fine, "a", "b")
		page, warnings, err := HTML(t.Context(), []string{path}, small)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, line := range r.Header().Model.Sizes() {
			if !strings.Contains(string(page), line) {
				t.Errorf("%s: the page lacks %q", kind, line)
			}
		}
		rows := strings.Count(string(page), "</td><td>no attention</td></tr>")
		said := strings.Contains(string(page), "Layers 0, 2 of 4 have no attention")
		if hybrid := kind == "hybrid"; said != hybrid || hybrid != (rows == 2) || !hybrid && rows > 0 {
			t.Errorf("%s: %d rows say no attention; said in the summary: %t", kind, rows, said)
		}
		for i, w := range warnings {
			for _, other := range warnings[:i] {
				if w == other {
					t.Errorf("%s: twice: %s", kind, w)
				}
			}
		}
	}
}
