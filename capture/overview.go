package capture

import (
	"sync"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/simd"
)

// overview pools the whole map of a layer's prompt into side x side cells per head:
// query i and key j belong to cell [i*side/prompt, j*side/prompt], which holds the
// largest of its weights. A maximum does not depend on the order of the tiles.
type overview struct {
	side, prompt int
	locks        []sync.Mutex
	cells        []float32 // [heads, side, side]: query, key
}

func newOverview(heads, side, prompt int) *overview {
	return &overview{
		side: side, prompt: prompt,
		locks: make([]sync.Mutex, heads),
		cells: make([]float32, heads*side*side),
	}
}

// add pools a tile of a head's prompt rows.
func (o *overview) add(head int, t *cpu.Tile) {
	row := make([]float32, o.side)
	for i := range t.Rows {
		pos := t.Pos0 + i
		if pos >= o.prompt {
			return
		}
		clear(row)
		o.pool(row, t.Weights[i*t.Stride:i*t.Stride+t.Keys], t.Key0, min(t.Keys, pos+1-t.Key0))
		dst := o.cells[(head*o.side+pos*o.side/o.prompt)*o.side:][:o.side]
		o.locks[head].Lock()
		for c, v := range row {
			dst[c] = max(dst[c], v)
		}
		o.locks[head].Unlock()
	}
}

// pool raises the cells of a row to the largest of the weights w, whose first key is
// key0. Only the first seen weights count.
func (o *overview) pool(row, w []float32, key0, seen int) {
	for cell := key0 * o.side / o.prompt; cell < o.side; cell++ {
		lo := max(0, o.firstKey(cell)-key0)
		hi := min(o.firstKey(cell+1)-key0, seen)
		if lo >= len(w) {
			break
		}
		if lo < hi {
			row[cell] = max(0, simd.Max(w[lo:hi]))
		}
	}
}

// firstKey returns the first key of a cell: the least j with j*side/prompt >= cell.
func (o *overview) firstKey(cell int) int { return (cell*o.prompt + o.side - 1) / o.side }

// merge pools cells that cover some of a head's rows.
func (o *overview) merge(head int, cells []float32) {
	o.locks[head].Lock()
	defer o.locks[head].Unlock()
	dst := o.cells[head*o.side*o.side:][:o.side*o.side]
	for i, v := range cells {
		dst[i] = max(dst[i], v)
	}
}
