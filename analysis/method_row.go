package analysis

import (
	"cmp"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
)

// MethodRow is one row of [Methods]: what a method keeps under one config. Numbers are
// means over the prompts for which they are defined, or NaN if there are none.
// docs/MEASURES.md has the formulas. In Key, Top is NaN and Budget the number of
// prefix positions per head.
type MethodRow struct {
	Key
	Method        string
	Capacity      int // positions per head, the window included
	Kernel        int
	Pooling       snapkv.Pooling
	Group         snapkv.Group
	Mass          float64 // share of the reply's weight on kept positions of the prefix
	MassOfOracle  float64 // Mass over the mass of the best selection of the same size
	HitRate       float64 // share of significant positions that are kept
	Recall        float64 // share of kept positions that the best selection keeps
	Jaccard       float64 // overlap of both selections, over their union
	Coverage      float64 // Mass over the reply's weight on the whole prefix
	OutputError   float64 // relative L2 error of the head's output
	OutputErrorWO float64 // relative L2 error after the output projection
	CacheBytes    float64 // keys and values that are kept, float32
	CacheRatio    float64 // CacheBytes over FullBytes
	Prompts       int
	Low, High     float64 // 95 % bootstrap interval of Mass over prompts
	PromptTokens  float64 // of the prompts; not a column
	FullBytes     float64 // of the full cache, like CacheBytes; not a column
	Sink          float64 // share of the reply's weight that learned sinks take; NaN: there are none
	Kept          float64 // share of the prompt's positions that are kept; not a column
	DecodeEvery   int     // MethodConfig.DecodeEvery; a column unless it is 0
	CacheMass     float64 // share of the reply's weight on positions still in the cache; a column with DecodeEvery
}

// MethodColumns lists the value columns of [MethodTable].
var MethodColumns = []string{
	"method", "capacity", "kernel", "pooling", "group", "mass", "mass_of_oracle", "hit_rate", "recall",
	"jaccard", "coverage", "output_error", "output_error_wo", "cache_bytes", "prompts", "mass_low", "mass_high",
	"cache_ratio",
}

// ReplayColumns lists the further columns of [MethodTable] if methods select again while
// the reply is read.
var ReplayColumns = []string{"decode_every", "cache_mass"}

// Cells returns the cells of the row in the columns [KeyColumns] and [MethodColumns].
func (r *MethodRow) Cells() []any {
	return append(
		r.Key.Cells(),
		r.Method, r.Capacity, r.Kernel, r.Pooling.String(), r.Group.String(), r.Mass, r.MassOfOracle, r.HitRate, r.Recall,
		r.Jaccard, r.Coverage, r.OutputError, r.OutputErrorWO, r.CacheBytes, r.Prompts, r.Low, r.High,
		r.CacheRatio,
	)
}

// MethodTable makes a table of the rows, with the columns [KeyColumns] and
// [MethodColumns], [SinkColumn] if there are learned sinks, and [ReplayColumns] if methods
// select again.
func MethodTable(rows []MethodRow) *table.Table {
	t := table.New(slices.Concat(KeyColumns, MethodColumns)...)
	for i := range rows {
		t.Add(rows[i].Cells()...)
	}
	addSinks(t, rows, func(r *MethodRow) float64 { return r.Sink })
	if len(rows) > 0 && rows[0].DecodeEvery > 0 {
		t.Columns = append(t.Columns, ReplayColumns...)
		for i := range rows {
			t.Rows[i] = append(t.Rows[i], rows[i].DecodeEvery, rows[i].CacheMass)
		}
	}
	return t
}

// rows turns the groups of one combination of keys, an index of a.by, into sorted rows.
func (a *methods) rows(by int) []MethodRow {
	var keys []methodKey
	for key := range a.sums {
		if key.by == by {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y methodKey) int {
		return cmp.Or(
			cmp.Compare(x.model, y.model), cmp.Compare(x.dataset, y.dataset),
			cmp.Compare(a.order[x.prompt], a.order[y.prompt]), cmp.Compare(x.layer, y.layer), cmp.Compare(x.head, y.head),
			cmp.Compare(x.entry, y.entry), cmp.Compare(x.theta, y.theta), cmp.Compare(x.span, y.span),
		)
	})
	rows := make([]MethodRow, len(keys))
	for i, key := range keys {
		rows[i] = a.row(key)
	}
	return rows
}

// row averages a group over its prompts.
func (a *methods) row(key methodKey) MethodRow {
	e := a.entries[key.entry]
	sums := a.sums[key]
	values := make([]measures, len(sums))
	for i := range sums {
		values[i] = sums[i].measures()
	}
	column := func(of func(m *measures) float64) []float64 {
		x := make([]float64, len(values))
		for i := range values {
			x[i] = of(&values[i])
		}
		return x
	}
	mean := func(of func(m *measures) float64) float64 { return Mean(column(of)) }
	row := MethodRow{
		Key: Key{
			Model: key.model, Dataset: key.dataset, Prompt: key.prompt, Layer: key.layer, Head: key.head,
			Window: e.Config.Window, Span: key.span, Top: math.NaN(), Budget: e.Config.Budget(), Theta: a.cfg.Thetas[key.theta],
		},
		Method:        e.Method.Name,
		Capacity:      e.Config.Capacity,
		Kernel:        e.Config.Kernel,
		Pooling:       e.Config.Pooling,
		Group:         e.Config.Group,
		Mass:          mean(func(m *measures) float64 { return m.mass }),
		MassOfOracle:  mean(func(m *measures) float64 { return m.massOfOracle }),
		HitRate:       mean(func(m *measures) float64 { return m.hitRate }),
		Recall:        mean(func(m *measures) float64 { return m.recall }),
		Jaccard:       mean(func(m *measures) float64 { return m.jaccard }),
		Coverage:      mean(func(m *measures) float64 { return m.coverage }),
		OutputError:   mean(func(m *measures) float64 { return m.outputError }),
		OutputErrorWO: mean(func(m *measures) float64 { return m.outputErrorWO }),
		CacheBytes:    mean(func(m *measures) float64 { return m.cacheBytes }),
		Kept:          mean(func(m *measures) float64 { return m.kept }),
		Sink:          mean(func(m *measures) float64 { return m.sink }),
		Prompts:       len(sums),
		DecodeEvery:   a.cfg.DecodeEvery,
		CacheMass:     mean(func(m *measures) float64 { return m.cacheMass }),
	}
	for i := range sums {
		row.PromptTokens += float64(sums[i].tokens) / float64(len(sums))
		row.FullBytes += sums[i].full / float64(len(sums))
	}
	row.CacheRatio = ratio(row.CacheBytes, row.FullBytes)
	row.Low, row.High = Interval(column(func(m *measures) float64 { return m.mass }), a.cfg.Seed)
	return row
}
