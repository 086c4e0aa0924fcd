package decode_test

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis/decode"
)

func ExampleParseBudget() {
	for _, text := range []string{"512", "12.5%", "4bit"} {
		budget, _ := decode.ParseBudget(text)
		fmt.Println(budget, budget.Positions, budget.Percent, budget.Bits)
	}
	// Output:
	// 512 512 0 0
	// 12.5% 0 12.5 0
	// 4bit 0 0 4
}
