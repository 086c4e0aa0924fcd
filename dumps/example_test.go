package dumps_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/dumps"
)

// A dump of one prompt of three tokens with a reply of one: one layer, one head, the
// last row of the prompt and the row of the reply.
func Example() {
	dir, err := os.MkdirTemp("", "dumps")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tiny.attn")
	if err := write(path); err != nil {
		log.Fatal(err)
	}

	r, err := dumps.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	fmt.Println("promised:", r.Header().Plan.Precision.Bound())
	for _, phase := range dumps.Phases {
		a, err := r.Weights(0, 0, phase) // prompt 0, layer 0
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: query %d attends to keys 0 to %d with %.2f\n", phase, a.Pos0, a.Keys-1, a.Head(0))
	}
	// Output:
	// promised: weights within 1e-4 + 5e-4 of the weight
	// prompt: query 2 attends to keys 0 to 2 with [0.25 0.00 0.75]
	// reply: query 3 attends to keys 0 to 3 with [0.50 0.25 0.05 0.20]
}

func write(path string) error {
	w, err := dumps.Create(path, &dumps.Header{
		Model: dumps.ModelInfo{ID: "tiny", Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 2, ValueDim: 2, Scale: 1},
		Plan: dumps.Plan{
			WindowRows: 1, MaxNewTokens: 1, Layers: []int{0}, Heads: []int{0},
			Store: dumps.StoreRows, Precision: dumps.Fine, NoPromptSums: true,
		},
	}, dumps.CreateOptions{})
	if err != nil {
		return err
	}
	prompt := dumps.Prompt{
		ID: "first", Tokens: []int32{7, 3, 9, 4}, PromptTokens: 3, ReplyTokens: 1, WindowRows: 1, Store: dumps.StoreRows,
	}
	pw, err := w.Begin(prompt)
	if err != nil {
		return err
	}
	for _, rows := range []dumps.Rows{
		{Phase: dumps.Prefill, Rows: 1, Keys: 3, Weights: []float32{.25, 0, .75}},
		{Phase: dumps.Decode, Rows: 1, Keys: 4, Weights: []float32{.5, .25, .05, .2}},
	} {
		if err := pw.Rows(rows); err != nil {
			return err
		}
	}
	if err := pw.Finish(prompt); err != nil {
		return err
	}
	return w.Close()
}
