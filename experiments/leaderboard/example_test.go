package leaderboard_test

import (
	"fmt"

	"github.com/attnscope/attnscope/experiments/leaderboard"
)

func ExampleParseBudget() {
	for _, text := range []string{"512", "12.5%"} {
		budget, _ := leaderboard.ParseBudget(text)
		fmt.Println(budget, budget.Capacity(4000))
	}
	// Output:
	// 512 512
	// 12.5% 500
}
