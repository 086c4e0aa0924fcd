package dumps_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// FuzzOpen reads whatever it is given: an error, never a panic, and every
// block that is handed out fits its prompt.
func FuzzOpen(f *testing.F) {
	for _, store := range []string{"rows", "factors"} {
		path := filepath.Join(f.TempDir(), "x.attn")
		dumpstest.Random(f, path, store, "fine", rand.New(rand.NewPCG(1, 1)))
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	path := filepath.Join(f.TempDir(), "fuzz.attn")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _ = dumps.Verify(path, func(dumps.Problem) {})
		r, err := dumps.Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		for i, p := range r.Prompts() {
			if i == 4 || p.PromptTokens > 1<<12 || p.ReplyTokens > 1<<12 {
				break
			}
			for _, layer := range r.Header().Plan.Layers[:min(2, len(r.Header().Plan.Layers))] {
				a, err := r.WeightsOf(i, layer, dumps.Decode, 0, min(2, len(r.Header().Plan.Heads)))
				if err == nil && len(a.Data) != a.Heads*a.Rows*a.Keys {
					t.Errorf("%d weights, want %d x %d x %d", len(a.Data), a.Heads, a.Rows, a.Keys)
				}
				if _, err := r.States(i, layer); err != nil && !errors.Is(err, dumps.ErrCorrupt) && !errors.Is(err, dumps.ErrAbsent) {
					t.Logf("states: %v", err)
				}
				_, _, _ = r.Windows(i, layer)
				_, _ = r.Sums(i, layer)
			}
		}
	})
}
