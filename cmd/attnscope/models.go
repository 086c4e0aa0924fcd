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
		Name:  "models",
		Usage: "list what can be run: architectures, position encodings, weights, tokenizers",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("models: unexpected argument %q; attnscope pull fetches a model, attnscope info -m describes one", c.Args().First())
			}
			return listModels(c)
		},
	}
}

func listModels(c *cli.Context) error {
	type arch struct {
		Name  string `json:"name"`
		About string `json:"about"`
		GGUF  string `json:"gguf,omitempty"`
	}
	var list []arch
	for _, a := range model.Architectures {
		list = append(list, arch{a.Name, a.About, a.GGUF})
	}
	tokenizers := []string{"tokenizer.json (BPE, unigram)", "tokenizer.model (SentencePiece BPE, unigram)", "GGUF vocabularies gpt2, llama, t5"}
	if c.Bool("json") {
		return printJSON(c, map[string]any{"architectures": list, "rope": model.RopeKinds, "safetensors": tensor.FloatTypes(), "gguf": tensor.BlockTypes(), "tokenizers": tokenizers, "gguf_pre": tokenizer.GGUFPres()})
	}
	w := c.App.Writer
	for _, a := range list {
		gguf := ""
		if a.GGUF != "" {
			gguf = "; GGUF: " + a.GGUF
		}
		fmt.Fprintf(w, "%-14s %s%s\n", a.Name, a.About, gguf)
	}
	fmt.Fprintf(w, "\nrope           %s\nsafetensors    %s\nGGUF           these and %s\ntokenizers     %s\nGGUF's pre     %s\n", strings.Join(model.RopeKinds, ", "),
		strings.Join(tensor.FloatTypes(), ", "), strings.Join(tensor.BlockTypes(), ", "), strings.Join(tokenizers, "; "), strings.Join(tokenizer.GGUFPres(), ", "))
	return nil
}

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:        "pull",
		Usage:       "fetch a model into the hub's shared cache and print where it is",
		ArgsUsage:   "OWNER/NAME | OWNER/NAME:FILE.gguf | smollm2-135m",
		Description: "HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are those of the hub's own client. What broke off goes on; every file is compared\nwith its hash.",
		Flags:       []cli.Flag{revisionFlag, offlineFlag},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usagef("pull: name one model")
			}
			path, err := resolveModel(c, c.Args().First())
			if err != nil {
				return err
			}
			fmt.Fprintln(c.App.Writer, path)
			return nil
		},
	}
}
