package view

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/internal/parallel"
)

const (
	// factor is the ratio of levels: at level l a cell covers factor^l keys of a row.
	factor = 4
	// tileKeys and tileRows are the cells of a tile.
	tileKeys = 512
	tileRows = 128
)

// level holds the maximum and the mean weight of each cell, [rows, cells]. At level 0
// both are the weight, in one slice. A level that takes too much memory has neither.
type level struct {
	cells     int
	max, mean []float32
}

// pyramid is the map of one head at several resolutions. Rows are not pooled in it.
type pyramid struct {
	layer  *digest.LayerRows
	head   int // index, or digest.AllHeads
	levels []level
	top    float32   // the largest weight behind the first positions
	keyTop []float32 // the largest weight on each key
}

// pyramid builds the pyramid of a head, or takes it from the cache.
func (s *Server) pyramid(ctx context.Context, q headQuery) (*pyramid, error) {
	layer, err := s.layer(q.at)
	if err != nil {
		return nil, err
	}
	need := 2 * min(4*layer.Rows*layer.Keys, s.levelBytes) // the levels, and the rows that are read
	return lookup(s.cache, q, need, func() (*pyramid, int, error) {
		defer s.reserve(workBytes)()
		return buildPyramid(context.WithoutCancel(ctx), layer, q.head, s.levelBytes)
	})
}

// buildPyramid reads a head and pools its rows. It returns the bytes that the pyramid
// holds; a level that takes more than limit is not kept.
func buildPyramid(ctx context.Context, layer *digest.LayerRows, head, limit int) (*pyramid, int, error) {
	p := &pyramid{layer: layer, head: head, keyTop: make([]float32, layer.Keys)}
	bytes := 4 * layer.Keys
	for cells := layer.Keys; ; cells = (cells + factor - 1) / factor {
		l := level{cells: cells}
		size := layer.Rows * cells
		switch {
		case len(p.levels) == 0 && 4*size <= limit:
			l.max = make([]float32, size)
			l.mean = l.max
			bytes += 4 * size
		case len(p.levels) > 0 && 8*size <= limit:
			l.max = make([]float32, size)
			l.mean = make([]float32, size)
			bytes += 8 * size
		}
		p.levels = append(p.levels, l)
		if cells <= tileKeys {
			break
		}
	}
	if err := p.fill(ctx); err != nil {
		return nil, 0, err
	}
	for j := min(digest.SinkKeys, layer.Keys-1); j < layer.Keys; j++ {
		p.top = max(p.top, p.keyTop[j])
	}
	return p, bytes, nil
}

// fill reads strips of rows on all cores and pools each.
func (p *pyramid) fill(ctx context.Context) error {
	strip := tileRows
	if p.head != digest.AllHeads {
		strip = 64
	}
	workers := min(runtime.GOMAXPROCS(0), (p.layer.Rows+strip-1)/strip)
	tops := make([][]float32, workers) // keyTop of the rows that each worker reads
	var next atomic.Int64
	err := parallel.Try(ctx, workers, func(w int) error {
		tops[w] = make([]float32, p.layer.Keys)
		var buf []float32
		if p.levels[0].max == nil {
			buf = make([]float32, strip*p.layer.Keys)
		}
		for {
			row := int(next.Add(1)-1) * strip
			if row >= p.layer.Rows {
				return nil
			}
			n := min(strip, p.layer.Rows-row)
			weights := buf
			if p.levels[0].max != nil {
				weights = p.levels[0].max[row*p.layer.Keys:]
			}
			if err := p.layer.Read(ctx, weights, p.head, row, n); err != nil {
				return err
			}
			for i := range n {
				p.add(row+i, weights[i*p.layer.Keys:(i+1)*p.layer.Keys], tops[w])
			}
		}
	})
	if err != nil {
		return err
	}
	for _, top := range tops {
		for j, v := range top {
			p.keyTop[j] = max(p.keyTop[j], v)
		}
	}
	return nil
}

// add pools the weights of row r into the levels above the finest, and into keyTop.
func (p *pyramid) add(r int, row, keyTop []float32) {
	for j, v := range row {
		keyTop[j] = max(keyTop[j], v)
	}
	tops, sums := row, row
	for l := 1; l < len(p.levels); l++ {
		tops, sums = poolKeys(tops, sums)
		if to := p.levels[l]; to.max != nil {
			copy(to.max[r*to.cells:], tops)
			p.means(to.mean[r*to.cells:][:to.cells], sums, l, r)
		}
	}
}

// poolKeys makes the next level of a row: the maximum and the sum of factor cells
// each.
func poolKeys(tops, sums []float32) (nextTops, nextSums []float32) {
	n := (len(tops) + factor - 1) / factor
	nextTops = make([]float32, n)
	nextSums = make([]float32, n)
	for i := range n {
		top := float32(0)
		sum := float32(0)
		for j := i * factor; j < min(len(tops), (i+1)*factor); j++ {
			top = max(top, tops[j])
			sum += sums[j]
		}
		nextTops[i] = top
		nextSums[i] = sum
	}
	return nextTops, nextSums
}

// means divides the sum of each cell of a level by the number of keys in it that row
// r sees.
func (p *pyramid) means(dst, sums []float32, level, r int) {
	width := 1
	for range level {
		width *= factor
	}
	visible := min(p.layer.First+r+1, p.layer.Keys)
	for i, v := range sums {
		dst[i] = 0
		if n := min(width, visible-i*width); n > 0 {
			dst[i] = v / float32(n)
		}
	}
}

// tileID names a tile of a pyramid.
type tileID struct {
	level int
	down  int // 1<<down rows are pooled into one
	x, y  int
	mean  bool // of the cells; otherwise the largest
}

// tile is a part of a level, [rows, keys].
type tile struct {
	rows, keys int
	cells      []float32
}

// tile returns a tile of at most tileRows by tileKeys cells. Rows are pooled to the
// largest of the maxima, or to the mean of the means.
func (p *pyramid) tile(ctx context.Context, id tileID) (tile, error) {
	rows, keys, err := p.tileSize(id)
	if err != nil {
		return tile{}, err
	}
	t := tile{rows, keys, make([]float32, rows*keys)}
	key0 := id.x * tileKeys
	row0 := id.y * tileRows
	end := min((row0+rows)<<id.down, p.layer.Rows)
	for from := row0 << id.down; from < end; from += tileRows {
		n := min(tileRows, end-from)
		band, err := p.band(ctx, id, from, n)
		if err != nil {
			return tile{}, err
		}
		for i := range n {
			pooled := (from + i) >> id.down
			out := t.cells[(pooled-row0)*keys:][:keys]
			in := band[i*p.levels[id.level].cells+key0:][:keys]
			share := 1 / float32(min(1<<id.down, p.layer.Rows-pooled<<id.down))
			for j, v := range in {
				if id.mean {
					out[j] += v * share
				} else {
					out[j] = max(out[j], v)
				}
			}
		}
	}
	return t, nil
}

// tileSize returns the size of a tile, or an error if there is no such tile.
func (p *pyramid) tileSize(id tileID) (rows, keys int, err error) {
	if id.level >= len(p.levels) {
		return 0, 0, fmt.Errorf("level %d: want a level below %d", id.level, len(p.levels))
	}
	cells := p.levels[id.level].cells
	pooled := (p.layer.Rows + 1<<id.down - 1) >> id.down
	if id.x >= (cells+tileKeys-1)/tileKeys || id.y >= (pooled+tileRows-1)/tileRows {
		return 0, 0, fmt.Errorf(
			"tile %d,%d of level %d is outside the map of %d x %d cells", id.x, id.y, id.level, pooled, cells)
	}
	return min(tileRows, pooled-id.y*tileRows), min(tileKeys, cells-id.x*tileKeys), nil
}

// band returns rows [row0, row0+n) of a tile's level. If the level is not kept, it is
// computed from the weights.
func (p *pyramid) band(ctx context.Context, id tileID, row0, n int) ([]float32, error) {
	l := p.levels[id.level]
	if l.max != nil {
		from := l.max
		if id.mean {
			from = l.mean
		}
		return from[row0*l.cells : (row0+n)*l.cells], nil
	}
	weights, err := p.weights(ctx, row0, n)
	if err != nil || id.level == 0 {
		return weights, err
	}
	out := make([]float32, n*l.cells)
	for i := range n {
		tops := weights[i*p.layer.Keys : (i+1)*p.layer.Keys]
		sums := tops
		for range id.level {
			tops, sums = poolKeys(tops, sums)
		}
		if id.mean {
			p.means(out[i*l.cells:(i+1)*l.cells], sums, id.level, row0+i)
		} else {
			copy(out[i*l.cells:], tops)
		}
	}
	return out, nil
}

// weights returns rows [row0, row0+n) at full resolution, [n, keys].
func (p *pyramid) weights(ctx context.Context, row0, n int) ([]float32, error) {
	if l := p.levels[0]; l.max != nil {
		return l.max[row0*l.cells : (row0+n)*l.cells], nil
	}
	out := make([]float32, n*p.layer.Keys)
	return out, p.layer.Read(ctx, out, p.head, row0, n)
}
