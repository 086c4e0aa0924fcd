package capture_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
)

// Record what a tiny model with two layers of four heads attends to, and read one
// row: how much the first token of the reply attends to the eight tokens of the prompt
// and to itself, in head 0 of layer 1.
func Example() {
	ctx := context.Background()
	src, err := capture.Open(ctx, "../engine/model/testdata/qwen3", capture.Options{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	if err := src.Load(ctx); err != nil {
		log.Fatal(err)
	}

	plan := dumps.Plan{
		Layers: []int{1}, Heads: []int{0, 3}, // these alone are recorded
		WindowRows:   4, // the last four rows of the prompt
		MaxNewTokens: 3,
		IgnoreEOS:    true,
		Precision:    dumps.Fine,
	}
	list := []prompts.Prompt{{ID: "counting", Tokens: []int32{3, 14, 15, 92, 65, 35, 89, 79}}}
	header, err := capture.NewHeader(src, plan, list, dumps.Manifest{Program: "example"})
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "capture")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "run.attn")
	summary, err := capture.Run(ctx, capture.Config{Model: src.Model, Prompts: list, Out: out, Header: header})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(summary.PromptTokens, "prompt tokens,", summary.Replies, "reply tokens")

	dump, err := dumps.Open(out)
	if err != nil {
		log.Fatal(err)
	}
	defer dump.Close()
	reply, err := dump.Weights(0, 1, dumps.Decode) // prompt 0, layer 1, [head, query, key]
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d rows of %d keys; the first: %.2f\n", reply.Rows, reply.Keys, reply.Head(0)[:9])
	// Output:
	// 8 prompt tokens, 3 reply tokens
	// 3 rows of 11 keys; the first: [0.01 0.00 0.01 0.00 0.00 0.00 0.00 0.97 0.01]
}
