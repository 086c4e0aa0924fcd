package leaderboard_test

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/experiments/leaderboard"
)

func ExampleBoard_Rows() {
	run := &leaderboard.BoardRun{}
	for sample, score := range []float64{1, 0.5} {
		run.Answers = append(run.Answers, &leaderboard.Answer{Task: "lines", Length: 4096, Sample: sample, Results: []leaderboard.Result{
			{Method: "full", Score: 1},
			{Method: "snapkv", Budget: decode.Budget{Percent: 10}, Score: score},
		}})
	}
	board := leaderboard.Board{Runs: []*leaderboard.BoardRun{run}}
	for _, r := range board.Rows(leaderboard.RowOptions{Seed: 1}) {
		fmt.Println(r.Task, r.Budget, r.Method, r.Score, r.Loss)
	}
	// Output:
	// lines all full 1 0
	// lines 10% snapkv 0.75 0.25
}
