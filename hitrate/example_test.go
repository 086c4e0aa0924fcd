package hitrate_test

import (
	"fmt"

	"github.com/attnscope/attnscope/hitrate"
)

// One head reads a prompt of six tokens. Its last two rows are the observation window;
// the four positions before them are the prefix, of which half is kept.
func Example() {
	const prefix, keys = 4, 8
	window := [][]float64{
		{.4, .1, .3, .1, .1, 0},
		{.5, 0, .2, .1, .1, .1},
	}
	vote := make([]float64, prefix)
	for _, row := range window {
		for j := range vote {
			vote[j] += row[j]
		}
	}
	k := hitrate.Budget(0.5, prefix)
	keep := hitrate.Select(vote, k)
	fmt.Println("kept:", keep)

	reply := []float32{ // two generated tokens see the whole prompt and each other
		.60, .02, .08, .10, .05, .05, .10, 0,
		.02, .04, .30, .20, .04, .10, .20, .10,
	}
	lists := hitrate.Significant(reply, 2, keys, prefix, hitrate.PaperTheta)
	fmt.Println("significant:", lists)
	counts := hitrate.Count(lists, keep, k, 0, prefix)
	fmt.Printf("hit rate: %d of %d = %.2f\n", counts.Hits, counts.Significant, counts.Rate())
	// Output:
	// kept: [0 2]
	// significant: [[0 2 3] [2 3]]
	// hit rate: 3 of 5 = 0.60
}

func ExampleCount() {
	row := []float32{.50, .02, .30, .08}
	lists := hitrate.Significant(row, 1, 4, 4, 0.05) // positions 0, 2 and 3
	counts := hitrate.Count(lists, []int32{0, 3}, 2, 0, 4)
	fmt.Printf("%d of %d = %.2f\n", counts.Hits, counts.Significant, counts.Rate())
	// Output: 2 of 3 = 0.67
}
