package experiments

import (
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// idleLab is a lab with nothing to run: its recipes read planted dumps. A span
// is 8 generated tokens.
func idleLab(t *testing.T, name string) *Lab {
	l := &Lab{Dir: t.TempDir(), Quick: true, Seed: 1, name: name}
	if err := os.MkdirAll(l.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

// rows reads a table that a recipe left and returns, for each row where the
// named columns have the given values, the wanted column.
func (l *Lab) rows(t *testing.T, name, column string, where map[string]string) []float64 {
	t.Helper()
	f, err := os.Open(filepath.Join(l.dir(), name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []float64
	for _, row := range all[1:] {
		fits, value := true, math.NaN()
		for i, head := range all[0] {
			if want, ok := where[head]; ok && row[i] != want {
				fits = false
			}
			if head == column {
				value, _ = strconv.ParseFloat(row[i], 64)
			}
		}
		if fits {
			out = append(out, value)
		}
	}
	return out
}

// want asserts that all rows have one value, and how many there are.
func (l *Lab) want(t *testing.T, n int, want float64, name, column string, where map[string]string) {
	t.Helper()
	got := l.rows(t, name, column, where)
	if len(got) != n {
		t.Errorf("%s %v: %d rows, want %d", name, where, len(got), n)
	}
	for _, v := range got {
		if math.Abs(v-want) > 1e-6 { // tables have six digits
			t.Errorf("%s %v: %s = %g, want %g", name, where, column, v, want)
		}
	}
}

// TestGenerationOfPlantedAttention: the window votes for ten positions, 20 to
// 29. The reply's first eight tokens attend to these, the next eight to 25 to 34
// in one set and to 40 to 49 in the other: 1, then 1/2 and 0, 1/4 together.
func TestGenerationOfPlantedAttention(t *testing.T) {
	const n = 400
	reply := func(from int) func(_, _, query, key int) float32 {
		return func(_, _, query, key int) float32 {
			if query >= n+8 {
				return among(key, from, from+10, 0.09)
			}
			return among(key, 20, 30, 0.09)
		}
	}
	l := idleLab(t, "generation")
	path := filepath.Join(l.Dir, "x.attn")
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 2, Heads: 2, Rows: 128, Windows: 2, WindowSize: 128}, []dumpstest.Planted{
		{ID: "a", Dataset: "half", Tokens: tokens(n), Reply: 16, Weight: reply(25)},
		{ID: "b", Dataset: "none", Tokens: tokens(n), Reply: 16, Weight: reply(40)},
	})
	if _, err := l.rateGeneration(context.Background(), path, 2); err != nil {
		t.Fatal(err)
	}
	for _, window := range []string{"32", "128"} {
		l.want(t, 2, 1, "hit-rate", "hit_rate", map[string]string{"window": window, "span": "0"}) // two layers
		l.want(t, 2, 0.25, "hit-rate", "hit_rate", map[string]string{"window": window, "span": "1"})
		l.want(t, 1, 0.5, "sets", "hit_rate", map[string]string{"window": window, "span": "1", "dataset": "half"})
		l.want(t, 1, 0, "sets", "hit_rate", map[string]string{"window": window, "span": "1", "dataset": "none"})
		l.want(t, 4, 0, "overall", "recent", map[string]string{"window": window}) // two spans, with and without sinks
		l.want(t, 4, 1, "overall", "oracle", map[string]string{"window": window})
	}
	l.want(t, 4, 18.0/368, "overall", "chance", map[string]string{"window": "32"})
	// In all, 10 x 8 of a's cells are hit in span 0 and 5 x 8 in span 1: 3/4; of b's 1/2.
	l.want(t, 1, 0.625, "controls", "hit_rate", map[string]string{"control": "own", "layer": "-1", "skip_first": "0"})
}

// TestSweepOfPlantedAttention: the last row votes for five of the ten positions
// that the reply attends to, the rows before it for all ten.
func TestSweepOfPlantedAttention(t *testing.T) {
	const n = 400
	l := idleLab(t, "sweep")
	path := filepath.Join(l.Dir, "x.attn")
	weight := func(_, _, query, key int) float32 {
		if query == n-1 {
			return among(key, 20, 25, 0.15)
		}
		return among(key, 20, 30, 0.09)
	}
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 1, Heads: 2, Rows: 128}, []dumpstest.Planted{
		{ID: "a", Tokens: tokens(n), Reply: 3, Weight: weight}, {ID: "b", Tokens: tokens(n), Reply: 5, Weight: weight},
	})
	if _, err := l.rateSweep(context.Background(), path, 2); err != nil {
		t.Fatal(err)
	}
	l.want(t, 2, 0.5, "overall", "hit_rate", map[string]string{"window": "1"})
	for _, window := range []string{"2", "4", "8", "16", "32", "64", "128"} {
		l.want(t, 2, 1, "overall", "hit_rate", map[string]string{"window": window})
	}
}

// TestPositionOfPlantedAttention: of ten positions that the reply attends to,
// the window votes for 10, 5, 0 and 10 where the instruction stands after,
// before, inside, nowhere; in a truncated document for none.
func TestPositionOfPlantedAttention(t *testing.T) {
	const n = 400
	l := idleLab(t, "position")
	path := filepath.Join(l.Dir, "x.attn")
	var list []prompts.Prompt
	var dump []dumpstest.Planted
	for doc := range 3 {
		for i, place := range placements {
			from, group := []int{20, 25, 30, 20}[i], ""
			if doc == 2 {
				from, group = 40, truncatedGroup
			}
			weight := func(_, _, query, key int) float32 {
				if query >= n {
					return among(key, 20, 30, 0.09)
				}
				return among(key, from, from+10, 0.09)
			}
			id := fmt.Sprintf("doc%d/0/%s", doc, place)
			list = append(list, prompts.Prompt{ID: id, Dataset: place + group})
			dump = append(dump, dumpstest.Planted{ID: id, Dataset: place + group, Tokens: tokens(n), Reply: 4, Weight: weight})
		}
	}
	dumpstest.WritePlanted(t, path, dumpstest.PlantedShape{Layers: 2, Heads: 1, Rows: 32}, dump)
	if _, err := l.ratePosition(context.Background(), path, list, map[string]int{"": 2, truncatedGroup: 1}); err != nil {
		t.Fatal(err)
	}
	for i, place := range placements {
		rate := []float64{1, 0.5, 0, 1}[i]
		whole := map[string]string{"documents": "whole", "placement": place}
		l.want(t, 2, rate, "paired", "hit_rate", whole) // with and without the first four
		l.want(t, 2, rate-1, "paired", "difference", whole)
		l.want(t, 2, 2, "paired", "prompts", whole)
		p := 1.0 // no difference at all
		if rate < 1 {
			p = 0.5 // two equal differences: two of four sign patterns
		}
		l.want(t, 2, p, "paired", "p", whole)
		l.want(t, 2, 0, "paired", "hit_rate", map[string]string{"documents": "truncated", "placement": place})
	}
	for _, name := range []string{"hit-rate.png", "hit-rate-truncated.png"} {
		if _, err := os.Stat(filepath.Join(l.dir(), name)); err != nil {
			t.Error(err)
		}
	}
}

// TestGridOfPlantedAnswers: of two lengths and two depths the full cache answers
// all four, the compressed one the shallow ones.
func TestGridOfPlantedAnswers(t *testing.T) {
	l := idleLab(t, "needle")
	var tasks []retrieval
	var results []labeled
	for _, length := range []int{100, 200} {
		for _, depth := range []float64{0, 1} {
			id := fmt.Sprintf("%d-%g", length, depth)
			tasks = append(tasks, retrieval{length, depth, prompts.Prompt{ID: id}})
			full, less := decode.Result{ID: id, Method: "full", Contains: 1, AnswerLogProb: -1}, decode.Result{ID: id, Method: "snapkv", Capacity: 64, AnswerLogProb: -3}
			if depth == 0 {
				less.Contains = 1
			}
			none := decode.Result{ID: id, Method: "random", Capacity: 64, AnswerLogProb: -3}
			results = append(results, labeled{"full", full}, labeled{"snapkv 64", less}, labeled{"random 64", none})
		}
	}
	if _, err := l.rateGrid("", tasks, results, "tokens"); err != nil {
		t.Fatal(err)
	}
	l.want(t, 1, 1, "accuracy", "accuracy", map[string]string{"cache": "full"})
	l.want(t, 1, 0.5, "accuracy", "accuracy", map[string]string{"cache": "snapkv 64"})
	l.want(t, 1, 2, "accuracy", "correct", map[string]string{"cache": "snapkv 64"})
	l.want(t, 1, -3, "accuracy", "answer_logprob", map[string]string{"cache": "snapkv 64"})
	// Right twice where the other never is: of the sign patterns of (1, 0, 1, 0) half have a sum of 2 or -2.
	l.want(t, 1, 0.5, "paired", "correct_difference", map[string]string{"cache": "snapkv 64", "other": "random 64"})
	l.want(t, 1, 0.5, "paired", "correct_p", map[string]string{"cache": "snapkv 64", "other": "random 64"})
	l.want(t, 1, 0, "paired", "logprob_difference", map[string]string{"other": "random 64"})
	l.want(t, 2, 0, "answers", "correct", map[string]string{"cache": "snapkv 64", "depth": "1"})
	l.want(t, 2, 1, "answers", "correct", map[string]string{"cache": "snapkv 64", "depth": "0"})
}

// TestEmptySetIsRefused: never the shipped documents instead of those that were
// asked for.
func TestEmptySetIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty.jsonl")
	if err := os.WriteFile(path, []byte("\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := &Lab{Sets: map[string]string{"mine": path}, SetOrder: []string{"mine"}}
	if list, err := l.records(); err == nil || !strings.Contains(err.Error(), "set mine: "+path) {
		t.Errorf("%d documents of an empty set, error %v", len(list), err)
	}
}
