package figures

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// Calibrations draws, into dir, the loss of compressed decoding against each measure
// that may predict it, with the fitted line. There is a figure for each loss and
// measure.
func Calibrations(dir string, result *analysis.CalibrationResult, origin viz.Origin) error {
	out := &folder{dir: dir, formats: bothFormats}
	for i := range result.Calibrations {
		c := &result.Calibrations[i]
		f := viz.ScatterFigure(viz.Scatter{
			Title: fmt.Sprintf("real loss against %s: Spearman %.2f [%.2f, %.2f]",
				c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh),
			Caption: fmt.Sprintf("%s; %s: %s x methods x capacities; interval bootstrapped over prompts; "+
				"dashed: least-squares fit of the logarithms.", c.Model,
				words.Count(c.Points, "point"), words.Count(c.Prompts, "prompt")),
			XLabel:    c.Measure,
			YLabel:    lossLabels[c.Loss],
			Series:    pointSeries(result.Points[i]),
			Intercept: c.Intercept,
			Slope:     c.Slope,
			Meta:      origin.Meta(),
		})
		if err := out.save(f, string(c.Loss)+"-"+c.Measure); err != nil {
			return err
		}
	}
	return nil
}

var lossLabels = map[analysis.Loss]string{
	analysis.LossKL:         "mean KL from the full cache (nats per token)",
	analysis.LossPerplexity: "increase of the perplexity, relative to the full cache",
	analysis.LossAgreement:  "share of reply tokens that differ from the full cache's",
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
		list[i].Y = append(list[i].Y, p.Y)
	}
	return list
}
