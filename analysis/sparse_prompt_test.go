package analysis

import "testing"

// TestHasSparsePrompt: of 9 positions in two prompts, one has 1. If 8 are needed, its share
// would be 4; prompts without any position do not count in the rate.
func TestHasSparsePrompt(t *testing.T) {
	path := writeText(t, `
dump layers=1 heads=1 rows=1
prompt a tokens=12 reply=1
0 0 11 1=0.1
0 0 12 1=0.1 2=0.1 3=0.1 4=0.1 5=0.1 6=0.1 7=0.1 8=0.1
prompt b tokens=12 reply=1
0 0 11 1=0.1
0 0 12 1=0.1
prompt none tokens=12 reply=1
0 0 11 1=0.1
0 0 12 1=0.01
`)
	cfg := Paper
	cfg.Windows = []int{1}
	rows, _ := rowsOf(t, path, cfg)
	r := rows[0]
	if r.Significant != 9 || r.Sparsest != 1 || !r.HasSparsePrompt(8) || r.HasSparsePrompt(3) {
		t.Errorf("%+v, want 9 positions, 1 in the sparsest prompt, too few if 8 are needed and enough if 3", r)
	}
	cfg.By = []By{ByPrompt}
	rows, _ = rowsOf(t, path, cfg)
	if rows[1].HasSparsePrompt(8) {
		t.Error("a row of one prompt is no mean over prompts")
	}
}
