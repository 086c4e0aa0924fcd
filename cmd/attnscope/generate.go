package main

import (
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/internal/outfile"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "decode from compressed caches, and compare with the full cache",
		ArgsUsage: "-m MODEL -p PROMPTS",
		Description: "Prints a JSON line for each prompt and cache, the full cache first. The reply that all caches are scored on is\n" +
			"the prompt's own where it has one, else what the full cache generates. Decoding is greedy.",
		Flags: slices.Concat([]cli.Flag{modelFlag, revisionFlag, offlineFlag, promptsFlag}, methodFlags, []cli.Flag{
			&cli.IntFlag{Name: "max-new-tokens", Value: 128, Usage: "reply tokens generated, `G`"},
			&cli.BoolFlag{Name: "ignore-eos", Usage: "go on generating after an end-of-sequence token"},
			&cli.StringFlag{Name: "score", Value: "f1", Usage: "score of the answer: " + strings.Join(decode.Scores, ", ")},
			&cli.IntFlag{Name: "batch", Value: 1, Usage: "compressed caches that decode at once, `N`; above 1 decode_tok_s and peak_bytes of one are not known"},
			&cli.BoolFlag{Name: "summary", Usage: "a table over the prompts instead of a line for each"},
		}, promptFlags, []cli.Flag{computeFlag, deviceFlag, threadsFlag, &cli.Uint64Flag{Name: "seed", Usage: "`SEED` of random and of the intervals"}}, tableFlags),
		Action: runGenerate,
	}
}

func runGenerate(c *cli.Context) error {
	switch {
	case c.Args().Present():
		return usagef("generate: unexpected argument %q: the model goes to -m, the prompts to -p", c.Args().First())
	case !c.IsSet("prompts"):
		return usagef("generate: no prompts: name a file with -p (JSONL, one object a line)")
	case c.Int("max-new-tokens") < 1:
		return usagef("--max-new-tokens %d: want 1 or more", c.Int("max-new-tokens"))
	case !slices.Contains(decode.Scores, c.String("score")):
		return usagef("--score %q: want %s", c.String("score"), strings.Join(decode.Scores, ", "))
	}
	s, err := selectionsOf(c)
	if err != nil {
		return err
	}
	if c.Bool("summary") {
		err = checkTable(c)
	} else {
		err = checkOutput(c.String("o"), c.Bool("force"), false)
	}
	if err != nil {
		return err
	}
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	list, err := readPrompts(c, src.Tokenizer)
	if err != nil {
		return err
	}
	if err := loadSource(src); err != nil {
		return err
	}
	cfg := decode.Config{
		Model: src.Model, Prompts: list, Methods: s.methods, Configs: s.configs, MaxNewTokens: c.Int("max-new-tokens"),
		IgnoreEOS: c.Bool("ignore-eos"), FollowWhole: !c.IsSet("max-new-tokens"), Score: c.String("score"), Lenient: s.all, Batch: c.Int("batch"),
		Warn: func(text string) { warnf(c, "%s", text) },
	}
	if src.Tokenizer != nil {
		cfg.Encode = func(text string) []int32 { return src.Tokenizer.Encode(text, false) }
		cfg.Decode = func(ids []int32) string { return src.Tokenizer.Decode(ids, true) }
	}
	bar := newBar(c.App.ErrWriter, "generate")
	cfg.Progress = bar.capture
	defer bar.close()
	if c.Bool("summary") {
		var all []decode.Result
		err := decode.Run(c.Context, cfg, func(r decode.Result) error {
			all = append(all, r)
			return nil
		})
		bar.close()
		if err != nil {
			return err
		}
		return writeTable(c, decode.Summary(all, c.Uint64("seed")))
	}
	return withOutput(c, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return decode.Run(c.Context, cfg, func(r decode.Result) error { return enc.Encode(r) })
	})
}

// withOutput writes to stdout, or beside -o and renames.
func withOutput(c *cli.Context, write func(io.Writer) error) error {
	out := c.String("o")
	if out == "" {
		return write(c.App.Writer)
	}
	return outfile.Write(out, write)
}
