package capture

import (
	"sync"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/simd"
)

// overview is a pooled picture of a layer's whole map over the prompt: for each
// head side x side cells, each the largest weight of the queries and keys that
// fall into it. The largest does not depend on the order of the tiles.
type overview struct {
	side, prompt int
	locks        []sync.Mutex
	cells        []float32 // [heads, side, side]: query, key
}

func newOverview(heads, side, prompt int) *overview {
	return &overview{side: side, prompt: prompt, locks: make([]sync.Mutex, heads), cells: make([]float32, heads*side*side)}
}

// add takes a tile of a head's prompt rows.
func (o *overview) add(head int, t *cpu.Tile) {
	row := make([]float32, o.side)
	for i := range t.Rows {
		pos := t.Pos0 + i
		if pos >= o.prompt {
			return
		}
		w := t.Weights[i*t.Stride : i*t.Stride+t.Keys]
		clear(row)
		for cell := t.Key0 * o.side / o.prompt; cell < o.side; cell++ {
			// The keys of a cell: those j with j*side/prompt == cell.
			lo := max(0, (cell*o.prompt+o.side-1)/o.side-t.Key0)
			hi := min(((cell+1)*o.prompt+o.side-1)/o.side-t.Key0, min(t.Keys, pos+1-t.Key0))
			if lo >= hi {
				if lo >= t.Keys {
					break
				}
				continue
			}
			row[cell] = max(0, simd.Max(w[lo:hi]))
		}
		dst := o.cells[(head*o.side+pos*o.side/o.prompt)*o.side:][:o.side]
		o.locks[head].Lock()
		for c, v := range row {
			dst[c] = max(dst[c], v)
		}
		o.locks[head].Unlock()
	}
}

// merge takes cells made of some of a head's rows.
func (o *overview) merge(head int, cells []float32) {
	o.locks[head].Lock()
	defer o.locks[head].Unlock()
	dst := o.cells[head*o.side*o.side:][:o.side*o.side]
	for i, v := range cells {
		dst[i] = max(dst[i], v)
	}
}
