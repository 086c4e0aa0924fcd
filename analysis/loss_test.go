package analysis

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/snapkv"
)

func TestParseLoss(t *testing.T) {
	for text, want := range map[string]Bound{
		"0.05": {LossKL, 0.05}, "5%": {LossPerplexity, 0.05}, " 2.5 % ": {LossPerplexity, 0.025}, "1e-3": {LossKL, 1e-3},
	} {
		if got, err := ParseLoss(text); err != nil || got.Loss != want.Loss || math.Abs(got.Value-want.Value) > 1e-15 {
			t.Errorf("ParseLoss(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "%", "5%%", "inf", "NaN", "five"} {
		if got, err := ParseLoss(text); err == nil {
			t.Errorf("ParseLoss(%q) = %+v, want an error", text, got)
		}
	}
	if got, err := ParseLoss("2"); err != nil || got != (Bound{LossKL, 2}) {
		t.Errorf("ParseLoss(2) = %+v, %v", got, err)
	}
	for _, text := range []string{"25", " 5 ", "2.01"} {
		want := "did you mean " + strings.TrimSpace(text) + "% (increase of the perplexity)?"
		if got, err := ParseLoss(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseLoss(%q) = %+v, %v; want an error with %q", text, got, err, want)
		}
	}
	if got, err := ParseAgreement(0.95); err != nil || got.Loss != LossAgreement || math.Abs(got.Value-0.05) > 1e-15 {
		t.Errorf("ParseAgreement(0.95) = %+v, %v", got, err)
	}
	for _, share := range []float64{0, 1, 95, -1, math.NaN()} {
		if got, err := ParseAgreement(share); err == nil {
			t.Errorf("ParseAgreement(%g) = %+v, want an error", share, got)
		}
	}
}

// TestPredict has values to check by hand: with the line y = x and the residuals
// ln 1 and ln 2, prompts with the measures 0.1 and 0.3 lose 0.1, 0.2, 0.3 or 0.6,
// and two further prompts, which lose nothing, lose 0 each.
func TestPredict(t *testing.T) {
	c := Calibration{Loss: LossKL, Slope: 1, Least: 0.01, ResidualQuantiles: []float64{0, math.Log(2)}}
	for _, want := range []struct {
		risk float64
		prediction
	}{
		{0.05, prediction{mean: 1.2 / 8, low: 0, high: 0.6}},
		{0.2, prediction{mean: 1.2 / 8, low: 0, high: 0.3}},  // one value of eight may be higher
		{0.25, prediction{mean: 1.2 / 8, low: 0, high: 0.2}}, // two may
		{0.5, prediction{mean: 1.2 / 8, low: 0.1, high: 0}},
	} {
		got := c.predict([]float64{0.1, 0.3}, 4, want.risk)
		if math.Abs(got.mean-want.mean) > 1e-12 || math.Abs(got.low-want.low) > 1e-12 || math.Abs(got.high-want.high) > 1e-12 {
			t.Errorf("risk %g: %+v, want %+v", want.risk, got, want.prediction)
		}
	}
	if got := c.predict([]float64{0}, 1, 0.1).mean; math.Abs(got-0.015) > 1e-12 {
		t.Errorf("a measure of 0 predicts %g, want that of the least measure, 0.015", got)
	}
	c.Loss = LossAgreement
	if got := c.predict([]float64{0.9}, 1, 0.1).high; got != 1 {
		t.Errorf("a share of tokens of %g, want at most 1", got)
	}
}

// TestMeanLossKeepsTheBound: a capacity at which few prompts exceed the bound, but by so
// much that the mean does, is not accepted.
func TestMeanLossKeepsTheBound(t *testing.T) {
	c := Calibration{Loss: LossKL, Measure: "missed_hits", Slope: 1, Least: 1e-6, ResidualQuantiles: []float64{0}}
	a := Advice{Config: AdviceConfig{Bound: Bound{LossKL, 0.2}, Risk: 0.3}, Calibration: &c}
	row := func(missed float64) *MethodRow { return &MethodRow{HitRate: 1 - missed, PromptTokens: 100} }
	rows := map[variant][]*MethodRow{
		{snapkv.GroupHead, 8}:  {row(0.1), row(0.1), row(0.1), row(0.9)}, // mean 0.3
		{snapkv.GroupHead, 16}: {row(0.1), row(0.1), row(0.1), row(0.3)}, // mean 0.15
	}
	got := a.smallestCache(rows, []variant{{snapkv.GroupHead, 8}, {snapkv.GroupHead, 16}})
	if got.Capacity != 16 {
		t.Errorf("capacity %d, want 16", got.Capacity)
	}
}

// TestCalibrationOfEveryLoss plants a law for each way to state the loss: KL = x,
// perplexity = 3·(1 + 2x) where the full cache has 3, and agreement = 1 - x/2.
func TestCalibrationOfEveryLoss(t *testing.T) {
	path, cfg, measured := measuredDump(t, "snapkv", "random", "recent")
	var real []Real
	for _, row := range measured {
		x := row.OutputError
		real = append(real, Real{
			ID: row.Prompt, Method: row.Method, Capacity: row.Capacity, Window: row.Window,
			Kernel: row.Kernel, Pooling: row.Pooling, Group: row.Group,
			KL: Measured(x), PPL: Measured(3 * (1 + 2*x)), Agreement: Measured(1 - x/2),
		}, Real{ID: row.Prompt, Method: snapkv.Full, PPL: 3, Agreement: 1})
	}
	result, err := Calibrate(context.Background(), []string{path}, cfg, real)
	if err != nil {
		t.Fatal(err)
	}
	want := map[Loss]float64{LossKL: 1, LossPerplexity: 2, LossAgreement: 0.5}
	for _, c := range result.Calibrations {
		factor, first := want[c.Loss]
		if !first {
			continue
		}
		delete(want, c.Loss)
		if c.Measure != "output_error" || math.Abs(c.Slope-1) > 1e-9 || math.Abs(math.Exp(c.Intercept)-factor) > 1e-9 {
			t.Errorf("%s: %s, slope %g, factor %g; want output_error, 1, %g",
				c.Loss, c.Measure, c.Slope, math.Exp(c.Intercept), factor)
		}
	}
	if len(want) > 0 {
		t.Errorf("no calibration of %v", want)
	}
	ask := AdviceConfig{Calibrations: result.Calibrations, Bound: Bound{LossPerplexity, 1.4}, Risk: 0.05}
	advice, err := Advise(context.Background(), []string{path}, cfg, ask)
	if err != nil {
		t.Fatal(err)
	}
	text := advice.Recommendation()
	first := advice.Rows[0]
	for _, part := range []string{
		LossPerplexity.Text(first.Predicted), LossKL.Text(first.Predicted / 2), LossAgreement.Text(first.Predicted / 4),
		"5 % of prompts lose more than",
	} {
		if first.Bytes < first.FullBytes && !strings.Contains(text, part) {
			t.Errorf("recommendation %q lacks %q", text, part)
		}
	}
}

// TestRecommendationSaysWhatSavesNothing covers caches that are larger than the full
// one, and capacities that keep everything.
func TestRecommendationSaysWhatSavesNothing(t *testing.T) {
	a := Advice{
		Config: AdviceConfig{Bound: Bound{LossKL, 0.1}, Risk: 0.05}, Calibration: &Calibration{Measure: "missed_hits"},
		Rows: []AdviceRow{{Method: "snapkv", Group: snapkv.GroupHead, Capacity: 64, Bytes: 3 << 20, FullBytes: 2 << 20}},
	}
	if text := a.Recommendation(); !strings.Contains(text, "1.50 times the full cache") || !strings.Contains(text, "--group mean") ||
		strings.Contains(text, "Recommended") {
		t.Errorf("a cache larger than the full one: %q", text)
	}
	a.Rows[0].KeepsAll = true
	if text := a.Recommendation(); !strings.HasPrefix(text, "Keep everything: ") || strings.Contains(text, "Recommended") {
		t.Errorf("a capacity that keeps everything: %q", text)
	}
	a.Rows[0].prompts = 4
	if text := a.Recommendation(); !strings.HasSuffix(text, "Record 10 prompts or more.") {
		t.Errorf("a capacity that keeps everything, with 4 prompts: %q", text)
	}
	a.Rows[0] = AdviceRow{Method: "snapkv", Group: snapkv.GroupMean, Capacity: 64, Share: 0.25, Bytes: 1 << 20, FullBytes: 4 << 20}
	if text := a.Recommendation(); !strings.Contains(text, "25 % of the prompts' positions") || !strings.Contains(text, "25 % of the full cache (4.0 MiB)") {
		t.Errorf("a cache that saves memory: %q", text)
	}
	a.Rows[0].allowed = 0.3
	if text := a.Recommendation(); !strings.Contains(text, "25 % of the prompts' positions (the capacity allows 30 %)") {
		t.Errorf("a method that keeps less than its capacity: %q", text)
	}
}

// TestShareIsOfKeptPositions: the share is of positions that a method keeps, not of those
// that the capacity allows.
func TestShareIsOfKeptPositions(t *testing.T) {
	a := Advice{
		Config:      AdviceConfig{Bound: Bound{LossKL, 1}, Risk: 0.3},
		Calibration: &Calibration{Loss: LossKL, Measure: "missed_hits", Slope: 1, Least: 1e-6, ResidualQuantiles: []float64{0}},
	}
	row := a.row(variant{snapkv.GroupMean, 60}, []*MethodRow{{PromptTokens: 100, Kept: 0.5}, {PromptTokens: 50, Kept: 1}})
	if math.Abs(row.Share-0.75) > 1e-12 || math.Abs(row.allowed-0.8) > 1e-12 {
		t.Errorf("share %g of %g, want 0.75 of 0.8", row.Share, row.allowed)
	}
	path, cfg, _ := measuredDump(t, "snapkv", "cake", "full")
	for i := range cfg.Configs {
		cfg.Configs[i].Group = snapkv.GroupMean
	}
	cfg.By = []By{ByPrompt}
	rows, _, err := Methods(context.Background(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows { // by kv head, all positions take the same memory
		if !(r.Kept > 0) || math.Abs(r.Kept-r.CacheRatio) > 1e-12 {
			t.Errorf("%s at capacity %d keeps %g, its cache has the ratio %g", r.Method, r.Capacity, r.Kept, r.CacheRatio)
		}
	}
}

// TestRealReadsMissingMeasures: what a line of generate lacks, or has as null, is NaN.
func TestRealReadsMissingMeasures(t *testing.T) {
	var r Real
	if err := json.Unmarshal([]byte(`{"id":"a","kl":null,"ppl":2.5}`), &r); err != nil {
		t.Fatal(err)
	}
	if r.ID != "a" || !math.IsNaN(float64(r.KL)) || r.PPL != 2.5 || !math.IsNaN(float64(r.Agreement)) {
		t.Errorf("%+v", r)
	}
}

// TestShortAdviceHasALineForWhatSavesNothing: only methods that save something have rows.
func TestShortAdviceHasALineForWhatSavesNothing(t *testing.T) {
	a := Advice{
		Config:      AdviceConfig{Bound: Bound{LossKL, 0.1}, Risk: 0.05},
		Calibration: &Calibration{Measure: "missed_hits", Loss: LossKL, Model: "m", Points: 1008, Prompts: 16},
		Rows: []AdviceRow{
			{Method: "cake", Group: snapkv.GroupMean, Capacity: 64, Measured: 0.25, Bytes: 1, FullBytes: 4, prompts: 4},
			{Method: "recent", Capacity: 128, KeepsAll: true, Bytes: 4, FullBytes: 4, prompts: 4},
			{Method: "random", Capacity: 128, KeepsAll: true, Bytes: 4, FullBytes: 4, prompts: 4},
			{Method: "knorm", Capacity: -1, Bytes: math.NaN(), FullBytes: 4},
		},
	}
	short, notes := a.Short()
	const skew = "A mean above high comes from the few prompts that lose far more than most."
	if text := strings.Join(notes, " "); strings.Contains(text, skew) {
		t.Errorf("no mean is above high: %s", text)
	}
	a.Rows[0].Predicted = 0.161
	a.Rows[0].High = 0.0354
	if _, skewed := a.Short(); !strings.Contains(strings.Join(skewed, " "), skew) {
		t.Errorf("the mean is above high: %q", skewed)
	}
	if len(short.Rows) != 1 || short.Rows[0][0] != "cake" || short.Rows[0][short.Column("missed_hits")] != 0.25 {
		t.Errorf("rows %v", short.Rows)
	}
	text := strings.Join(notes, "\n")
	for _, part := range []string{"which saves nothing: recent, random.", "every capacity that was tried: knorm.", "full cache takes 4 B", "nats per reply token"} {
		if !strings.Contains(text, part) {
			t.Errorf("notes lack %q:\n%s", part, text)
		}
	}
	if full := a.Table(); len(full.Rows) != 4 || full.Column("evidence") < 0 {
		t.Errorf("the table for programs has %d rows", len(full.Rows))
	}
	if text := a.Recommendation(); !strings.Contains(text, "only 4 prompts") {
		t.Errorf("recommendation of four prompts: %q", text)
	}
	for i := range a.Rows {
		a.Rows[i].prompts = SoundPrompts
	}
	if text := a.Recommendation(); strings.Contains(text, "too few") {
		t.Errorf("recommendation of %d prompts: %q", SoundPrompts, text)
	}
}

// TestLargerCachesNamesWhatSavesNothing, once for each method and capacity.
func TestLargerCachesNamesWhatSavesNothing(t *testing.T) {
	if w := LargerCaches([]MethodRow{{Method: "a", CacheRatio: 1}, {Method: "b", CacheRatio: math.NaN()}, {Method: "c", CacheRatio: 1 + 1e-12}}); w != nil {
		t.Errorf("no cache is larger: %v", w)
	}
	row := MethodRow{Method: "snapkv", Capacity: 64, Group: snapkv.GroupHead, CacheRatio: 1.5}
	w := LargerCaches([]MethodRow{row, row, {Method: "h2o", Capacity: 32, Group: snapkv.GroupMean, CacheRatio: 2}})
	want := "caches larger than the full cache: snapkv at capacity 64 (1.50 times), h2o at capacity 32 (2.00 times); " +
		"with --group head, every query head keeps positions of its own; --group mean selects for each kv head"
	if len(w) != 1 || w[0].String() != want {
		t.Errorf("got %v, want %s", w, want)
	}
}

// TestShortPromptsCountAsLosingNothing: three of four prompts are no longer than the
// capacity, which hides that the fourth loses more than the bound.
func TestShortPromptsCountAsLosingNothing(t *testing.T) {
	a := Advice{
		Config:      AdviceConfig{Bound: Bound{LossKL, 0.2}, Risk: 0.3},
		Calibration: &Calibration{Loss: LossKL, Measure: "missed_hits", Slope: 1, Least: 1e-6, ResidualQuantiles: []float64{0}},
	}
	row := func(tokens, missed float64) *MethodRow {
		return &MethodRow{HitRate: 1 - missed, PromptTokens: tokens, Kept: 1, CacheBytes: 1, FullBytes: 2}
	}
	rows := map[variant][]*MethodRow{{snapkv.GroupMean, 60}: {row(40, 0), row(50, 0), row(60, 0), row(100, 0.6)}}
	best := a.smallestCache(rows, []variant{{snapkv.GroupMean, 60}})
	best.Method = "snapkv"
	a.Rows = []AdviceRow{best}
	const counts = "3 of 4 prompts are no longer than %s: prompts that short lose nothing, and count as such"
	list := a.shortPrompts()
	if len(list) != 1 || list[0].String() != fmt.Sprintf(counts, "capacity 60") {
		t.Errorf("warnings %v", list)
	}
	text := a.Recommendation()
	for _, part := range []string{
		fmt.Sprintf(counts, "this capacity"), "Expected loss: 0.15 nats per token;",
		"Expected loss of the longer prompt alone: 0.6 nats per token; 30 % of such prompts lose more than 0.6 nats per token.",
		"record a dump of long prompts only",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("recommendation %q lacks %q", text, part)
		}
	}
	a.Config.Bound.Value = 0.7
	if text := a.Recommendation(); strings.Contains(text, "long prompts only") {
		t.Errorf("the long prompt keeps the bound, too: %q", text)
	}
	a.Rows[0] = a.row(variant{snapkv.GroupMean, 39}, rows[variant{snapkv.GroupMean, 60}])
	if list := a.shortPrompts(); list != nil || strings.Contains(a.Recommendation(), "no longer") {
		t.Errorf("all prompts are longer: %v, %q", list, a.Recommendation())
	}
}

// TestRecommendationNamesTies: caches of the same size whose predictions differ in the
// fourth digit are as good as the recommended one.
func TestRecommendationNamesTies(t *testing.T) {
	row := AdviceRow{Method: "snapkv", Capacity: 64, Predicted: 0.12341, Bytes: 1, FullBytes: 4}
	same := row
	same.Method = "h2o"
	same.Predicted = 0.12344
	worse := row
	worse.Method = "tova"
	worse.Predicted = 0.12441
	larger := row
	larger.Method = "cake"
	larger.Bytes = 2
	a := Advice{
		Config: AdviceConfig{Bound: Bound{LossKL, 0.2}, Risk: 0.05}, Calibration: &Calibration{Measure: "missed_hits"},
		Rows: []AdviceRow{row, same, worse, larger},
	}
	const want = " h2o with capacity 64 has the same size and, to three digits, the same expected loss."
	if text := a.Recommendation(); !strings.Contains(text, want) {
		t.Errorf("%q lacks %q", text, want)
	}
	a.Rows = a.Rows[2:]
	if text := a.Recommendation(); strings.Contains(text, "the same size") {
		t.Errorf("nothing ties: %q", text)
	}
}
