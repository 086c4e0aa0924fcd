package snapkv

import (
	"slices"
	"testing"
)

// TestJoinReaders: the heads of layers that read one cache are ordered by kv head, then
// by layer, and every array follows that order.
func TestJoinReaders(t *testing.T) {
	a, b := randomLayer(1), randomLayer(2)
	a.Index = 3
	b.Index = 7
	b.Keys, b.Values = a.Keys, a.Values
	all := JoinReaders([]*Layer{a, b})
	if all.Heads != 8 || all.KVHeads != 2 || all.Index != 3 || !all.Joint() || !slices.Equal(all.Readers, []int{3, 7}) {
		t.Fatalf("joined: %d heads, %d kv heads, layer %d, readers %v", all.Heads, all.KVHeads, all.Index, all.Readers)
	}
	var places [][2]int
	for h := range all.Heads {
		layer, head := all.Place(h)
		places = append(places, [2]int{layer, head})
		r := slices.Index(all.Readers, layer)
		if all.Joined(r, head) != h {
			t.Errorf("head %d is head %d of layer %d, which is head %d", h, head, layer, all.Joined(r, head))
		}
		of := []*Layer{a, b}[r]
		size := of.N * of.Len
		if !slices.Equal(all.Rows[h*size:(h+1)*size], of.Rows[head*size:(head+1)*size]) ||
			!slices.Equal(all.Sums[h*of.Len:(h+1)*of.Len], of.Sums[head*of.Len:(head+1)*of.Len]) ||
			!slices.Equal(all.Generated[h*of.Len:(h+1)*of.Len], of.Generated[head*of.Len:(head+1)*of.Len]) ||
			!slices.Equal(all.Queries[(2*all.Heads+h)*6:][:6], of.Queries[(2*of.Heads+head)*6:][:6]) {
			t.Errorf("head %d has other data than head %d of layer %d", h, head, layer)
		}
	}
	want := [][2]int{{3, 0}, {3, 1}, {7, 0}, {7, 1}, {3, 2}, {3, 3}, {7, 2}, {7, 3}}
	if !slices.Equal(places, want) {
		t.Errorf("places %v, want %v", places, want)
	}
	b.Sums = nil
	if JoinReaders([]*Layer{a, b}).Sums != nil {
		t.Error("sums of one layer count as those of both")
	}
}

// TestJointSelections: a cache that several layers, or all heads, read has one selection
// per kv head; with GroupHead it is that of GroupMean.
func TestJointSelections(t *testing.T) {
	a, b := randomLayer(1), randomLayer(2)
	b.Keys, b.Values = a.Keys, a.Values
	b.Index = 2
	latent := randomLayer(3)
	latent.KVHeads = 1
	latent.Latent = true
	latent.ValueDim = 4
	for name, l := range map[string]*Layer{"readers": JoinReaders([]*Layer{a, b}), "latent": latent} {
		for _, m := range Methods {
			c := testConfig(28)
			c.HeadScores = slices.Repeat([][]float64{slices.Repeat([]float64{1}, l.KVHeads)}, 4)
			mean := c
			mean.Group = GroupMean
			got, err := m.Select(l, c, 20)
			if m.ShareHeads != nil && l.Latent {
				if err == nil {
					t.Errorf("%s, %s: a budget by head is accepted", name, m.Name)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := m.Select(l, mean, 20)
			if err != nil || len(got) != l.KVHeads || !slices.EqualFunc(got, want, slices.Equal[[]int32]) {
				t.Errorf("%s, %s: %d selections, want %d, those of --group mean (%v)", name, m.Name, len(got), l.KVHeads, err)
			}
		}
	}
}

// TestBudgetsOfCaches: budgets are shared between the layers with a cache alone.
func TestBudgetsOfCaches(t *testing.T) {
	c := testConfig(48)
	src := Source{Len: 60, Layers: 6, Caches: []int{1, 3, 4}}
	stats := []float64{9, 1, 9, 2, 3, 9}
	for _, m := range Methods {
		e := Entry{Method: &m, Config: c}
		want := m.LayerBudgets([]float64{1, 2, 3}, src.Len, c)
		for i, l := range src.Caches {
			if got := src.Budget(&e, stats, l); got != want[i] {
				t.Errorf("%s: layer %d has budget %d, want %d", m.Name, l, got, want[i])
			}
		}
		if got := src.Budget(&e, stats, 2); got != 0 {
			t.Errorf("%s: layer 2, without a cache, has budget %d", m.Name, got)
		}
	}
}
