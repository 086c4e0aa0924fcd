package snapkv_test

import (
	"context"
	"fmt"
	"log"

	"github.com/attnscope/attnscope/snapkv"
)

// exampleLayer has the weights of one head: the last two queries of a prompt of nine
// positions.
func exampleLayer() *snapkv.Layer {
	return &snapkv.Layer{
		Index: 0, Layers: 1, Heads: 1, KVHeads: 1, Len: 9, N: 2,
		Rows: []float32{
			0.30, 0.02, 0.20, 0.03, 0.02, 0.01, 0.02, 0.40, 0.00,
			0.35, 0.01, 0.04, 0.05, 0.25, 0.01, 0.04, 0.05, 0.20,
		},
	}
}

// Three of the seven prefix positions are kept: the first, and two with high votes.
func ExampleMethod_Select() {
	method, err := snapkv.FindMethod("snapkv")
	if err != nil {
		log.Fatal(err)
	}
	config := snapkv.Config{Window: 2, Capacity: 5, Kernel: 1, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
	keep, err := method.Select(exampleLayer(), config, config.Budget())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(keep)
	// Output: [[0 2 4]]
}

// Two methods under two capacities, on every layer of a prompt.
func ExampleSweep() {
	var methods []snapkv.Method
	for _, name := range []string{"snapkv", "recent"} {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			log.Fatal(err)
		}
		methods = append(methods, m)
	}
	small := snapkv.Config{Window: 2, Capacity: 4, Kernel: 1, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
	large := small
	large.Capacity = 6
	entries, err := snapkv.Entries(methods, []snapkv.Config{small, large})
	if err != nil {
		log.Fatal(err)
	}
	source := snapkv.Source{
		Len: 9, Layers: 1, Recorded: []int{0},
		Read: func(context.Context, int, snapkv.Needs) (*snapkv.Layer, error) { return exampleLayer(), nil },
	}
	ctx := context.Background()
	sweep, err := snapkv.NewSweep(ctx, source, entries)
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range source.Recorded {
		layer, err := source.Read(ctx, id, sweep.Needs())
		if err != nil {
			log.Fatal(err)
		}
		kept := make([][][]int32, len(entries)) // visit is called from several goroutines
		sweep.Select(layer, nil, func(i int, keep [][]int32, err error) {
			if err == nil {
				kept[i] = keep
			}
		})
		for i, e := range entries {
			fmt.Println("layer", id, e.Method.Name, e.Config.Capacity, kept[i])
		}
	}
	// Output:
	// layer 0 snapkv 4 [[0 4]]
	// layer 0 snapkv 6 [[0 2 3 4]]
	// layer 0 recent 4 [[5 6]]
	// layer 0 recent 6 [[3 4 5 6]]
}

// The average divides by the kernel at the two ends, too.
func ExamplePool() {
	pooled, err := snapkv.Pool([]float64{3, 0, 0, 6, 0}, 3, snapkv.AvgPool)
	fmt.Println(pooled, err)
	// Output: [1 1 2 2 2] <nil>
}
