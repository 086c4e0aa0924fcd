package cpu

import "github.com/attnscope/attnscope/internal/simd"

// Products by tiles (AMX). Every float32 becomes three bfloat16 terms, whose products are
// summed in float32: the results have the accuracy of float32, see package simd. The rows
// of a product are packed once for all weights; weights are packed block by block, like
// they are widened for other processors. Integers of quantized weights are one term; the
// products of a group of inputs are summed before they are scaled.

// tileRows holds rows packed for products by tiles, in blocks of simd.TileRows rows.
type tileRows struct {
	data  []uint16
	rows  int
	terms int
	size  int // values per block
}

// packTileRows packs x with the threads of the pool. The result is valid until the next
// call.
func (p *Pool) packTileRows(x Mat, terms int) tileRows {
	t := tileRows{rows: x.Rows, terms: terms, size: simd.TileSize(x.Cols, terms)}
	t.data = resize(&p.tiles, t.blocks()*t.size)
	p.Run(t.blocks(), func(block, _ int) {
		row := block * simd.TileRows
		rows := x.Sub(row, 0, min(simd.TileRows, x.Rows-row), x.Cols)
		simd.PackTileRows(t.data[block*t.size:(block+1)*t.size], rows, terms)
	})
	return t
}

// blocks returns the number of blocks.
func (t *tileRows) blocks() int { return (t.rows + simd.TileRows - 1) / simd.TileRows }

// part returns the inputs from k0 on, a multiple of simd.TileDepth, of a block of rows.
func (t *tileRows) part(block, k0 int) simd.Tiles {
	return simd.Tiles{Data: t.data[block*t.size+simd.TileSize(k0, t.terms):], Terms: t.terms}
}

// tilePanel is a part of a panel, packed for products by tiles. With scales, it holds
// integers: weights are scale*integer + rest, with scales and rests of
// [groups of 32 inputs][32 outputs].
type tilePanel struct {
	simd.Tiles
	scales []float32
	rests  []float32 // nil: all are 0
}

// mulScaled computes c = a·panel, or c += a·panel with acc, over k inputs. sums are the
// sums of the rows of a over the groups, and buf is for MulScaledTiles.
func (t *tilePanel) mulScaled(c Mat, a simd.Tiles, k int, sums Mat, acc bool, buf []float32) {
	switch {
	case t.rests != nil:
		simd.MulPanel(c, sums, t.rests, acc)
	case !acc:
		for r := range c.Rows {
			clear(c.Data[r*c.Stride : r*c.Stride+c.Cols])
		}
	}
	simd.MulScaledTiles(c, a.Data, t.Data, t.scales, k/simd.TileDepth, buf)
}

// tileSums returns the sums of the rows of x over groups of inputs, if the panels have
// offsets that need them. The result is valid until the next call.
func (m *Matrix) tileSums(p *Pool, x Mat) Mat {
	q, ok := m.panels.(*quantizedPanels)
	if !ok || !q.form.ScalesWithTiles() || !q.uncentered.Load() {
		return Mat{}
	}
	return m.sumGroups(p, x)
}

// firstCache is how much of the first-level cache the operands and the result of a product
// by tiles may take. It has 48 KB on the processors with AMX. Tiles are loaded from it three
// times as fast as from the second level.
const firstCache = 40 << 10

// mostInputs returns the largest number of inputs of a block, for operands of so many terms.
// A block of rows stays in the first-level cache while it is multiplied by one panel after
// the other. Rounded values, of which a step takes a third of the time or less, cannot be
// read fast enough either way; for them, blocks are as large as for other products.
func mostInputs(termsA, termsB int) int {
	if termsA == simd.RoundedTerm {
		return blockIn
	}
	perStep := 2 * (simd.TileSize(simd.TileDepth, termsA) + simd.TileSize(simd.TileDepth, termsB))
	return (firstCache - 4*simd.TileRows*simd.Width) / perStep * simd.TileDepth
}

// mulTiles computes dst = x·Wᵀ or dst += x·Wᵀ by tiles. x is split into terms bfloat16
// values per element.
func (m *Matrix) mulTiles(p *Pool, dst, x Mat, terms int, acc bool) {
	a := p.packTileRows(x, terms)
	panels := simd.Panels(m.out)
	panelTerms := m.panels.tileTerms()
	most := mostInputs(terms, panelTerms)
	if m.group == simd.TileDepth {
		// Scaled integers. Their offsets are added block by block, which rounds less often in
		// larger blocks, and scaling takes longer than reading from the second level.
		most = blockIn
	}
	step := blockOf(m.in, most)
	group := groupOf(panels, p.threads)
	sums := m.tileSums(p, x)
	p.Run((panels+group-1)/group, func(task, worker int) {
		lo := task * group
		hi := min(panels, lo+group)
		s := p.Scratch(worker)
		buf := s.packed(group * simd.TileSize(step, panelTerms))
		floats := s.Floats(2*group*step + 2*simd.TileRows*simd.Width)
		results := floats[2*group*step:]
		var packed [groupPanels]tilePanel
		for k0 := 0; k0 < m.in; k0 += step {
			kl := min(step, m.in-k0)
			for j := lo; j < hi; j++ {
				packed[j-lo] = m.panels.tiles(buf[(j-lo)*simd.TileSize(kl, panelTerms):], floats[2*(j-lo)*step:], j, k0, kl, s)
			}
			for block := range a.blocks() {
				row := block * simd.TileRows
				rows := min(simd.TileRows, x.Rows-row)
				if packed[0].scales == nil {
					c := dst.Sub(row, lo*simd.Width, rows, min(hi*simd.Width, m.out)-lo*simd.Width)
					simd.MulTiles(c, a.part(block, k0), packed[0].Tiles, kl, acc || k0 > 0)
					continue
				}
				var some Mat
				if sums.Rows > 0 {
					some = sums.Sub(row, k0/simd.TileDepth, rows, kl/simd.TileDepth)
				}
				for j := lo; j < hi; j++ {
					c := dst.Sub(row, j*simd.Width, rows, min(simd.Width, m.out-j*simd.Width))
					packed[j-lo].mulScaled(c, a.part(block, k0), kl, some, acc || k0 > 0, results)
				}
			}
		}
	})
}

// wideTiles packs inputs [k0, k0+kl) of a panel from their float32 values.
func wideTiles(p panels, dst []uint16, panel, k0, kl int, s *Scratch) tilePanel {
	simd.PackTilePanel(dst, p.wide(s.widened(kl*simd.Width), panel, k0, kl), kl)
	return packedTiles(dst, simd.ExactTerms, kl)
}

// packedTiles returns the operand of kl inputs that was packed to dst, where the next panel
// follows.
func packedTiles(dst []uint16, terms, kl int) tilePanel {
	return tilePanel{Tiles: simd.Tiles{Data: dst, Terms: terms, Stride: simd.TileSize(kl, terms)}}
}

// minTileQueries is the smallest number of queries whose attention is computed by tiles.
const minTileQueries = 16

// tileKeys is the number of weights of a row that are packed at a time: they, and the
// values of as many keys, stay in the first-level cache.
var tileKeys = mostInputs(simd.ExactTerms, simd.ExactTerms)

// splitStore holds the keys and values of one store, packed for products by tiles, from
// slot from on. It is made for one layer and one pass and is shared by all queries.
type splitStore struct {
	from    int
	keySize int      // values per panel of 32 slots
	steps   int      // panels of slots
	keys    []uint16 // [steps][keySize]
	values  []uint16 // [value panels][steps][3][32 x 32]
}

// split packs the keys and values that the queries see.
func (a *Attention) split(p *Pool, kv *KV, q Queries) []splitStore {
	const perTask = 16 // panels of slots
	valueStep := simd.TileSize(simd.Width, simd.ExactTerms)
	stores := make([]splitStore, len(kv.heads))
	total := 0
	most := 0
	for h := range stores {
		s := &kv.heads[h]
		t := &stores[h]
		t.keySize = simd.TileSize(a.KeyDim, simd.ExactTerms)
		t.from = s.slotFrom(a.first(q.Pos0)) / simd.Width * simd.Width
		t.steps = simd.Panels(s.n - t.from)
		total += t.steps * (t.keySize + kv.valuePanels()*valueStep)
		most = max(most, t.steps)
	}
	buf := resize(&p.split, total)
	for h := range stores {
		t := &stores[h]
		t.keys = buf[:t.steps*t.keySize]
		buf = buf[len(t.keys):]
		t.values = buf[:kv.valuePanels()*t.steps*valueStep]
		buf = buf[len(t.values):]
	}
	parts := (most + perTask - 1) / perTask
	p.Run(len(stores)*parts, func(task, _ int) {
		t := &stores[task%len(stores)]
		s := &kv.heads[task%len(stores)]
		lo := task / len(stores) * perTask
		for i := lo; i < min(t.steps, lo+perTask); i++ {
			slot := t.from + i*simd.Width
			keys := s.keys[slot*a.KeyDim:][:simd.Width*a.KeyDim]
			simd.PackTilePanel(t.keys[i*t.keySize:], keys, a.KeyDim)
			for v := range kv.valuePanels() {
				values := s.values[(v*s.room+slot)*simd.Width:][:simd.Width*simd.Width]
				simd.PackTilePanel(t.values[(v*t.steps+i)*valueStep:], values, min(simd.Width, s.n-slot))
			}
		}
	})
	return stores
}

// mulKeys computes the scores w = scaled·Kᵀ over the slots from key0 on.
func (t *splitStore) mulKeys(w, scaled Mat, key0 int, scratch *Scratch) {
	queries := simd.Tiles{Data: scratch.packed(t.keySize), Terms: simd.ExactTerms}
	simd.PackTileRows(queries.Data, scaled, simd.ExactTerms)
	keys := simd.Tiles{Data: t.keys[(key0-t.from)/simd.Width*t.keySize:], Terms: simd.ExactTerms, Stride: t.keySize}
	w.Cols = simd.Panels(w.Cols) * simd.Width // rows have room for whole panels
	simd.MulTiles(w, queries, keys, scaled.Cols, false)
}

// mulValues computes o = w·V over the slots from key0 on.
func (t *splitStore) mulValues(o, w Mat, key0 int, scratch *Scratch) {
	weights := simd.Tiles{Data: scratch.packed(simd.TileSize(tileKeys, simd.ExactTerms)), Terms: simd.ExactTerms}
	valueStep := simd.TileSize(simd.Width, simd.ExactTerms)
	for k0 := 0; k0 < w.Cols; k0 += tileKeys {
		kl := min(tileKeys, w.Cols-k0)
		simd.PackTileRows(weights.Data, w.Sub(0, k0, w.Rows, kl), simd.ExactTerms)
		values := simd.Tiles{
			Data:  t.values[(key0-t.from+k0)/simd.Width*valueStep:],
			Terms: simd.ExactTerms, Stride: t.steps * valueStep,
		}
		simd.MulTiles(o, weights, values, kl, k0 > 0)
	}
}
