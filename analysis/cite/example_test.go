package cite_test

import (
	"fmt"
	"os"

	"github.com/attnscope/attnscope/analysis/cite"
)

func Example() {
	var list cite.List
	list.Model("owner/model", "0123abcd", "")
	list.Remark("the prompts are our own")
	if err := list.Write(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// @misc{model-owner-model,
	//   title = {{owner/model}},
	//   author = {{owner}},
	//   url = {https://huggingface.co/owner/model},
	//   note = {revision 0123abcd},
	// }
	//
	// % the prompts are our own
}
