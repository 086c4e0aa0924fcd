package figures

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// Methods draws, into dir, measures against the capacity with a line for
// each method, from a table aggregated over layers and heads; and for each
// method a map of its kept mass, from a table by layer and head, at its first
// setting.
func Methods(dir string, overall, byHead *table.Table, origin viz.Origin) ([]string, error) {
	d := &folder{dir: dir, formats: bothFormats}
	for _, part := range []struct{ column, label, low, high string }{
		{"mass", "share of the reply's attention kept", "mass_low", "mass_high"},
		{"hit_rate", "hit rate", "", ""},
		{"output_error", "relative error of the head's output", "", ""},
	} {
		k := viz.Curves{Title: part.label + ", by method and capacity", XLabel: "capacity (positions a head, window included)", YLabel: part.label, LogX: true, Meta: origin.Meta()}
		if k.Series = methodSeries(overall, part.column, part.low, part.high); len(k.Series) == 0 {
			continue
		}
		k.Caption = fmt.Sprintf("%s; mean over %d prompts, all layers and heads", overall.Rows[0][overall.Column("model")], overall.Rows[0][overall.Column("prompts")])
		if part.low != "" {
			k.Caption += "; bands: 95 % bootstrap intervals over prompts"
		}
		if err := d.save(viz.CurvesFigure(k), part.column+"-capacity"); err != nil {
			return d.written, err
		}
	}
	return d.written, d.methodMaps(byHead, origin)
}

// methodSeries makes a line for each method out of a table aggregated over
// layers and heads; where there are several windows, kernels or poolings, for
// each of them.
func methodSeries(t *table.Table, column, low, high string) []viz.Series {
	at := func(row []any, name string) any { return row[t.Column(name)] }
	names := map[string]int{}
	var list []viz.Series
	variants := map[string]bool{}
	for _, row := range t.Rows {
		variants[fmt.Sprint(at(row, "window"), at(row, "kernel"), at(row, "pooling"), at(row, "theta"))] = true
	}
	for _, row := range t.Rows {
		y := at(row, column).(float64)
		if math.IsNaN(y) {
			continue
		}
		name := at(row, "method").(string)
		if len(variants) > 1 {
			name += fmt.Sprintf(" w%d k%d %s", at(row, "window"), at(row, "kernel"), at(row, "pooling"))
		}
		i, ok := names[name]
		if !ok {
			i = len(list)
			names[name] = i
			method := at(row, "method").(string)
			list = append(list, viz.Series{Name: name, Baseline: snapkv.RoleOf(method) != snapkv.Selector})
		}
		s := &list[i]
		s.X, s.Y = append(s.X, float64(at(row, "capacity").(int))), append(s.Y, y)
		if low != "" {
			s.Low, s.High = append(s.Low, at(row, low).(float64)), append(s.High, at(row, high).(float64))
		}
	}
	return list
}

// methodMaps draws a method's kept mass by layer and head.
func (d *folder) methodMaps(t *table.Table, origin viz.Origin) error {
	at := func(row []any, name string) any { return row[t.Column(name)] }
	var names []string
	for _, row := range t.Rows {
		if name := at(row, "method").(string); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		var layers, heads []int
		for _, row := range t.Rows {
			if l := at(row, "layer").(int); !slices.Contains(layers, l) {
				layers = append(layers, l)
			}
			if h := at(row, "head").(int); !slices.Contains(heads, h) {
				heads = append(heads, h)
			}
		}
		slices.Sort(layers)
		slices.Sort(heads)
		s := viz.Summary{XLabel: "query head", BarTitle: "share of attention kept", Layers: layers, Rates: viz.NewGrid(len(layers), len(heads)), Meta: origin.Meta()}
		for _, h := range heads {
			s.Columns = append(s.Columns, strconv.Itoa(h))
		}
		for _, row := range t.Rows {
			if at(row, "method") != name || s.Title != "" && s.Title != fmt.Sprintf("%s, capacity %d", name, at(row, "capacity")) {
				continue
			}
			s.Rates.Set(slices.Index(layers, at(row, "layer").(int)), slices.Index(heads, at(row, "head").(int)), at(row, "mass").(float64))
			s.Title = fmt.Sprintf("%s, capacity %d", name, at(row, "capacity"))
			s.Caption = fmt.Sprintf("%s; mean over %d prompts of the reply's attention on the kept prefix; window %d.", at(row, "model"), at(row, "prompts"), at(row, "window"))
		}
		if err := d.save(viz.SummaryFigure(s), "mass-"+SafeName(name)); err != nil {
			return err
		}
	}
	return nil
}

// Calibrations draws, for each measure, the real KL against it.
func Calibrations(dir string, cals []analysis.Calibration, points [][]analysis.Point, origin viz.Origin) error {
	d := &folder{dir: dir, formats: bothFormats}
	for i := range cals {
		c := &cals[i]
		k := viz.Scatter{
			Title:   fmt.Sprintf("real loss against %s: Spearman %.2f [%.2f, %.2f]", c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh),
			Caption: fmt.Sprintf("%s; %d points: %d prompts x methods x capacities; interval bootstrapped over prompts; dashed: least squares of the logarithms.", c.Model, c.Points, c.Prompts),
			XLabel:  c.Measure, YLabel: "mean KL from the full cache (nats a token)", Intercept: c.Intercept, Slope: c.Slope, Meta: origin.Meta(),
		}
		at := map[string]int{}
		for _, p := range points[i] {
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
