package dumps_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// layerOf opens a layer of a dump of random weights.
func layerOf(t *testing.T, store dumps.Store) (*dumps.Reader, *dumps.LayerReader) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Random(t, path, store, "fine", rand.New(rand.NewPCG(3, 4)))
	r := open(t, path)
	l, err := r.LayerOf(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r, l
}

// TestLayerReaderGivesTheSameWeights as Reader.Weights, for any head and range of rows,
// in both forms.
func TestLayerReaderGivesTheSameWeights(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		r, l := layerOf(t, store)
		if (l.Bytes() > 0) != (store == dumps.StoreFactors) {
			t.Errorf("%s: %d bytes held", store, l.Bytes())
		}
		for _, ph := range dumps.Phases {
			want, err := r.Weights(0, 1, ph)
			if err != nil {
				t.Fatal(err)
			}
			for head := range want.Heads {
				for _, part := range [][2]int{{0, want.Rows}, {2, 3}, {want.Rows - 1, 1}} {
					got := make([]float32, part[1]*want.Keys)
					if part[0]+part[1] > want.Rows {
						continue
					}
					if err := l.Rows(got, ph, head, part[0], part[1]); err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got, want.Head(head)[part[0]*want.Keys:][:len(got)]) {
						t.Errorf("%s, phase %d, head %d, rows %v: not what Weights gives", store, ph, head, part)
					}
				}
			}
			for _, part := range [][2]int{{0, want.Rows}, {1, want.Rows - 1}, {want.Rows - 1, 1}} {
				got, err := l.Weights(ph, part[0], part[1])
				if err != nil {
					t.Fatal(err)
				}
				if got.Heads != want.Heads || got.Rows != part[1] || got.Pos0 != want.Pos0+part[0] {
					t.Fatalf("%s, phase %d, rows %v: %d heads, %d rows from %d", store, ph, part, got.Heads, got.Rows, got.Pos0)
				}
				for head := range want.Heads {
					if !slices.Equal(got.Head(head), want.Head(head)[part[0]*want.Keys:][:part[1]*want.Keys]) {
						t.Errorf("%s, phase %d, head %d, rows %v of all heads: not what Weights gives", store, ph, head, part)
					}
				}
			}
			if _, err := l.Weights(ph, 1, want.Rows); err == nil {
				t.Errorf("phase %d: no error for a row too many", ph)
			}
			buf := make([]float32, want.Rows*want.Keys)
			for _, bad := range [][3]int{{-1, 0, 1}, {want.Heads, 0, 1}, {0, -1, 1}, {0, 0, want.Rows + 1}, {0, want.Rows, 1}} {
				if l.Rows(buf, ph, bad[0], bad[1], bad[2]) == nil {
					t.Errorf("head %d, rows %d+%d: no error", bad[0], bad[1], bad[2])
				}
			}
			if l.Rows(buf[:1], ph, 0, 0, 1) == nil {
				t.Error("no room: no error")
			}
		}
		if _, err := r.LayerOf(0, 9); err == nil {
			t.Error("layer 9: no error")
		}
	}
}

// TestJoinedRowsAreBothPhases: the joined list holds the rows of the prompt, extended by
// zeros, and then those of the reply.
func TestJoinedRowsAreBothPhases(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		r, l := layerOf(t, store)
		var lists [2]*dumps.Attention
		for ph := range lists {
			var err error
			if lists[ph], err = r.Weights(0, 1, dumps.Phase(ph)); err != nil {
				t.Fatal(err)
			}
		}
		rows, keys := lists[0].Rows, lists[1].Keys
		for head := range lists[0].Heads {
			var want []float32
			for ph, a := range lists {
				for i := range a.Rows {
					row := make([]float32, keys)
					copy(row, lists[ph].Head(head)[i*a.Keys:(i+1)*a.Keys])
					want = append(want, row...)
				}
			}
			for _, part := range [][2]int{{0, rows + lists[1].Rows}, {rows - 2, 4}, {1, 3}, {rows, 2}, {rows - 1, 1}} {
				got := make([]float32, part[1]*keys)
				for i := range got {
					got[i] = 7 // must be overwritten
				}
				if err := l.JoinedRows(got, head, part[0], part[1]); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want[part[0]*keys:][:len(got)]) {
					t.Errorf("%s, head %d, rows %v: not what Weights gives", store, head, part)
				}
			}
		}
		for _, bad := range [][3]int{{-1, 0, 1}, {9, 0, 1}, {0, -1, 1}, {0, 0, rows + 99}} {
			if l.JoinedRows(make([]float32, 1000*keys), bad[0], bad[1], bad[2]) == nil {
				t.Errorf("head %d, rows %d+%d: no error", bad[0], bad[1], bad[2])
			}
		}
		if l.JoinedRows(make([]float32, 1), 0, 0, 1) == nil {
			t.Error("no room: no error")
		}
	}
}

// TestPickRows picks rows of both phases out of the joined list, in both forms.
func TestPickRows(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		r, l := layerOf(t, store)
		p := r.Prompts()[0]
		keys := p.PromptTokens + p.ReplyTokens
		all := make([]float32, (p.WindowRows+p.ReplyTokens)*keys)
		if err := l.JoinedRows(all, 2, 0, p.WindowRows+p.ReplyTokens); err != nil {
			t.Fatal(err)
		}
		rows := []int{0, 1, 5, p.WindowRows - 1, p.WindowRows, p.WindowRows + 2}
		got := make([]float32, len(rows)*keys)
		if err := l.PickRows(got, 2, rows); err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			if !slices.Equal(got[i*keys:(i+1)*keys], all[row*keys:(row+1)*keys]) {
				t.Errorf("%s: row %d is not that of the whole list", store, row)
			}
		}
		for _, bad := range [][]int{{3, 2}, {1, 1}, {-1}, {p.WindowRows + p.ReplyTokens}} {
			if err := l.PickRows(got, 2, bad); err == nil {
				t.Errorf("%s: rows %v: no error", store, bad)
			}
		}
		l.Release()
		if l.Bytes() > 4*(p.WindowRows+p.ReplyTokens)*dumpstest.Heads*dumpstest.Dim {
			t.Errorf("%s: %d bytes are held after Release, want at most the queries", store, l.Bytes())
		}
	}
}
