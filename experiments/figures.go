package experiments

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// This file draws rows. It computes nothing, and each function returns the data
// of one figure; recipes add captions.

// lines collects the points of several series.
type lines struct {
	series []viz.Series
	index  map[string]int
}

// named returns the series with that name, or appends a new one if there is none. The
// result is valid until the next call.
func (l *lines) named(name string) *viz.Series {
	if l.index == nil {
		l.index = map[string]int{}
	}
	i, ok := l.index[name]
	if !ok {
		i = len(l.series)
		l.index[name] = i
		l.series = append(l.series, viz.Series{Name: name})
	}
	return &l.series[i]
}

// point adds a point to a series.
func point(s *viz.Series, x, y float64) {
	s.X = append(s.X, x)
	s.Y = append(s.Y, y)
}

// bandPoint adds a point and its interval to a series.
func bandPoint(s *viz.Series, x float64, y estimate) {
	point(s, x, y.mean)
	s.Low = append(s.Low, y.low)
	s.High = append(s.High, y.high)
}

// rateOf returns the hit rate of a row with its interval.
func rateOf(r *analysis.HitRateRow) estimate { return estimate{r.HitRate, r.Low, r.High} }

// baselines are the selections of equal size that figures of hit rates show for
// comparison. The first three need no attention.
var baselines = []struct {
	name string
	rate func(*analysis.HitRateRow) float64
}{
	{"chance", func(r *analysis.HitRateRow) float64 { return r.Chance }},
	{"recent", func(r *analysis.HitRateRow) float64 { return r.Recent }},
	{"sinks + recent", func(r *analysis.HitRateRow) float64 { return r.SinksRecent }},
	{"oracle", func(r *analysis.HitRateRow) float64 { return r.Oracle }},
}

// layerCurves makes a line over layers for each name that rows have; rows named
// "" are left out. Baselines are drawn from the rows of the first name.
func layerCurves(rows []analysis.HitRateRow, name func(*analysis.HitRateRow) string) viz.Curves {
	k := viz.Curves{XLabel: "layer", YLabel: "hit rate", Lo: 0, Hi: 1}
	var rates lines
	for i := range rows {
		row := &rows[i]
		if n := name(row); n != "" {
			bandPoint(rates.named(n), float64(row.Layer), rateOf(row))
		}
	}
	k.Series = rates.series
	if len(k.Series) == 0 {
		return k
	}
	first := k.Series[0].Name
	for _, b := range baselines {
		s := viz.Series{Name: b.name, Baseline: true}
		for i := range rows {
			row := &rows[i]
			if name(row) == first {
				point(&s, float64(row.Layer), b.rate(row))
			}
		}
		k.Series = append(k.Series, s)
	}
	return k
}

// sweepCurves draws the hit rate against the size of the window, with and without
// the first four positions.
func sweepCurves(rows []skipRow) viz.Curves {
	k := viz.Curves{
		Title:  "hit rate by size of the observation window",
		XLabel: "observation window (last prompt tokens)",
		YLabel: "hit rate",
		LogX:   true,
		Lo:     0,
		Hi:     1,
	}
	for _, skip := range sinkSkips {
		rate := viz.Series{Name: "all positions"}
		sinks := viz.Series{Name: "sinks + recent", Baseline: true}
		oracle := viz.Series{Name: "oracle", Baseline: true}
		if skip > 0 {
			rate.Name = "without first four"
			sinks.Name = "recent, without first four"
			oracle.Name = "oracle, without first four"
		}
		for i := range rows {
			row := &rows[i]
			if row.skip == skip {
				x := float64(row.Window)
				bandPoint(&rate, x, rateOf(&row.HitRateRow))
				point(&oracle, x, row.Oracle)
				point(&sinks, x, row.SinksRecent)
			}
		}
		k.Series = append(k.Series, rate, oracle, sinks)
	}
	return k
}

// windowCurves draws the hit rate of each prompt window for one set of keys: a
// line for all layers, one for every fifth layer, and the baselines.
func windowCurves(rows []windowRow, keys string, skip int) viz.Curves {
	k := viz.Curves{
		Title:  "hit rate of each prompt window's vote (" + keys + " keys)",
		XLabel: "window of 128 prompt tokens, the last is the prompt's end",
		YLabel: "hit rate",
		Hi:     1,
	}
	if skip > 0 {
		k.Title += ", first four positions left out"
	}
	all := viz.Series{Name: "all layers"}
	oracle := viz.Series{Name: "oracle", Baseline: true}
	sinks := viz.Series{Name: "sinks + recent", Baseline: true}
	recent := viz.Series{Name: "recent", Baseline: true}
	var layers lines
	for _, row := range rows {
		if row.keys != keys || row.skip != skip {
			continue
		}
		x := float64(row.index)
		switch {
		case row.layer == allLayers:
			bandPoint(&all, x, row.rate)
			point(&oracle, x, row.oracle)
			point(&sinks, x, row.sinks)
			point(&recent, x, row.recent)
		case row.layer%5 == 0:
			point(layers.named(fmt.Sprintf("layer %d", row.layer)), x, row.rate.mean)
		}
	}
	k.Series = slices.Concat([]viz.Series{all}, layers.series, []viz.Series{oracle, sinks, recent})
	return k
}

// overlapCurves draws the overlap of pairs of instructions by layer, a line for
// each set.
func overlapCurves(rows []overlapRow) viz.Curves {
	var sets lines
	for _, row := range rows {
		if row.layer != allLayers && !row.pooled() {
			name := fmt.Sprintf("%s, n=%d", row.set, row.documents)
			bandPoint(sets.named(name), float64(row.layer), row.overlap)
		}
	}
	return viz.Curves{
		Title:  "overlap of important positions for pairs of instructions on one document",
		XLabel: "layer",
		YLabel: "overlap",
		Hi:     1,
		Series: sets.series,
	}
}

// speedCurves draws the time per decoded token against the prompt's length.
func speedCurves(rows []speedRow) viz.Curves {
	var caches lines
	for _, row := range rows {
		point(caches.named(row.cache), float64(row.promptTokens), row.milliseconds())
	}
	return viz.Curves{
		Title:  "decode time by prompt length",
		XLabel: "prompt tokens",
		YLabel: "milliseconds per token",
		LogX:   true,
		Hi:     top(caches.series),
		Series: caches.series,
	}
}

// batchCurves draws tokens per second against the number of sequences.
func batchCurves(rows []batchRow) viz.Curves {
	var caches lines
	for _, row := range rows {
		point(caches.named(row.cache), float64(row.batch), row.tokensPerSecond)
	}
	return viz.Curves{
		Title:  "decode speed by number of sequences at once",
		XLabel: "sequences at once",
		YLabel: "tokens per second, all together",
		LogX:   true,
		Hi:     top(caches.series),
		Series: caches.series,
	}
}

// top returns the upper end of an axis from zero for series, so that heights show ratios.
func top(list []viz.Series) float64 {
	most := 0.0
	for _, s := range list {
		most = max(most, slices.Max(s.Y))
	}
	return 1.05 * most
}

// headValue is the value of one cell in a map of heads.
type headValue struct {
	layer, head int
	value       float64
}

// headMap draws values by layer and head.
func headMap(values []headValue) viz.Summary {
	var layers []int
	heads := 0
	for _, v := range values {
		if !slices.Contains(layers, v.layer) {
			layers = append(layers, v.layer)
		}
		heads = max(heads, v.head+1)
	}
	s := viz.Summary{XLabel: "head", Layers: layers, Rates: viz.NewGrid(len(layers), heads)}
	for h := range heads {
		s.Columns = append(s.Columns, strconv.Itoa(h))
	}
	for _, v := range values {
		s.Rates.Set(slices.Index(layers, v.layer), v.head, v.value)
	}
	return s
}

// accuracyMap draws the share of correct answers of one cache by depth and
// length.
func accuracyMap(answers []answerRow, cache string, lengths []int, depths []float64) viz.Summary {
	rates := viz.NewGrid(len(depths), len(lengths))
	correct := make([]float64, len(rates.Values))
	count := make([]int, len(rates.Values))
	for _, a := range answers {
		if a.cache == cache {
			at := slices.Index(depths, a.depth)*len(lengths) + slices.Index(lengths, a.length)
			correct[at] += a.correct
			count[at]++
		}
	}
	for i, n := range count {
		rates.Values[i] = correct[i]
		if n > 0 {
			rates.Values[i] /= float64(n)
		}
	}
	s := viz.Summary{
		Title:    "correct answers: " + cache,
		YLabel:   "depth of the answer, %",
		BarTitle: "share correct",
		Rates:    rates,
	}
	for _, n := range lengths {
		s.Columns = append(s.Columns, strconv.Itoa(n))
	}
	for _, d := range depths {
		s.Layers = append(s.Layers, int(100*d+0.5))
	}
	return s
}

// lossCurves draws the KL from the full cache against the capacity. Only snapkv
// has a band, since the bands of all methods would hide each other.
func lossCurves(rows []lossRow) viz.Curves {
	var caches lines
	for _, row := range rows {
		s := caches.named(row.method)
		s.Baseline = snapkv.RoleOf(row.method) != snapkv.Selector
		if row.method == snapkv.SnapKV {
			bandPoint(s, float64(row.capacity), row.kl)
		} else {
			point(s, float64(row.capacity), row.kl.mean)
		}
	}
	return viz.Curves{
		Title:  "real loss of compressed decoding: mean KL from the full cache",
		XLabel: "capacity (positions per head, window included)",
		YLabel: "KL, nats per token",
		LogX:   true,
		LogY:   true,
		Series: caches.series,
	}
}
