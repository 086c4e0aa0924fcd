package leaderboard

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// Figure draws the score of each method of the first run over the memory of its caches, with
// a point for each budget, from the rows of all tasks and lengths together. The score of the
// full cache is a gray line.
func Figure(b *Board, rows []Row, meta viz.Meta) *viz.Figure {
	k := viz.Curves{
		Title: "score over the memory of the cache", XLabel: "cache, MiB per prompt", YLabel: "score",
		Meta: meta,
	}
	first := rows[0]
	full := viz.Series{Name: snapkv.Full, Baseline: true}
	at := map[string]int{}
	for _, r := range rows {
		if r.Run != first.Run || r.Task != first.Task || r.Length != first.Length {
			continue
		}
		size := r.CacheBytes / (1 << 20)
		full.X = append(full.X, size)
		full.Y = append(full.Y, first.Score)
		if (cacheKey{r.Method, r.Budget}) == fullCache {
			continue
		}
		name := r.Method
		if name == snapkv.Full {
			name = "full, quantized"
		}
		i, ok := at[name]
		if !ok {
			i = len(k.Series)
			at[name] = i
			k.Series = append(k.Series, viz.Series{Name: name})
		}
		k.Series[i].X = append(k.Series[i].X, size)
		k.Series[i].Y = append(k.Series[i].Y, r.Score)
	}
	slices.Sort(full.X)
	for i := range k.Series {
		sortByX(&k.Series[i])
	}
	k.Series = append([]viz.Series{full}, k.Series...)
	k.Caption = fmt.Sprintf("%s; %s; mean over %s; %s. A point of a curve is a budget.",
		first.Model, aboutPlace(first), words.Count(first.Prompts, "prompt"), b.Runs[0].SettingsText())
	return viz.CurvesFigure(k)
}

// sortByX orders the points of a series.
func sortByX(s *viz.Series) {
	order := make([]int, len(s.X))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.X[a], s.X[b]) })
	x := make([]float64, len(order))
	y := make([]float64, len(order))
	for i, from := range order {
		x[i] = s.X[from]
		y[i] = s.Y[from]
	}
	s.X = x
	s.Y = y
}

// aboutPlace names the task and length of a row.
func aboutPlace(r Row) string {
	task := "task " + r.Task
	if r.Task == AllTasks {
		task = "all tasks"
	}
	if r.Length == AllLengths {
		return task + ", all lengths"
	}
	return fmt.Sprintf("%s, %d tokens", task, r.Length)
}
