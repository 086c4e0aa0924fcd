package figures

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/attnscope/attnscope/analysis"
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
	{"output_error", "relative error of the head's output", func(r *analysis.MethodRow) float64 { return r.OutputError }, false},
}

// Methods draws into dir: measures against the capacity with a line for each method,
// from overall, rows over all layers and heads; and a map of the kept mass of each
// method at its first capacity, from byHead, rows by layer and head. It returns the
// names of the files.
func Methods(dir string, overall, byHead []analysis.MethodRow, origin viz.Origin) ([]string, error) {
	d := &folder{dir: dir, formats: bothFormats}
	for _, curve := range methodCurves {
		k := viz.Curves{
			Title:  curve.label + ", by method and capacity",
			XLabel: "capacity (positions a head, window included)", YLabel: curve.label, LogX: true,
			Series: methodSeries(overall, curve),
			Meta:   origin.Meta(),
		}
		if len(k.Series) == 0 {
			continue
		}
		k.Caption = fmt.Sprintf("%s; mean over %d prompts, all layers and heads", overall[0].Model, overall[0].Prompts)
		if curve.interval {
			k.Caption += "; bands: 95 % bootstrap intervals over prompts"
		}
		if err := d.save(viz.CurvesFigure(k), curve.name+"-capacity"); err != nil {
			return d.written, err
		}
	}
	return d.written, d.methodMaps(byHead, origin)
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
	lines := map[string]int{}
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
			list = append(list, viz.Series{Name: name, Baseline: snapkv.RoleOf(r.Method) != snapkv.Selector})
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

// methodMaps draws a method's kept mass by layer and head.
func (d *folder) methodMaps(rows []analysis.MethodRow, origin viz.Origin) error {
	var names []string
	var layers, heads []int
	for i := range rows {
		r := &rows[i]
		if !slices.Contains(names, r.Method) {
			names = append(names, r.Method)
		}
		if !slices.Contains(layers, r.Layer) {
			layers = append(layers, r.Layer)
		}
		if !slices.Contains(heads, r.Head) {
			heads = append(heads, r.Head)
		}
	}
	slices.Sort(layers)
	slices.Sort(heads)
	for _, name := range names {
		s := viz.Summary{
			XLabel: "query head", BarTitle: "share of attention kept", Layers: layers,
			Rates: viz.NewGrid(len(layers), len(heads)), Meta: origin.Meta(),
		}
		for _, h := range heads {
			s.Columns = append(s.Columns, strconv.Itoa(h))
		}
		for i := range rows {
			r := &rows[i]
			title := fmt.Sprintf("%s, capacity %d", name, r.Capacity)
			if r.Method != name || s.Title != "" && s.Title != title {
				continue
			}
			s.Rates.Set(slices.Index(layers, r.Layer), slices.Index(heads, r.Head), r.Mass)
			s.Title = title
			s.Caption = fmt.Sprintf("%s; mean over %d prompts of the reply's attention on the kept prefix; window %d.", r.Model, r.Prompts, r.Window)
		}
		if err := d.save(viz.SummaryFigure(s), "mass-"+SafeName(name)); err != nil {
			return err
		}
	}
	return nil
}

// Calibrations draws, for each measure, the real KL against it.
func Calibrations(dir string, result *analysis.CalibrationResult, origin viz.Origin) error {
	d := &folder{dir: dir, formats: bothFormats}
	for i := range result.Calibrations {
		c := &result.Calibrations[i]
		k := viz.Scatter{
			Title:   fmt.Sprintf("real loss against %s: Spearman %.2f [%.2f, %.2f]", c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh),
			Caption: fmt.Sprintf("%s; %d points: %d prompts x methods x capacities; interval bootstrapped over prompts; dashed: least squares of the logarithms.", c.Model, c.Points, c.Prompts),
			XLabel:  c.Measure, YLabel: "mean KL from the full cache (nats a token)", Intercept: c.Intercept, Slope: c.Slope, Meta: origin.Meta(),
		}
		at := map[string]int{}
		for _, p := range result.Points[i] {
			n, ok := at[p.Method]
			if !ok {
				n = len(k.Series)
				at[p.Method] = n
				k.Series = append(k.Series, viz.Series{Name: p.Method, Baseline: snapkv.RoleOf(p.Method) != snapkv.Selector})
			}
			s := &k.Series[n]
			s.X, s.Y = append(s.X, p.X), append(s.Y, p.KL)
		}
		if err := d.save(viz.ScatterFigure(k), c.Measure); err != nil {
			return err
		}
	}
	return nil
}
