package main

import (
	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
)

// writeByLayer is writeTable for a table about the dumps that are the verb's arguments.
// Layers without attention have rows, or columns, that say none.
func writeByLayer(c *cli.Context, t *table.Table, screen table.Screen) error {
	holes, err := holesOf(c.Args().Slice())
	if err != nil {
		return err
	}
	if len(holes) == 0 {
		return writeTable(c, t, screen)
	}
	before := len(t.Rows)
	t, origin := t.WithLayers(func(model string) []int { return holes[model] })
	if doubtful := screen.Doubtful; doubtful != nil {
		screen.Doubtful = func(r int, column string) bool {
			if r >= len(origin) { // of the totals
				return doubtful(r-len(origin)+before, column)
			}
			return origin[r] >= 0 && doubtful(origin[r], column)
		}
	}
	return writeTable(c, t, screen)
}

// holesOf lists the layers without attention of the models of dumps that have some.
func holesOf(paths []string) (map[string][]int, error) {
	holes := map[string][]int{}
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return nil, err
		}
		m := r.Header().Model
		r.Close()
		var list []int
		for l := range m.Layers {
			if s := m.Layer(l); !s.HasAttention() {
				list = append(list, l)
			}
		}
		if list != nil {
			holes[m.ID] = list
		}
	}
	return holes, nil
}
