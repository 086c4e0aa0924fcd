package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/checkpoint"
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
	GGUF  string `json:"gguf,omitempty"` // general.architecture; empty: not read from GGUF files
	Card  bool   `json:"card"`           // whether cards run models of the family
	// OffCard says why cards run none.
	OffCard string `json:"off_card,omitempty"`
}

func runModels(c *cli.Context) error {
	if c.Args().Present() {
		return hintf(usagef("models: unexpected argument %q", c.Args().First()),
			"attnscope pull fetches a model, attnscope info -m describes one")
	}
	var list []architectureInfo
	for _, a := range model.Architectures {
		list = append(list, architectureInfo{
			Name:    a.Name,
			About:   a.About,
			GGUF:    cmp.Or(a.GGUF, a.SharedGGUF),
			Card:    a.OffCard == "",
			OffCard: a.OffCard,
		})
	}
	tokenizers := []string{
		"tokenizer.json (BPE, unigram)", "tokenizer.model (SentencePiece BPE, unigram)", "GGUF vocabularies gpt2, llama, t5",
	}
	if c.Bool("json") {
		return printJSON(c, map[string]any{
			"architectures": list, "rope": model.RopeKinds, "safetensors": tensor.FloatTypes(), "quantization": checkpoint.Methods, "gguf": tensor.BlockTypes(),
			"tokenizers": tokenizers, "gguf_pre": tokenizer.GGUFPres(),
		})
	}
	w := c.App.Writer
	var methods []string
	for _, m := range checkpoint.Methods {
		methods = append(methods, string(m))
	}
	var lacking []string
	fmt.Fprintf(w, "%-19s %-13s %-4s %s\n", "model_type", "GGUF", "card", "models")
	for _, a := range list {
		if a.GGUF == "" {
			lacking = append(lacking, a.Name)
		}
		card := "yes"
		if !a.Card {
			card = "no"
		}
		fmt.Fprintf(w, "%-19s %-13s %-4s %s\n", a.Name, cmp.Or(a.GGUF, "none"), card, indented(strings.Fields(a.About), 39))
	}
	fmt.Fprintf(w, "\n%d families, all read from safetensors; not from GGUF files: %s\n", len(list), strings.Join(lacking, ", "))
	fmt.Fprint(w, "docs/MODELS.md says why cards do not run a family, and what each family is checked against.\n\n")
	for _, l := range []struct {
		name  string
		items []string
		sep   string
	}{
		{"rope", model.RopeKinds, ", "},
		{"safetensors", tensor.FloatTypes(), ", "},
		{"quantized", methods, ", "},
		{"GGUF types", slices.Concat(tensor.FloatTypes(), tensor.BlockTypes()), ", "},
		{"tokenizers", tokenizers, "; "},
		{"GGUF's pre", tokenizer.GGUFPres(), ", "},
	} {
		fmt.Fprintf(w, "%-13s %s\n", l.name, indented(strings.Fields(strings.Join(l.items, l.sep)), 14))
	}
	return nil
}

// indented joins words to lines of at most 80 columns; the lines after the first are
// indented.
func indented(words []string, indent int) string {
	var b strings.Builder
	column := indent
	for i, word := range words {
		switch {
		case i == 0:
		case column+1+len(word) > 80:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
