package answers_test

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis/answers"
)

func ExampleScorer_Score() {
	references := []string{"the Eiffel Tower"}
	fmt.Println(answers.QAF1.Score("Eiffel tower in Paris", references, nil))
	fmt.Println(answers.MatchAll.Score("It is the eiffel tower.", references, nil))
	// Output:
	// 0.6666666666666666
	// 1
}
