package dumps_test

import (
	"math"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

func TestPlanCheck(t *testing.T) {
	for name, c := range map[string]struct {
		plan dumps.Plan
		want string // empty: nothing is wrong
	}{
		"zero":                 {dumps.Plan{}, ""},
		"largest overview":     {dumps.Plan{Overview: 4096, Heads: make([]int, 16)}, ""},
		"negative rows":        {dumps.Plan{WindowRows: -1}, "window-rows -1: want 0 or more"},
		"negative tokens":      {dumps.Plan{MaxNewTokens: -2}, "max-new-tokens -2: want 0 or more"},
		"too large a side":     {dumps.Plan{Overview: 4097}, "overview 4097: at most 4096"},
		"too large a block":    {dumps.Plan{Overview: 4096, Heads: make([]int, 17)}, "overview 4096: with 17 heads"},
		"negative temperature": {dumps.Plan{Temperature: -0.5}, "temperature -0.5: want 0 or more"},
		"no temperature":       {dumps.Plan{Temperature: math.NaN()}, "temperature NaN"},
	} {
		err := c.plan.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPlanWindows(t *testing.T) {
	plan := dumps.Plan{PromptWindows: 3, PromptWindowSize: 8}
	for prompt, want := range map[int]int{7: 0, 8: 1, 23: 2, 24: 3, 100: 3} {
		if got := plan.Windows(prompt); got != want {
			t.Errorf("%d tokens have %d windows, want %d", prompt, got, want)
		}
	}
	if got := (&dumps.Plan{PromptWindows: 3}).Windows(100); got != 0 {
		t.Errorf("without a size there are %d windows, want none", got)
	}
}

// TestPlanStore: the plan decides, or the estimated size. One layer of 2 heads on one
// kv head of 4 (values of 2), 6 tokens and a reply of 2, all rows recorded: rows hold 2x8x8 weights
// of 6.3 bits, factors 8x8 queries and 8x4 keys of 21 bits.
func TestPlanStore(t *testing.T) {
	m := dumps.ModelInfo{Heads: 2, KVHeads: 1, HeadDim: 4, ValueDim: 2}
	plan := dumps.Plan{WindowRows: 6, Layers: []int{0}, Heads: []int{0, 1}, Precision: dumps.Fine}
	rows, factors := plan.StoreBytes(&m, 6, 2)
	if rows != 100 || factors != 252 {
		t.Errorf("rows take %d bytes and factors %d, want 100 and 252", rows, factors)
	}
	if got := plan.StoreFor(&m, 6, 2); got != dumps.StoreRows {
		t.Errorf("a short prompt is stored as %s, want rows", got)
	}
	plan.WindowRows = 600
	if got := plan.StoreFor(&m, 600, 2); got != dumps.StoreFactors {
		t.Errorf("a long prompt of many rows is stored as %s, want factors", got)
	}
	plan.Store = dumps.StoreRows
	if got := plan.StoreFor(&m, 600, 2); got != dumps.StoreRows {
		t.Errorf("a plan of rows is stored as %s", got)
	}
	plan.Values = true
	if withValues, _ := plan.StoreBytes(&m, 6, 2); withValues != 100+42 { // 8x2 values of 21 bits
		t.Errorf("rows and values take %d bytes, want 142", withValues)
	}
}
