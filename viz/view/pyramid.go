package view

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/attnscope/attnscope/analysis/digest"
)

// Levels of a pyramid: at level l a cell covers factor^l keys of one row.
const (
	factor = 4
	// tileKeys and tileRows are the cells of a tile.
	tileKeys = 512
	tileRows = 128
)

// baseBytes bounds each level that is kept; longer captures keep coarser ones
// and read a few rows again for a close look.
var baseBytes = 48 << 20

// level holds the largest and the mean weight of each cell, [rows, cells].
// Level 0 has one plane: a weight is its own maximum and mean.
type level struct {
	cells     int
	max, mean []float32
}

// pyramid is the map of one head: rows are never pooled in it.
type pyramid struct {
	src    *digest.LayerRows
	head   int // index, or digest.AllHeads
	levels []level
	top    float32   // the largest weight behind the first positions
	keyTop []float32 // the largest weight at each key
}

// headKey names the pyramid of a head.
type headKey struct {
	at   place
	head int
}

func (s *Server) pyramid(ctx context.Context, at place, head int) (*pyramid, error) {
	src, err := s.layer(at)
	if err != nil {
		return nil, err
	}
	need := 2 * min(4*src.Rows*src.Keys, baseBytes) // the levels, and strips
	return lookup(s.cache, headKey{at, head}, need, func() (*pyramid, int, error) {
		defer s.reserve(workBytes)()
		return buildPyramid(context.WithoutCancel(ctx), src, head)
	})
}

// buildPyramid reads a head in strips of rows and pools each.
func buildPyramid(ctx context.Context, src *digest.LayerRows, head int) (*pyramid, int, error) {
	p := &pyramid{src: src, head: head, keyTop: make([]float32, src.Keys)}
	keep, bytes := 4*src.Rows*src.Keys <= baseBytes, 4*src.Keys
	for cells := src.Keys; ; cells = (cells + factor - 1) / factor {
		l := level{cells: cells}
		switch n := src.Rows * cells; {
		case len(p.levels) > 0 && 8*n <= baseBytes:
			l.max, l.mean = make([]float32, n), make([]float32, n)
			bytes += 8 * n
		case len(p.levels) == 0 && keep:
			l.max = make([]float32, n)
			l.mean = l.max
			bytes += 4 * n
		}
		p.levels = append(p.levels, l)
		if cells <= tileKeys {
			break
		}
	}
	if err := p.fill(ctx, keep); err != nil {
		return nil, 0, err
	}
	for j := min(digest.SinkKeys, src.Keys-1); j < src.Keys; j++ {
		p.top = max(p.top, p.keyTop[j])
	}
	return p, bytes, nil
}

// fill reads strips of rows on all cores and pools each.
func (p *pyramid) fill(ctx context.Context, keep bool) error {
	strip := tileRows
	if p.head != digest.AllHeads {
		strip = 64
	}
	workers := min(runtime.GOMAXPROCS(0), (p.src.Rows+strip-1)/strip)
	errs, tops := make([]error, workers), make([][]float32, workers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			tops[w] = make([]float32, p.src.Keys)
			var buf []float32
			if !keep {
				buf = make([]float32, strip*p.src.Keys)
			}
			for errs[w] == nil {
				row := int(next.Add(1)-1) * strip
				if row >= p.src.Rows {
					return
				}
				n, to := min(strip, p.src.Rows-row), buf
				if keep {
					to = p.levels[0].max[row*p.src.Keys:]
				}
				if errs[w] = p.src.Read(ctx, to, p.head, row, n); errs[w] == nil {
					for i := range n {
						p.add(row+i, to[i*p.src.Keys:(i+1)*p.src.Keys], tops[w])
					}
				}
			}
		})
	}
	wg.Wait()
	for w := range workers {
		if errs[w] != nil {
			return errs[w]
		}
		for j, v := range tops[w] {
			p.keyTop[j] = max(p.keyTop[j], v)
		}
	}
	return nil
}

// add pools one row into the levels above the finest, and its weights into
// keyTop.
func (p *pyramid) add(r int, row, keyTop []float32) {
	for j, v := range row {
		keyTop[j] = max(keyTop[j], v)
	}
	tops, sums := row, row
	for l := 1; l < len(p.levels); l++ {
		tops, sums = poolKeys(tops, sums)
		if to := p.levels[l]; to.max != nil {
			copy(to.max[r*to.cells:], tops)
			means(p.src, to.mean[r*to.cells:][:to.cells], sums, l, r)
		}
	}
}

// poolKeys makes the next level of a row: maxima and sums of factor cells each.
func poolKeys(tops, sums []float32) (t, s []float32) {
	n := (len(tops) + factor - 1) / factor
	t, s = make([]float32, n), make([]float32, n)
	for i := range n {
		top, sum := float32(0), float32(0)
		for j := i * factor; j < min(len(tops), (i+1)*factor); j++ {
			top = max(top, tops[j])
			sum += sums[j]
		}
		t[i], s[i] = top, sum
	}
	return t, s
}

// means divides the sums of a level's cells by the keys in each that row r sees.
func means(src *digest.LayerRows, dst, sums []float32, l, r int) {
	width := 1
	for range l {
		width *= factor
	}
	limit := min(src.First+r+1, src.Keys)
	for i, v := range sums {
		dst[i] = 0
		if n := min(width, limit-i*width); n > 0 {
			dst[i] = v / float32(n)
		}
	}
}

// tile returns cells [tileRows or fewer, tileKeys or fewer] of a level: 1<<down
// rows are pooled into one, the largest of maxima or the mean of means.
func (p *pyramid) tile(ctx context.Context, l, down, x, y int, mean bool) (cells []float32, rows, keys int, err error) {
	if l < 0 || l >= len(p.levels) || down < 0 || down > 20 || x < 0 || y < 0 {
		return nil, 0, 0, fmt.Errorf("tile %d,%d of level %d, rows by %d: want a level below %d", x, y, l, down, len(p.levels))
	}
	all := (p.src.Rows + 1<<down - 1) >> down
	if x >= (p.levels[l].cells+tileKeys-1)/tileKeys || y >= (all+tileRows-1)/tileRows {
		return nil, 0, 0, fmt.Errorf("tile %d,%d of level %d is outside the map of %d x %d cells", x, y, l, all, p.levels[l].cells)
	}
	k0, r0 := x*tileKeys, y*tileRows
	keys, rows = min(tileKeys, p.levels[l].cells-k0), min(tileRows, all-r0)
	cells = make([]float32, rows*keys)
	end := min((r0+rows)<<down, p.src.Rows)
	for from := r0 << down; from < end; from += tileRows {
		n := min(tileRows, end-from)
		band, err := p.band(ctx, l, from, n, mean)
		if err != nil {
			return nil, 0, 0, err
		}
		for i := range n {
			out := cells[((from+i)>>down-r0)*keys:][:keys]
			in := band[i*p.levels[l].cells+k0:][:keys]
			share := 1 / float32(min(1<<down, p.src.Rows-(from+i)>>down<<down))
			for j, v := range in {
				if mean {
					out[j] += v * share
				} else {
					out[j] = max(out[j], v)
				}
			}
		}
	}
	return cells, rows, keys, nil
}

// band is rows [row0, row0+n) of a level; where the level is not kept they are
// made again.
func (p *pyramid) band(ctx context.Context, l, row0, n int, mean bool) ([]float32, error) {
	lv := p.levels[l]
	if lv.max != nil {
		from := lv.max
		if mean {
			from = lv.mean
		}
		return from[row0*lv.cells : (row0+n)*lv.cells], nil
	}
	full, err := p.weights(ctx, row0, n)
	if err != nil || l == 0 {
		return full, err
	}
	out := make([]float32, n*lv.cells)
	for i := range n {
		tops := full[i*p.src.Keys : (i+1)*p.src.Keys]
		sums := tops
		for range l {
			tops, sums = poolKeys(tops, sums)
		}
		if mean {
			means(p.src, out[i*lv.cells:(i+1)*lv.cells], sums, l, row0+i)
		} else {
			copy(out[i*lv.cells:], tops)
		}
	}
	return out, nil
}

// weights are rows [row0, row0+n) at full resolution, [n, keys].
func (p *pyramid) weights(ctx context.Context, row0, n int) ([]float32, error) {
	if lv := p.levels[0]; lv.max != nil {
		return lv.max[row0*lv.cells : (row0+n)*lv.cells], nil
	}
	out := make([]float32, n*p.src.Keys)
	return out, p.src.Read(ctx, out, p.head, row0, n)
}
