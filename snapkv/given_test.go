package snapkv

import (
	"reflect"
	"testing"
)

// TestGiven: the given positions of the prefix are kept, for each query head or merged for
// each kv head, and those of the window are left to it.
func TestGiven(t *testing.T) {
	l := &Layer{Index: 3, Layers: 4, Heads: 4, KVHeads: 2, Len: 10}
	keep := map[int][][]int32{3: {{0, 7, 9}, {2}}}
	m := Given("mine", keep)
	c := Config{Window: 2, Capacity: 5, Kernel: 1, Pooling: AvgPool, Group: GroupMean}
	got, err := m.Select(l, c, c.Budget())
	if err != nil || !reflect.DeepEqual(got, [][]int32{{0, 7}, {2}}) {
		t.Errorf("by kv head: %v, %v", got, err)
	}
	c.Group = GroupHead
	got, err = m.Select(l, c, c.Budget())
	if err != nil || !reflect.DeepEqual(got, [][]int32{{0, 7}, {0, 7}, {2}, {2}}) {
		t.Errorf("by query head: %v, %v", got, err)
	}
}
