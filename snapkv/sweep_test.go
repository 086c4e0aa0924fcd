package snapkv

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"weak"
)

// sweepConfigs differ in kernel, group and capacity; capacity 200 passes through.
func sweepConfigs() []Config {
	var list []Config
	for _, kernel := range []int{1, 5} {
		for _, group := range []Group{GroupHead, GroupMax} {
			for _, capacity := range []int{28, 200, 12, 40} {
				c := testConfig(capacity)
				c.Kernel = kernel
				c.Group = group
				list = append(list, c)
			}
		}
	}
	return list
}

// randomSource gives four random layers and counts how often each is read.
func randomSource(reads *[4]int) Source {
	return Source{
		Len: 90, Layers: 4, Recorded: []int{0, 1, 2, 3},
		Read: func(_ context.Context, layer int, _ Needs) (*Layer, error) {
			reads[layer]++
			l := randomLayer(uint64(30 + layer))
			l.Index = layer
			return l, nil
		},
	}
}

// TestSweepForgetsScores selects under many kernels and groups, and counts the lists of
// scores that are in memory: those of selections that are done are not.
func TestSweepForgetsScores(t *testing.T) {
	var lock sync.Mutex
	var scores []weak.Pointer[float64]
	method := Method{Name: "counted", Score: func(l *Layer, c Config) ([][]float64, error) {
		list := make([][]float64, l.Heads)
		for h := range list {
			list[h] = make([]float64, l.Len-c.Window)
		}
		lock.Lock()
		defer lock.Unlock()
		scores = append(scores, weak.Make(&list[0][0]))
		return list, nil
	}}
	var configs []Config
	for kernel := 1; kernel <= 79; kernel += 2 {
		for _, group := range []Group{GroupHead, GroupMean} {
			c := testConfig(28)
			c.Kernel = kernel
			c.Group = group
			configs = append(configs, c)
		}
	}
	entries, err := Entries([]Method{method}, configs)
	if err != nil {
		t.Fatal(err)
	}
	var reads [4]int
	src := randomSource(&reads)
	sweep, err := NewSweep(t.Context(), src, entries)
	if err != nil {
		t.Fatal(err)
	}
	l, err := src.Read(t.Context(), 0, Needs{})
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	most := 0
	sweep.Select(l, nil, func(_ int, _ [][]int32, err error) {
		if err != nil {
			t.Error(err)
		}
		lock.Lock() // before the collection: a pointer that is read during one keeps its scores
		defer lock.Unlock()
		runtime.GC()
		n := 0
		for _, p := range scores {
			if p.Value() != nil {
				n++
			}
		}
		most = max(most, n)
	})
	if len(scores) != 40 || most > 6 { // two workers have one each; a stack can hold another for a while
		t.Errorf("scores were computed %d times, want 40, and %d of them were in memory at once, on 2 cores", len(scores), most)
	}
}

// TestSweepSelectsAsEachMethodAlone compares every entry of a sweep with the budgets
// of its layers, computed here, and with Method.Select.
func TestSweepSelectsAsEachMethodAlone(t *testing.T) {
	var reads [4]int
	src := randomSource(&reads)
	entries, err := Entries(Methods, sweepConfigs())
	if err != nil {
		t.Fatal(err)
	}
	sweep, err := NewSweep(t.Context(), src, entries)
	if err != nil {
		t.Fatal(err)
	}
	if reads != [4]int{1, 1, 1, 1} {
		t.Errorf("layers were read %v times for the budgets, want each once", reads)
	}
	for _, layer := range src.Recorded {
		l, err := src.Read(t.Context(), layer, sweep.Needs())
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, len(entries))
		sweep.Select(l, nil, func(i int, keep [][]int32, err error) { got[i] = fmt.Sprint(keep, err) })
		for i, e := range entries {
			stats := make([]float64, src.Layers)
			for at := range stats {
				if e.Method.LayerStat != nil {
					other, _ := src.Read(t.Context(), at, e.Method.Needs)
					stats[at] = e.Method.LayerStat(other, e.Config)
				}
			}
			keep, err := e.Method.Select(l, e.Config, e.Method.LayerBudgets(stats, src.Len, e.Config)[layer])
			if e.Method.Name == "headkv" && e.Config.Group.Merges() {
				continue // the config scores query heads: TestSweepReportsErrors has errors
			}
			if want := fmt.Sprint(keep, err); got[i] != want {
				t.Errorf("%s, %+v, layer %d: %.80s, want %.80s", e.Method.Name, e.Config, layer, got[i], want)
			}
		}
	}
}

// TestSweepRanksOnce: scores are computed once for all capacities and groups, unless the
// method's scores depend on them.
func TestSweepRanksOnce(t *testing.T) {
	for _, test := range []struct {
		byCapacity, byGroup bool
		want                int
	}{
		{false, false, 2}, // two kernels
		{false, true, 4},  // and two groups
		{true, true, 12},  // and the three capacities that drop anything
	} {
		var mu sync.Mutex
		ranked := 0
		m := snapKV
		m.ByCapacity = test.byCapacity
		m.ByGroup = test.byGroup
		m.Score = func(l *Layer, c Config) ([][]float64, error) {
			mu.Lock()
			ranked++
			mu.Unlock()
			return pooledVotes(l, c)
		}
		entries, err := Entries([]Method{m}, sweepConfigs())
		if err != nil {
			t.Fatal(err)
		}
		var reads [4]int
		src := randomSource(&reads)
		sweep, err := NewSweep(t.Context(), src, entries)
		if err != nil {
			t.Fatal(err)
		}
		sweep.Select(randomLayer(1), nil, func(int, [][]int32, error) {})
		if ranked != test.want {
			t.Errorf("by capacity %v, by group %v: ranked %d times, want %d",
				test.byCapacity, test.byGroup, ranked, test.want)
		}
		if reads != [4]int{} {
			t.Errorf("layers were read %v times, want none: no budget depends on them", reads)
		}
	}
}

// TestSweepReportsErrors: a method that fails is reported for each of its entries that
// drop anything and does not disturb the others; what is skipped is not visited.
func TestSweepReportsErrors(t *testing.T) {
	bad := errors.New("bad")
	fails := snapKV
	fails.Score = func(*Layer, Config) ([][]float64, error) { return nil, bad }
	entries, err := Entries([]Method{fails, snapKV}, []Config{testConfig(28), testConfig(12), testConfig(200)})
	if err != nil {
		t.Fatal(err)
	}
	var reads [4]int
	sweep, err := NewSweep(t.Context(), randomSource(&reads), entries)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]error, len(entries))
	visited := make([]bool, len(entries))
	sweep.Select(randomLayer(1), func(i int) bool { return i == 4 }, func(i int, _ [][]int32, err error) {
		visited[i] = true
		got[i] = err
	})
	for i := range entries {
		if visited[i] != (i != 4) {
			t.Errorf("entry %d: visited %v", i, visited[i])
		}
		if wantBad := i < 2; wantBad != errors.Is(got[i], bad) || !wantBad && got[i] != nil { // entry 2 keeps everything
			t.Errorf("entry %d: error %v", i, got[i])
		}
	}
	if _, err := Entries(Methods, []Config{{Window: 8, Capacity: 8}}); err == nil {
		t.Error("a config that makes no sense: no error")
	}
}
