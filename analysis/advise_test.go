package analysis

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestSpearman has ranks to check by hand, with a tie: x ranks 0, 1.5, 1.5, 3,
// y ranks 0, 2, 1, 3; correlation 4.5/√(4.5·5).
func TestSpearman(t *testing.T) {
	got := spearman([]Point{{X: 1, Y: 10}, {X: 2, Y: 30}, {X: 2, Y: 20}, {X: 9, Y: 40}})
	if want := 4.5 / math.Sqrt(4.5*5); math.Abs(got-want) > 1e-12 {
		t.Errorf("%g, want %g", got, want)
	}
}

// measuredDump makes a dump of four prompts with values, and measures what the methods
// keep of each prompt at five capacities.
func measuredDump(t *testing.T, methods ...string) (path string, cfg MethodConfig, rows []MethodRow) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, "factors", "exact", 4, rand.New(rand.NewPCG(1, 2)))
	cfg = methodConfig(methods...)
	base := cfg.Configs[0]
	cfg.Configs = nil
	for _, n := range []int{8, 12, 16, 24, 32} {
		base.Capacity = n
		cfg.Configs = append(cfg.Configs, base)
	}
	cfg.By = []By{ByPrompt}
	rows, _, err := Methods(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return path, cfg, rows
}

// TestCalibrationFindsItsLaw plants KL = e·x^1.5 and finds it again; the
// advice is then the smallest capacity under the bound.
func TestCalibrationFindsItsLaw(t *testing.T) {
	path, cfg, measured := measuredDump(t, "snapkv", "random", "recent", "oracle")
	var real []Real
	for _, row := range measured {
		real = append(real, Real{
			ID: row.Prompt, Method: row.Method, Capacity: row.Capacity, Window: row.Window,
			Kernel: row.Kernel, Pooling: row.Pooling, Group: row.Group,
			KL: Measured(math.E * math.Pow(row.OutputError, 1.5)),
		})
	}
	fitted, err := Calibrate(context.Background(), []string{path}, cfg, real)
	if err != nil {
		t.Fatal(err)
	}
	cals := fitted.Calibrations
	best := cals[0]
	if best.Measure != "output_error" || math.Abs(best.Spearman-1) > 1e-12 || math.Abs(best.Slope-1.5) > 1e-9 || math.Abs(best.Intercept-1) > 1e-9 {
		t.Errorf("%+v, want output_error, Spearman 1, slope 1.5, intercept 1", best)
	}
	if len(fitted.Points[0]) != 4*3*5 || best.Prompts != 4 {
		t.Errorf("%d points of %d prompts, want 60 of 4: the oracle is no prediction", len(fitted.Points[0]), best.Prompts)
	}
	const bound = 0.5
	ask := AdviceConfig{Calibrations: cals, Bound: Bound{LossKL, bound}, Risk: 0.3}
	advice, err := Advise(context.Background(), []string{path}, cfg, ask)
	if err != nil || !advice.Found() {
		t.Fatal(err, advice)
	}
	for i, row := range advice.Rows {
		want := -1
		for _, c := range cfg.Configs { // without residuals, the loss of one prompt in four may exceed the bound
			above := 0
			for _, r := range real {
				if r.Method == row.Method && r.Capacity == c.Capacity && float64(r.KL) > bound {
					above++
				}
			}
			if above <= 1 && want < 0 {
				want = c.Capacity
			}
		}
		if row.Capacity != want {
			t.Errorf("%s: capacity %d, want %d", row.Method, row.Capacity, want)
		}
		if i > 0 && row.Bytes < advice.Rows[i-1].Bytes {
			t.Errorf("%s, %g bytes, stands after a larger cache", row.Method, row.Bytes)
		}
		if share := float64(row.Capacity) / (row.FullBytes / (dumpstest.Layers * 2 * dumpstest.Dim * 4 * dumpstest.KVHeads)); row.Capacity > 0 &&
			math.Abs(row.Share-share) > 0.02 {
			t.Errorf("%s: share %g, want about %g", row.Method, row.Share, share)
		}
	}
	ask.Bound.Value = 1e-9
	one := MethodConfig{Methods: cfg.Methods[1:2], Configs: cfg.Configs[:1], Thetas: cfg.Thetas}
	if none, err := Advise(context.Background(), []string{path}, one, ask); err != nil || none.Found() {
		t.Errorf("a bound that nothing keeps is kept: %+v, %v", none, err)
	}
	checkClosest(t, path, cfg, ask, real)
	ask.Bound.Value = bound
	if advice.Closest != nil {
		t.Errorf("a bound that methods keep is missed by %+v", advice.Closest)
	}
	ask.By = ByHead
	byHead, err := Advise(context.Background(), []string{path}, cfg, ask)
	if err != nil || len(byHead.Rows) != 4*dumpstest.Layers*dumpstest.Heads {
		t.Errorf("%v; %d rows by head", err, len(byHead.Rows))
	}
}

// TestCalibrationOfTwoModels plants KL = e·x^1.5 in two models whose prompts have the same
// names, and finds it again.
func TestCalibrationOfTwoModels(t *testing.T) {
	var paths []string
	for i, model := range []string{"one", "two"} {
		h := dumpstest.Header("factors", "exact")
		h.Model.ID = model
		path := filepath.Join(t.TempDir(), model+".attn")
		w, err := dumps.Create(path, h, dumps.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for p := range 4 {
			dumpstest.Add(t, w, fmt.Sprint("p", p), "factors", rand.New(rand.NewPCG(uint64(i), uint64(p))))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	cfg := methodConfig("snapkv", "random", "recent")
	cfg.Configs[0].Capacity = 12
	cfg.By = []By{ByPrompt}
	measured, _, err := Methods(t.Context(), paths, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var real []Real
	for _, row := range measured {
		real = append(real, Real{
			Model: row.Model, ID: row.Prompt, Method: row.Method, Capacity: row.Capacity, Window: row.Window,
			Kernel: row.Kernel, Pooling: row.Pooling, Group: row.Group,
			KL: Measured(math.E * math.Pow(row.Mass/row.Coverage-row.Mass, 1.5)),
		})
	}
	fitted, err := Calibrate(t.Context(), paths, cfg, real)
	if err != nil {
		t.Fatal(err)
	}
	best := fitted.Calibrations[0]
	if best.Measure != "lost_mass" || math.Abs(best.Slope-1.5) > 1e-9 || math.Abs(best.Intercept-1) > 1e-9 {
		t.Errorf("%+v, want lost_mass, slope 1.5, intercept 1", best)
	}
	if best.Points != 2*4*3 || best.Prompts != 2*4 || best.Model != "one, two" {
		t.Errorf("%d points of %d prompts of %q, want 24 of 8 of one, two", best.Points, best.Prompts, best.Model)
	}
	real[5].Model = ""
	if _, err := Calibrate(t.Context(), paths, cfg, real); err == nil || !strings.Contains(err.Error(), "line 6 of generate names none") {
		t.Errorf("a line without a model: %v", err)
	}
}

// checkClosest compares the method and capacity that come closest to a bound that nothing
// keeps with those that lose least, as planted. Of four prompts, one may lose more.
func checkClosest(t *testing.T, path string, cfg MethodConfig, ask AdviceConfig, real []Real) {
	t.Helper()
	advice, err := Advise(t.Context(), []string{path}, cfg, ask)
	if err != nil || advice.Closest == nil {
		t.Fatal(err, advice)
	}
	row := advice.Closest
	type choice struct {
		method   string
		capacity int
	}
	losses := map[choice][]float64{}
	for _, r := range real {
		if r.Capacity > 16 { // by query head, these caches are larger than the full one
			continue
		}
		at := choice{r.Method, r.Capacity}
		losses[at] = append(losses[at], float64(r.KL))
	}
	least := math.Inf(1)
	var want choice
	for at, list := range losses {
		slices.Sort(list)
		if list[2] < least {
			least = list[2]
			want = at
		}
	}
	mean := 0.0
	for _, loss := range losses[want] {
		mean += loss / 4
	}
	if got := (choice{row.Method, row.Capacity}); got != want || math.Abs(row.High-least) > 1e-9 || math.Abs(row.Predicted-mean) > 0.01*mean {
		t.Errorf("%+v with loss %g, at most %g, is closest; want %+v with %g, %g", got, row.Predicted, row.High, want, mean, least)
	}
	text := strings.Join(advice.NearMiss(), " ")
	for _, part := range []string{"The closest is " + want.method, fmt.Sprintf("capacity %d,", want.capacity), LossKL.Text(mean), LossKL.Text(least)} {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
	loss, found := strings.CutPrefix(advice.accepting(row)[0], "--loss ")
	bound, err := ParseLoss(loss)
	if !found || err != nil || !strings.Contains(text, "It is accepted with --loss "+loss) {
		t.Fatalf("%q names no loss that is accepted (%q, %v)", text, loss, err)
	}
	for value, accepted := range map[float64]bool{bound.Value: true, 0.9 * bound.Value: false} {
		ask.Bound.Value = value
		other, err := Advise(t.Context(), []string{path}, cfg, ask)
		if err != nil || slices.ContainsFunc(other.Rows, func(r AdviceRow) bool {
			return dropsSomething(r) && r.Method == want.method && r.Capacity <= want.capacity
		}) != accepted {
			t.Errorf("loss %g: %+v, %v; want %+v accepted: %v", value, other.Rows, err, want, accepted)
		}
	}
}

// TestFlagsOfLosses: a flag allows at least the loss, and not much more.
func TestFlagsOfLosses(t *testing.T) {
	for _, c := range []struct {
		loss Loss
		v    float64
		want string
	}{
		{LossPerplexity, 0.1104, "--loss 12%"},
		{LossPerplexity, 1.234, "--loss 130%"},
		{LossPerplexity, 0.05, "--loss 5.0%"},
		{LossKL, 0.0341, "--loss 0.035"},
		{LossKL, 2.1, ""},
		{LossAgreement, 0.061, "--agreement 0.93"},
		{LossAgreement, 0.995, ""},
	} {
		if got := c.loss.flag(c.v); got != c.want {
			t.Errorf("%s %g: %q, want %q", c.loss, c.v, got, c.want)
		}
	}
}

// TestShippedCalibrations checks those by query head and by kv head: each loss has one of
// each measure, the best first, and a larger measure predicts a larger loss.
func TestShippedCalibrations(t *testing.T) {
	models := map[bool]string{false: "smollm2-135m", true: "gemma3-270m, smollm2-135m"}
	for _, byKVHead := range []bool{false, true} {
		list, err := Shipped(byKVHead)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[Loss]int{}
		for i, c := range list {
			if i > 0 && c.Loss == list[i-1].Loss && c.Spearman > list[i-1].Spearman {
				t.Errorf("%s is better than the one before", c.Measure)
			}
			seen[c.Loss]++
			if a, b := c.Predict(0.3), c.Predict(0.6); !(a > 0 && a < b) {
				t.Errorf("%s predicts %g at 0.3 and %g at 0.6", c.Measure, a, b)
			}
			if c.Model != models[byKVHead] {
				t.Errorf("by kv head %v: a calibration with %s, want %s", byKVHead, c.Model, models[byKVHead])
			}
		}
		for _, loss := range losses {
			if seen[loss] < 3 {
				t.Errorf("%d calibrations for %s, want one of each measure", seen[loss], loss)
			}
		}
	}
	if _, err := ParseCalibrations([]byte(`[{"measure":"none","fit":[0,1],"residual_quantiles":[0]}]`)); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("an unknown measure: %v", err)
	}
}

// TestLeastIsAboveNoise: measures of caches that lose nothing are rounding, and do not
// lower the value under which measures are not told apart.
func TestLeastIsAboveNoise(t *testing.T) {
	var list []Point
	for i := range 100 {
		list = append(list, Point{X: 0.01 * float64(i+1)})
	}
	for i := range 50 {
		list = append(list, Point{X: 1e-7 * float64(i)})
	}
	if got, want := leastMeasure(list), 0.03; math.Abs(got-want) > 1e-12 {
		t.Errorf("least %g, want %g, which two of a hundred are below", got, want)
	}
	if got := leastMeasure(list[100:]); got != smallestMeasure {
		t.Errorf("least %g of nothing but noise, want %g", got, smallestMeasure)
	}
}
