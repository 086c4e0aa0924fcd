package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/attnscope/attnscope/snapkv"
)

// Real is what compressed decoding really lost: one line of `attnscope
// generate`.
type Real struct {
	ID       string         `json:"id"`
	Method   string         `json:"method"`
	Capacity int            `json:"capacity"`
	Window   int            `json:"window"`
	Kernel   int            `json:"kernel"`
	Pooling  snapkv.Pooling `json:"pooling"`
	Group    snapkv.Group   `json:"group"`
	KL       float64        `json:"kl"`
}

// Point is one prompt decoded from one compressed cache: the offline measure
// and the real KL.
type Point struct {
	Prompt, Method string
	Capacity       int
	X, KL          float64
}

// Calibrate joins the offline measures of dumps with what compressed decoding
// really lost on the same prompts, and ranks the measures by their rank
// correlation with the KL, the best first. Points go with the calibrations.
// Intervals are bootstrapped over prompts. The methods oracle and full are left
// out: they are no predictions.
func Calibrate(ctx context.Context, paths []string, cfg MethodConfig, real []Real) ([]Calibration, [][]Point, []Warning, error) {
	cfg.By, cfg.Lenient = []By{ByPrompt}, true
	cfg.Methods = slices.DeleteFunc(slices.Clone(cfg.Methods), func(m snapkv.Method) bool { return m.Role == snapkv.Bound })
	rows, warnings, err := Methods(ctx, paths, cfg)
	if err != nil {
		return nil, nil, warnings, err
	}
	kl := map[Real]float64{}
	for _, r := range real {
		v := r.KL
		r.KL = 0
		kl[r] = v
	}
	var cals []Calibration
	var points [][]Point
	for _, l := range losses {
		var list []Point
		var model string
		for i := range rows {
			row := &rows[i]
			v, ok := kl[Real{
				ID: row.Prompt, Method: row.Method, Capacity: row.Capacity, Window: row.Window,
				Kernel: row.Kernel, Pooling: row.Pooling, Group: row.Group,
			}]
			x := l.of(row)
			if !ok || math.IsNaN(x) || math.IsNaN(v) || v <= 0 { // nothing dropped, or not decoded
				continue
			}
			model = row.Model
			list = append(list, Point{row.Prompt, row.Method, row.Capacity, x, v})
		}
		if len(list) < 10 {
			continue
		}
		c := fit(list)
		c.Measure, c.Model = l.name, model
		c.SpearmanLow, c.SpearmanHigh = spearmanInterval(list, cfg.Seed)
		cals, points = append(cals, c), append(points, list)
	}
	if len(cals) == 0 {
		return nil, nil, warnings, errors.New("the dumps and the lines of generate have fewer than ten prompts, methods and capacities in common: use the same prompts, flags and --max-new-tokens for both")
	}
	order := make([]int, len(cals))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(math.Copysign(1, cals[b].Spearman-cals[a].Spearman))
	})
	sorted, sortedPoints := make([]Calibration, len(cals)), make([][]Point, len(cals))
	for i, at := range order {
		sorted[i], sortedPoints[i] = cals[at], points[at]
	}
	return sorted, sortedPoints, warnings, nil
}

// fit is the least-squares line through the logarithms.
func fit(list []Point) Calibration {
	c := Calibration{Points: len(list)}
	var xs, ys []float64
	prompts := map[string]bool{}
	for _, p := range list {
		xs, ys = append(xs, math.Log(max(p.X, floor))), append(ys, math.Log(max(p.KL, floor)))
		prompts[p.Prompt] = true
	}
	c.Prompts = len(prompts)
	mx, my := Mean(xs), Mean(ys)
	sxy, sxx := 0.0, 0.0
	for i := range xs {
		sxy += (xs[i] - mx) * (ys[i] - my)
		sxx += (xs[i] - mx) * (xs[i] - mx)
	}
	if sxx > 0 {
		c.Slope = sxy / sxx
	}
	c.Intercept = my - c.Slope*mx
	c.Fit = []float64{c.Intercept, c.Slope}
	res := make([]float64, len(xs))
	for i := range xs {
		res[i] = ys[i] - c.Intercept - c.Slope*xs[i]
	}
	slices.Sort(res)
	const quantiles = 41
	for i := range quantiles {
		q := res[int((float64(i)+0.5)/quantiles*float64(len(res)))]
		c.ResidualQuantiles = append(c.ResidualQuantiles, math.Round(q*1e4)/1e4)
	}
	c.Spearman = spearman(list)
	return c
}

// spearman is the rank correlation of measure and KL, ties sharing their mean
// rank.
func spearman(list []Point) float64 {
	x, y := make([]float64, len(list)), make([]float64, len(list))
	for i, p := range list {
		x[i], y[i] = p.X, p.KL
	}
	return pearson(ranks(x), ranks(y))
}

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case x[a] < x[b]:
			return -1
		case x[a] > x[b]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(x))
	for lo := 0; lo < len(order); {
		hi := lo + 1
		for hi < len(order) && x[order[hi]] == x[order[lo]] {
			hi++
		}
		for _, i := range order[lo:hi] {
			out[i] = float64(lo+hi-1) / 2
		}
		lo = hi
	}
	return out
}

func pearson(x, y []float64) float64 {
	mx, my := Mean(x), Mean(y)
	xy, xx, yy := 0.0, 0.0, 0.0
	for i := range x {
		xy += (x[i] - mx) * (y[i] - my)
		xx += (x[i] - mx) * (x[i] - mx)
		yy += (y[i] - my) * (y[i] - my)
	}
	if xx == 0 || yy == 0 {
		return math.NaN()
	}
	return xy / math.Sqrt(xx*yy)
}

// spearmanInterval draws prompts, with all their points, 500 times.
func spearmanInterval(list []Point, seed uint64) (lo, hi float64) {
	var names []string
	groups := map[string][]Point{}
	for _, p := range list {
		if groups[p.Prompt] == nil {
			names = append(names, p.Prompt)
		}
		groups[p.Prompt] = append(groups[p.Prompt], p)
	}
	if len(names) < 2 {
		return math.NaN(), math.NaN()
	}
	r := rand.New(rand.NewPCG(seed, 0x5b))
	const draws = 500
	values := make([]float64, draws)
	for i := range values {
		var sample []Point
		for range names {
			sample = append(sample, groups[names[r.IntN(len(names))]]...)
		}
		values[i] = spearman(sample)
	}
	slices.Sort(values)
	return values[draws/40], values[draws-1-draws/40]
}

// String tells a calibration in a line.
func (c *Calibration) String() string {
	return fmt.Sprintf("%s: Spearman %.3f [%.3f, %.3f]", c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh)
}
