package snapkv

import (
	"fmt"
	"slices"
)

// CheckDecoding returns an error if the method cannot select again while a reply is
// decoded.
func (m *Method) CheckDecoding() error {
	switch {
	case m.ShareHeads != nil:
		return m.unequal()
	case m.Needs.AllQueries:
		return m.onlyOnce("it reads the queries of the whole prompt")
	case m.Needs.Generated:
		return m.onlyOnce("it reads the whole reply")
	}
	return nil
}

// onlyOnce is the error of a method that cannot select again, with the reason.
func (m *Method) onlyOnce(why string) error {
	return fmt.Errorf("%s cannot select again while a reply is decoded: %s", m.Name, why)
}

// unequal is the error of a method whose heads do not keep the same number of positions.
func (m *Method) unequal() error {
	return m.onlyOnce("it gives the heads of a layer different numbers of positions")
}

// CheckEqual returns an error if some of the lists of positions that the method kept in a
// layer are longer than others, so that a [Layer] cannot hold them for SelectAgain.
func (m *Method) CheckEqual(kept [][]int32) error {
	if slices.ContainsFunc(kept, func(list []int32) bool { return len(list) != len(kept[0]) }) {
		return m.unequal()
	}
	return nil
}

// SelectAgain selects while a reply is decoded. The positions of the layer are those that
// are still kept of the prompt and the reply, of each head or kv head, and its last queries
// are those of the reply. It returns which of them, counted from 0, are kept: target per
// head, among them the last ones, which are the window.
func (m *Method) SelectAgain(l *Layer, c Config, target int) ([][]int32, error) {
	keep := make([][]int32, l.config(c).Group.selections(l.Heads, l.KVHeads))
	if target > c.Window { // otherwise only the window is kept, in a layer without a budget
		c.Capacity = target
		var err error
		if keep, err = m.Select(l, c, c.Budget()); err != nil {
			return nil, err
		}
	}
	for h, prefix := range keep {
		keep[h] = slices.Clone(prefix)
		for j := l.Len - c.Window; j < l.Len; j++ {
			keep[h] = append(keep[h], int32(j))
		}
	}
	return keep, nil
}
