package figures

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/viz"
)

// Calibrations draws, into dir, the KL of compressed decoding against each measure
// that may predict it, with the fitted line.
func Calibrations(dir string, result *analysis.CalibrationResult, origin viz.Origin) error {
	out := &folder{dir: dir, formats: bothFormats}
	for i := range result.Calibrations {
		c := &result.Calibrations[i]
		f := viz.ScatterFigure(viz.Scatter{
			Title: fmt.Sprintf("real loss against %s: Spearman %.2f [%.2f, %.2f]",
				c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh),
			Caption: fmt.Sprintf("%s; %d points: %d prompts x methods x capacities; interval bootstrapped over prompts; "+
				"dashed: least-squares fit of the logarithms.", c.Model, c.Points, c.Prompts),
			XLabel:    c.Measure,
			YLabel:    "mean KL from the full cache (nats per token)",
			Series:    pointSeries(result.Points[i]),
			Intercept: c.Intercept,
			Slope:     c.Slope,
			Meta:      origin.Meta(),
		})
		if err := out.save(f, c.Measure); err != nil {
			return err
		}
	}
	return nil
}

// pointSeries groups points by method.
func pointSeries(points []analysis.Point) []viz.Series {
	var list []viz.Series
	at := map[string]int{} // index in list, by method
	for _, p := range points {
		i, ok := at[p.Method]
		if !ok {
			i = len(list)
			at[p.Method] = i
			list = append(list, viz.Series{Name: p.Method, Baseline: isBaseline(p.Method)})
		}
		list[i].X = append(list[i].X, p.X)
		list[i].Y = append(list[i].Y, p.KL)
	}
	return list
}
