package main

import (
	"encoding/json"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
)

func tokenizeCommand() *cli.Command {
	return &cli.Command{
		Name:      "tokenize",
		Usage:     "print the tokens of prompts",
		ArgsUsage: "-m MODEL -p PROMPTS",
		Description: "Tokenize prints a JSON object per prompt: id, input_ids and pieces, the text of each token. The\n" +
			"model's weights are not needed.",
		Flags:  append([]cli.Flag{modelFlag, revisionFlag, offlineFlag, ignoreConfigFlag, promptsFlag}, promptFlags...),
		Action: runTokenize,
	}
}

func runTokenize(c *cli.Context) error {
	switch {
	case c.Args().Present():
		return misplaced("tokenize", c.Args().First())
	case !c.IsSet("prompts"):
		return noPrompts("tokenize")
	}
	tok, err := capture.OpenTokenizer(c.Context, c.String("model"), modelOptions(c, c.String("model")))
	if err != nil {
		return err
	}
	list, _, err := readPrompts(c, tok)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(c.App.Writer)
	enc.SetEscapeHTML(false)
	for _, p := range list {
		pieces := make([]string, len(p.Tokens))
		for i, id := range p.Tokens {
			pieces[i] = tok.Piece(id)
		}
		line := struct {
			ID     string   `json:"id"`
			IDs    []int32  `json:"input_ids"`
			Pieces []string `json:"pieces"`
		}{p.ID, p.Tokens, pieces}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
