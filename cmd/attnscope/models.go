package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

func modelsCommand() *cli.Command {
	return &cli.Command{
		Name:   "models",
		Usage:  "list the supported architectures, position encodings, weight types and tokenizers",
		Flags:  []cli.Flag{boolFlag("json", "print JSON")},
		Action: runModels,
	}
}

type architectureInfo struct {
	Name  string `json:"name"`
	About string `json:"about"`
	GGUF  string `json:"gguf,omitempty"`
}

func runModels(c *cli.Context) error {
	if c.Args().Present() {
		return hintf(usagef("models: unexpected argument %q", c.Args().First()),
			"attnscope pull fetches a model, attnscope info -m describes one")
	}
	var list []architectureInfo
	for _, a := range model.Architectures {
		list = append(list, architectureInfo{a.Name, a.About, a.GGUF})
	}
	tokenizers := []string{
		"tokenizer.json (BPE, unigram)", "tokenizer.model (SentencePiece BPE, unigram)", "GGUF vocabularies gpt2, llama, t5",
	}
	if c.Bool("json") {
		return printJSON(c, map[string]any{
			"architectures": list, "rope": model.RopeKinds, "safetensors": tensor.FloatTypes(), "gguf": tensor.BlockTypes(),
			"tokenizers": tokenizers, "gguf_pre": tokenizer.GGUFPres(),
		})
	}
	w := c.App.Writer
	for _, a := range list {
		gguf := ""
		if a.GGUF != "" {
			gguf = "; GGUF: " + a.GGUF
		}
		fmt.Fprintf(w, "%-14s %s%s\n", a.Name, a.About, gguf)
	}
	fmt.Fprintf(w, "\nrope           %s\n", strings.Join(model.RopeKinds, ", "))
	fmt.Fprintf(w, "safetensors    %s\n", strings.Join(tensor.FloatTypes(), ", "))
	fmt.Fprintf(w, "GGUF           these and %s\n", strings.Join(tensor.BlockTypes(), ", "))
	fmt.Fprintf(w, "tokenizers     %s\n", strings.Join(tokenizers, "; "))
	fmt.Fprintf(w, "GGUF's pre     %s\n", strings.Join(tokenizer.GGUFPres(), ", "))
	return nil
}
