package analysis

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

const (
	testWindow, testCapacity = 4, 14
	testTheta                = 0.1
)

func methodConfig(methods ...string) MethodConfig {
	c := MethodConfig{Thetas: []float64{testTheta}, Configs: []snapkv.Config{{
		Window: testWindow, Capacity: testCapacity, Kernel: 3, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead,
	}}}
	for _, name := range methods {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			panic(err)
		}
		c.Methods = append(c.Methods, m)
	}
	return c
}

// slowSnapKV is the selection written out: votes, mean of three, the largest.
func slowSnapKV(w []float32, rows, keys int) []int {
	prefix := keys - testWindow
	vote := make([]float64, prefix)
	for i := rows - testWindow; i < rows; i++ {
		for j := range vote {
			vote[j] += float64(w[i*keys+j])
		}
	}
	pooled := make([]float64, prefix)
	for j := range pooled {
		for d := -1; d <= 1; d++ {
			if j+d >= 0 && j+d < prefix {
				pooled[j] += vote[j+d] / 3
			}
		}
	}
	order := make([]int, prefix)
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(a, b int) bool { return pooled[order[a]] > pooled[order[b]] })
	keep := order[:testCapacity-testWindow]
	slices.Sort(keep)
	return keep
}

// slowMeasures measures a selection of one head with loops over single weights.
func slowMeasures(l *Layer, h int, keep []int) map[string]float64 {
	w, keys, prefix := l.Reply.Head(h), l.Reply.Keys, l.Len-testWindow
	rows, g := l.Reply.Rows, h*l.KVHeads/l.Heads
	sum := make([]float64, prefix)
	out := map[string]float64{"hits": 0, "significant": 0}
	for i := range rows {
		kept, full, part := 0.0, make([]float64, l.ValueDim), make([]float64, l.ValueDim)
		for j := range l.Len + i + 1 {
			v := float64(w[i*keys+j])
			here := j >= prefix || slices.Contains(keep, j)
			for d := range full {
				x := v * float64(l.Values[(j*l.KVHeads+g)*l.ValueDim+d])
				full[d] += x
				if here {
					part[d] += x
				}
			}
			if here {
				kept += v
			}
			if j >= prefix {
				continue
			}
			sum[j] += v
			out["prefix"] += v / float64(rows)
			if here {
				out["mass"] += v / float64(rows)
			}
			if w[i*keys+j] > testTheta {
				out["significant"]++
				if here {
					out["hits"]++
				}
			}
		}
		diff, length := 0.0, 0.0
		for d := range full {
			diff += (full[d] - part[d]/kept) * (full[d] - part[d]/kept)
			length += full[d] * full[d]
		}
		out["error"] += math.Sqrt(diff/length) / float64(rows)
	}
	order := make([]int, prefix)
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(a, b int) bool { return sum[order[a]] > sum[order[b]] })
	both := 0.0
	for _, j := range order[:len(keep)] {
		out["best"] += sum[j] / float64(rows)
		if slices.Contains(keep, j) {
			both++
		}
	}
	out["recall"] = both / float64(len(keep))
	out["jaccard"] = both / (2*float64(len(keep)) - both)
	return out
}

// TestMeasuresAgainstLoops compares every column with loops over single
// weights, from both forms of a dump.
func TestMeasuresAgainstLoops(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		t.Run(string(store), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.attn")
			dumpstest.WithValues(t, path, store, "exact", 2, rand.New(rand.NewPCG(1, 2)))
			cfg := methodConfig("snapkv")
			cfg.By = []By{ByLayer, ByHead, ByPrompt}
			cfg.Gram = func(_, _ int) []float64 { // of twice the identity: the same relative error
				g := make([]float64, dumpstest.Dim*dumpstest.Dim)
				for d := range dumpstest.Dim {
					g[d*dumpstest.Dim+d] = 4
				}
				return g
			}
			rows, _, err := Methods(context.Background(), []string{path}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			r, err := dumps.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if want := 2 * dumpstest.Layers * dumpstest.Heads; len(rows) != want {
				t.Fatalf("%d rows, want %d", len(rows), want)
			}
			for _, row := range rows {
				prompt := 0
				if row.Prompt == "p1" {
					prompt = 1
				}
				l, err := ReadLayer(r, prompt, row.Layer)
				if err != nil {
					t.Fatal(err)
				}
				h := row.Head
				keep := slowSnapKV(l.Rows[h*l.N*l.Len:(h+1)*l.N*l.Len], l.N, l.Len)
				m := slowMeasures(l, h, keep)
				for _, c := range []struct {
					name      string
					got, want float64
				}{
					{"Mass", row.Mass, m["mass"]},
					{"MassOfOracle", row.MassOfOracle, m["mass"] / m["best"]},
					{"HitRate", row.HitRate, m["hits"] / m["significant"]},
					{"Recall", row.Recall, m["recall"]},
					{"Jaccard", row.Jaccard, m["jaccard"]},
					{"Coverage", row.Coverage, m["mass"] / m["prefix"]},
					{"OutputError", row.OutputError, m["error"]},
					{"OutputErrorWO", row.OutputErrorWO, m["error"]},
					{"CacheBytes", row.CacheBytes, testCapacity * 2 * dumpstest.Dim * 4},
				} {
					if math.Abs(c.got-c.want) > 1e-5*math.Max(1, c.want) {
						t.Errorf("prompt %s, layer %d, head %d: %s %g, want %g", row.Prompt, row.Layer, h, c.name, c.got, c.want)
					}
				}
			}
		})
	}
}

// TestNoMethodBeatsItsOracle holds for every method that a random dump has the
// data for, with the budgets each head really got.
func TestNoMethodBeatsItsOracle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, "factors", "exact", 3, rand.New(rand.NewPCG(5, 6)))
	cfg := methodConfig(snapkv.MethodNames()...)
	cfg.Lenient, cfg.By = true, []By{ByLayer, ByHead, ByPrompt}
	whole := cfg.Configs[0]
	whole.Capacity = 1 << 20 // at which a method that lacks data would keep everything
	cfg.Configs = append(cfg.Configs, whole)
	rows, warnings, err := Methods(context.Background(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	warnings = Without(warnings, NothingDropped)
	var left []string
	for _, w := range warnings {
		if w.Kind != LeftOut {
			t.Errorf("warning %v, want only methods that are left out", w)
		}
		left = append(left, w.Method)
	}
	slices.Sort(left) // no head scores, or not all queries
	if want := []string{"compactor", "duoattention", "headkv", "noncausal"}; !slices.Equal(left, want) {
		t.Errorf("left out: %q, want %q", left, want)
	}
	seen := map[string]bool{}
	for _, row := range rows {
		seen[row.Method] = true
		bound := snapkv.RoleOf(row.Method) == snapkv.Bound
		if v := row.MassOfOracle; v > 1+1e-12 || bound && v < 1-1e-12 {
			t.Errorf("%+v: %g of the oracle's mass", row, v)
		}
	}
	if len(seen) != len(snapkv.Methods)-len(left) {
		t.Errorf("%d methods in the rows, want %d", len(seen), len(snapkv.Methods)-len(left))
	}
}

// TestMethodsDoNotDependOnOrder compares a run of several settings with
// one run for each.
func TestMethodsDoNotDependOnOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, "factors", "fine", 2, rand.New(rand.NewPCG(7, 8)))
	all := methodConfig("cake", "snapkv", "pyramidkv")
	other := all.Configs[0]
	other.Capacity, other.Kernel = 20, 1
	all.Configs = append(all.Configs, other)
	together, _, err := Methods(context.Background(), []string{path}, all)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, m := range all.Methods {
		for _, c := range all.Configs {
			one := all
			one.Methods, one.Configs = []snapkv.Method{m}, []snapkv.Config{c}
			alone, _, err := Methods(context.Background(), []string{path}, one)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprint(alone[0]), fmt.Sprint(together[i]); got != want {
				t.Errorf("%s alone gives %s, together %s", m.Name, got, want)
			}
			i++
		}
	}
}

// TestSkippedMeasures: what is skipped is NaN, and the rest does not change.
func TestSkippedMeasures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, "factors", "fine", 2, rand.New(rand.NewPCG(7, 8)))
	cfg := methodConfig("cake", "snapkv", "pyramidkv")
	whole, _, err := Methods(context.Background(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.SkipOracle = true
	cfg.SkipOutputs = true
	var last Progress
	cfg.Progress = func(p Progress) { last = p }
	fast, _, err := Methods(context.Background(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range whole {
		got := fast[i]
		if row.OutputError == 0 || math.IsNaN(row.OutputError) || !math.IsNaN(got.OutputError) ||
			!math.IsNaN(got.MassOfOracle) || !math.IsNaN(got.Recall) || !math.IsNaN(got.Jaccard) {
			t.Errorf("row %d: %+v", i, got)
		}
		if got.Mass != row.Mass || got.HitRate != row.HitRate || got.Coverage != row.Coverage || got.CacheBytes != row.CacheBytes {
			t.Errorf("row %d: %+v, want %+v", i, got, row)
		}
	}
	if last.Done != last.Total || last.Total == 0 || last.Path != path {
		t.Errorf("last progress %+v", last)
	}
}

// TestMethodTableHasEveryFieldInItsColumn gives every field a value of its own.
func TestMethodTableHasEveryFieldInItsColumn(t *testing.T) {
	row := MethodRow{
		Key:    Key{Model: "m", Dataset: "d", Prompt: "p", Layer: 1, Head: 2, Window: 3, Span: 4, Top: 5, Budget: 6, Theta: 7},
		Method: "snapkv", Capacity: 8, Kernel: 9, Pooling: snapkv.MaxPool, Group: snapkv.GroupSum,
		Mass: 10, MassOfOracle: 11, HitRate: 12, Recall: 13, Jaccard: 14, Coverage: 15, OutputError: 16, OutputErrorWO: 17,
		CacheBytes: 18, Prompts: 19, Low: 20, High: 21, CacheRatio: 22,
	}
	var got strings.Builder
	if err := MethodTable([]MethodRow{row}).Write(&got, "csv"); err != nil {
		t.Fatal(err)
	}
	want := "model,dataset,prompt,layer,head,window,span,top,budget,theta,method,capacity,kernel,pooling,group," +
		"mass,mass_of_oracle,hit_rate,recall,jaccard,coverage,output_error,output_error_wo,cache_bytes,prompts,mass_low,mass_high,cache_ratio\n" +
		"m,d,p,1,2,3,4,5,6,7,snapkv,8,9,maxpool,sum,10,11,12,13,14,15,16,17,18,19,20,21,22\n"
	if got.String() != want {
		t.Errorf("table\n%swant\n%s", got.String(), want)
	}
}
