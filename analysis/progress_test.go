package analysis

import (
	"fmt"
	"reflect"
	"testing"
)

// TestHitRatesReportProgress checks that every layer of every prompt with a reply is
// reported once, although there are two configs.
func TestHitRatesReportProgress(t *testing.T) {
	path := writeText(t, handDump)
	var seen []Progress
	cfg := handConfig()
	cfg.Progress = func(p Progress) { seen = append(seen, p) }
	if _, _, err := HitRatesEach(t.Context(), []string{path, path}, cfg, cfg); err != nil {
		t.Fatal(err)
	}
	want := []Progress{{path, "a", 10, 20}, {path, "a", 20, 20}}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("%+v, want %+v", seen, want)
	}
}

// TestConfigsShareAPass checks that configs that share what was computed of a head have
// the rows that each of them has alone.
func TestConfigsShareAPass(t *testing.T) {
	path := writeText(t, handDump)
	cfgs := make([]HitRateConfig, 5)
	for i := range cfgs {
		cfgs[i] = handConfig()
		cfgs[i].Windows = []int{1}
	}
	cfgs[1].Exact = true
	cfgs[2].Generation = GenerationMean
	cfgs[3].By = []By{BySpan}
	cfgs[3].Span = 1
	cfgs[4].SkipFirst = 2
	lists, _, err := HitRatesEach(t.Context(), []string{path}, cfgs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, cfg := range cfgs {
		alone, _ := rowsOf(t, path, cfg)
		if got, want := fmt.Sprint(lists[i]), fmt.Sprint(alone); got != want {
			t.Errorf("config %d: %s, want %s", i, got, want)
		}
	}
}
