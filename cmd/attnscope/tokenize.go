package main

import (
	"encoding/json"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

func tokenizeCommand() *cli.Command {
	return &cli.Command{
		Name:      "tokenize",
		Usage:     "print the tokens of prompts, one JSON object a line: id, input_ids, pieces",
		ArgsUsage: "-m MODEL -p PROMPTS",
		Flags:     append([]cli.Flag{modelFlag, revisionFlag, offlineFlag, promptsFlag}, promptFlags...),
		Action:    runTokenize,
	}
}

func runTokenize(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("tokenize: unexpected argument %q: prompts go to -p", c.Args().First())
	}
	if !c.IsSet("prompts") {
		return usagef("tokenize: no prompts: name a file with -p (JSONL, one object a line)")
	}
	path, err := resolveModel(c, c.String("model"))
	if err != nil {
		return err
	}
	tok, err := tokenizer.Load(path)
	if err != nil {
		return err
	}
	list, err := readPrompts(c, tok)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(c.App.Writer)
	enc.SetEscapeHTML(false)
	for _, p := range list {
		line := struct {
			ID     string   `json:"id"`
			IDs    []int32  `json:"input_ids"`
			Pieces []string `json:"pieces"`
		}{p.ID, p.Tokens, make([]string, len(p.Tokens))}
		for i, id := range p.Tokens {
			line.Pieces[i] = tok.Piece(id)
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
