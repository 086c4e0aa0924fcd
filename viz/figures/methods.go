package figures

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// methodCurve is a measure that Methods draws against the capacity.
type methodCurve struct {
	name, label string
	value       func(r *analysis.MethodRow) float64
	interval    bool // draw the bootstrap interval, which rows have for the mass
}

var methodCurves = []methodCurve{
	{"mass", "share of the reply's attention kept", func(r *analysis.MethodRow) float64 { return r.Mass }, true},
	{"hit_rate", "hit rate", func(r *analysis.MethodRow) float64 { return r.HitRate }, false},
	{
		"output_error", "relative error of the head's output",
		func(r *analysis.MethodRow) float64 { return r.OutputError }, false,
	},
}

// Methods draws, into dir, measures of selection methods against the capacity, with a
// line for each method, and for each method and capacity a map of the kept mass by
// layer and head. overall holds rows over all layers and heads, byHead rows by
// layer and head. A measure without values is not drawn. Methods returns the paths of
// the files written.
func Methods(dir string, overall, byHead []analysis.MethodRow, origin viz.Origin) ([]string, error) {
	out := &folder{dir: dir, formats: bothFormats}
	for _, curve := range methodCurves {
		series := methodSeries(overall, curve)
		if len(series) == 0 {
			continue
		}
		caption := fmt.Sprintf("%s; mean over %s, all layers and heads%s", overall[0].Model,
			words.Count(overall[0].Prompts, "prompt"), settings(overall))
		if curve.interval {
			caption += "; bands: 95 % bootstrap intervals over prompts"
		}
		f := viz.CurvesFigure(viz.Curves{
			Title:   curve.label + ", by method and capacity",
			Caption: caption,
			XLabel:  "capacity (positions per head, window included)",
			YLabel:  curve.label,
			LogX:    true,
			Series:  series,
			Meta:    origin.Meta(),
		})
		if err := out.save(f, curve.name+"-capacity"); err != nil {
			return out.written, err
		}
	}
	drawn := map[string]bool{}
	for i := range byHead {
		method := byHead[i].Method
		name := fmt.Sprintf("mass-%s-%d", SafeName(method), byHead[i].Capacity)
		if drawn[name] {
			continue
		}
		drawn[name] = true
		s := methodMap(byHead, method, byHead[i].Capacity)
		s.Meta = origin.Meta()
		if err := out.save(viz.SummaryFigure(s), name); err != nil {
			return out.written, err
		}
	}
	return out.written, nil
}

// settings names the window, the kernel and the pooling of all rows, for a caption. It is
// empty if rows differ, because their lines are then named after them.
func settings(rows []analysis.MethodRow) string {
	first := &rows[0]
	for i := range rows {
		if r := &rows[i]; r.Window != first.Window || r.Kernel != first.Kernel || r.Pooling != first.Pooling {
			return ""
		}
	}
	return fmt.Sprintf("; window %d, kernel %d, %s", first.Window, first.Kernel, first.Pooling)
}

// methodSeries makes a line for each method, or for each window, kernel, pooling and
// theta of each method if there are several.
func methodSeries(rows []analysis.MethodRow, curve methodCurve) []viz.Series {
	type variant struct {
		window, kernel int
		pooling        snapkv.Pooling
		theta          float64
	}
	variants := map[variant]bool{}
	for i := range rows {
		r := &rows[i]
		variants[variant{r.Window, r.Kernel, r.Pooling, r.Theta}] = true
	}
	lines := map[string]int{} // index in list, by name
	var list []viz.Series
	for i := range rows {
		r := &rows[i]
		y := curve.value(r)
		if math.IsNaN(y) {
			continue
		}
		name := r.Method
		if len(variants) > 1 {
			name += fmt.Sprintf(" w%d k%d %s", r.Window, r.Kernel, r.Pooling)
		}
		at, ok := lines[name]
		if !ok {
			at = len(list)
			lines[name] = at
			list = append(list, viz.Series{Name: name, Baseline: isBaseline(r.Method)})
		}
		s := &list[at]
		s.X = append(s.X, float64(r.Capacity))
		s.Y = append(s.Y, y)
		if curve.interval {
			s.Low = append(s.Low, r.Low)
			s.High = append(s.High, r.High)
		}
	}
	return list
}

// isBaseline says whether a method is drawn as a baseline: it does not select by what
// it reads of the prompt, or it knows the reply.
func isBaseline(method string) bool { return snapkv.RoleOf(method) != snapkv.Selector }

// methodMap returns the kept mass of a method at a capacity, by layer and head. If there
// are several windows or kernels, it shows the first.
func methodMap(rows []analysis.MethodRow, method string, capacity int) viz.Summary {
	var layers, heads []int
	for i := range rows {
		layers = append(layers, rows[i].Layer)
		heads = append(heads, rows[i].Head)
	}
	layers = distinct(layers)
	heads = distinct(heads)
	s := viz.Summary{
		XLabel:   "query head",
		BarTitle: "share of attention kept",
		Layers:   layers,
		Columns:  labels(heads),
		Rates:    viz.NewGrid(len(layers), len(heads)),
	}
	for i := range rows {
		r := &rows[i]
		title := fmt.Sprintf("%s, capacity %d, window %d, kernel %d, %s", method, r.Capacity, r.Window, r.Kernel, r.Pooling)
		if r.Method != method || r.Capacity != capacity || s.Title != "" && s.Title != title {
			continue
		}
		s.Rates.Set(slices.Index(layers, r.Layer), slices.Index(heads, r.Head), r.Mass)
		s.Title = title
		s.Caption = fmt.Sprintf("%s; share of the reply's attention on kept positions of the prefix, "+
			"mean over %s. The window is not counted.", r.Model, words.Count(r.Prompts, "prompt"))
	}
	return s
}
