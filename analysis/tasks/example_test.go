package tasks_test

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis/tasks"
)

func ExampleFind() {
	list, _ := tasks.Find([]string{"lines", "vt"})
	for _, t := range list {
		fmt.Println(t.Name, t.Suite, t.Reply, t.Scorer)
	}
	// Output:
	// vt ruler 30 match_all
	// lines lines 16 match_all
}
