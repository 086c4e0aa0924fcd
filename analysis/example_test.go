package analysis_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// dump is a small dump of random weights: layers 1 and 3, four query heads.
const dump = "../dumps/testdata/v1/factors-exact.attn"

func exampleConfig() snapkv.Config {
	return snapkv.Config{Window: 4, Capacity: 8, Kernel: 1, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
}

// What two methods keep, over all layers and heads.
func ExampleMethods() {
	cfg := analysis.MethodConfig{Configs: []snapkv.Config{exampleConfig()}, Thetas: []float64{0.05}}
	for _, name := range []string{"snapkv", "recent"} {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			log.Fatal(err)
		}
		cfg.Methods = append(cfg.Methods, m)
	}
	rows, warnings, err := analysis.Methods(context.Background(), []string{dump}, cfg)
	if err != nil {
		log.Fatal(err)
	}
	for _, w := range warnings {
		fmt.Println("warning:", w)
	}
	for _, r := range rows {
		fmt.Printf("%s keeps %.3f of the reply's weight, %.3f of what the oracle keeps\n", r.Method, r.Mass, r.MassOfOracle)
	}
	// Output:
	// snapkv keeps 0.224 of the reply's weight, 0.717 of what the oracle keeps
	// recent keeps 0.171 of the reply's weight, 0.547 of what the oracle keeps
}

// The positions that snapkv keeps of a prompt, for the heads of each layer.
func ExampleIndices() {
	r, err := dumps.Open(dump)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	m, err := snapkv.FindMethod("snapkv")
	if err != nil {
		log.Fatal(err)
	}
	layers, err := analysis.Indices(context.Background(), r, 0, m, exampleConfig())
	if err != nil {
		log.Fatal(err)
	}
	for i, keep := range layers {
		fmt.Println("layer", r.Header().Plan.Layers[i], keep)
	}
	// Output:
	// layer 1 [[7 8 14 15] [1 8 13 15] [2 8 18 19] [8 10 11 12]]
	// layer 3 [[0 13 17 18] [0 3 5 13] [0 7 8 11] [4 6 7 8]]
}

// Hit rates by layer, as a table.
func ExampleHitRates() {
	cfg := analysis.Paper
	cfg.Windows = []int{4}
	cfg.Tops = []float64{0.3}
	rows, _, err := analysis.HitRates(context.Background(), []string{dump}, cfg)
	if err != nil {
		log.Fatal(err)
	}
	t := analysis.HitRateTable(rows).Pick("layer", "window", "budget", "hits", "significant", "hit_rate", "chance")
	if err := t.Write(os.Stdout, "tsv"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// layer	window	budget	hits	significant	hit_rate	chance
	// 1	4	-1	116	268	0.432871	0.287654
	// 3	4	-1	149	300	0.51959	0.287654
}
