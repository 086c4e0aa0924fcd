package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/cluster"
	"github.com/attnscope/attnscope/viz"
)

// quietFlag is a flag of every verb.
var quietFlag = &cli.BoolFlag{
	Name: "quiet", Aliases: []string{"q"}, DisableDefaultText: true,
	Usage: "print neither progress nor the next command",
}

// quietly is the stderr of a verb with --quiet.
type quietly struct{ io.Writer }

// followed wraps the action of a verb: it obeys --quiet and, after a success, prints on a
// terminal the command that users run next. Scripts and logs do not get it.
func followed(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Bool("quiet") {
			c.App.ErrWriter = quietly{c.App.ErrWriter}
		}
		err := action(c)
		if err != nil || screenOf(c.App.ErrWriter) == nil {
			return err
		}
		if next := nextCommand(c); next != nil {
			for i, word := range next {
				next[i] = cluster.Quote(word)
			}
			fmt.Fprintf(c.App.ErrWriter, "attnscope: next: attnscope %s\n", strings.Join(next, " "))
		}
		return nil
	}
}

// nextKey is the key of a next command that a verb has chosen, in an app's metadata.
const nextKey = "next"

// suggest sets the next command, which otherwise nextCommand chooses.
func suggest(c *cli.Context, words ...string) { c.App.Metadata[nextKey] = words }

// nextCommand returns the arguments of the next command, or nil if there is none.
func nextCommand(c *cli.Context) []string {
	if words, ok := c.App.Metadata[nextKey].([]string); ok {
		return words
	}
	if c.Bool("dry-run") {
		isFlag := func(a string) bool { return a == "--dry-run" || a == "-dry-run" }
		return slices.DeleteFunc(slices.Clone(commandOf(c)), isFlag)
	}
	if choose := nextCommands[c.Command.Name]; choose != nil {
		return choose(c)
	}
	return nil
}

// nextCommands has a function for each verb that something follows.
var nextCommands = map[string]func(c *cli.Context) []string{
	"demo":    afterDemo,
	"capture": func(c *cli.Context) []string { return []string{"hitrate", c.String("o")} },
	"submit":  func(c *cli.Context) []string { return []string{"hitrate", c.String("o")} },
	"merge":   func(c *cli.Context) []string { return []string{"hitrate", c.String("o")} },
	"info":    afterInfo,
	"verify":  onDumps("hitrate"),
	"repair":  onDumps("verify"),
	"hitrate": onDumps("snapkv", "--method", "all", "--capacity", "128,256,512,1024"),
	"snapkv":  afterSnapKV,
	"generate": func(c *cli.Context) []string {
		return citeOr(c, "reproduce", "methods", "-m", c.String("model"), "--dry-run")
	},
	"leaderboard": afterLeaderboard,
	"reproduce":   func(c *cli.Context) []string { return []string{"cite", c.String("o")} },
	"heatmap":     onDumps("view"),
	"figure":      afterFigure,
	"report":      onDumps("view"),
	"export":      onDumps("cite"),
	"tokenize": func(c *cli.Context) []string {
		words := []string{"capture", "-m", c.String("model"), "-p", c.String("prompts"), "-o", "run.attn"}
		return append(words, carriedFlags(commandOf(c))...)
	},
	"models": func(c *cli.Context) []string { return []string{"info", "-m", "MODEL"} },
	"pull": func(c *cli.Context) []string {
		return []string{"capture", "-m", c.Args().First(), "-p", "prompts.jsonl", "-o", "run.attn"}
	},
}

// onDumps returns a command about the dumps of the command line.
func onDumps(verb string, flags ...string) func(c *cli.Context) []string {
	return func(c *cli.Context) []string {
		return slices.Concat([]string{verb}, c.Args().Slice(), flags)
	}
}

// citeOr cites the table of -o; without -o, it is another command.
func citeOr(c *cli.Context, other ...string) []string {
	if out := c.String("o"); out != "" && filepath.Ext(out) != ".parquet" && filepath.Ext(out) != ".tex" {
		return []string{"cite", out}
	}
	return other
}

// afterDemo shows the dump, unless the demo has shown it.
func afterDemo(c *cli.Context) []string {
	dump := filepath.Join(c.String("o"), "run.attn")
	if c.Bool("open") {
		return []string{"snapkv", dump, "--method", "all", "--capacity", "64,128"}
	}
	return []string{"view", dump}
}

func afterInfo(c *cli.Context) []string {
	switch {
	case c.Args().Present():
		return onDumps("hitrate")(c)
	case c.IsSet("model"):
		return []string{"capture", "-m", c.String("model"), "-p", "prompts.jsonl", "-o", "run.attn"}
	}
	return nil
}

// afterSnapKV asks for advice, unless the selection was of tensors in a file.
func afterSnapKV(c *cli.Context) []string {
	if !c.Args().Present() {
		return nil
	}
	return append(onDumps("advise")(c), "--loss", "25%")
}

func afterFigure(c *cli.Context) []string {
	out := c.String("o")
	if out == "" {
		out = filepath.Base(c.String("from"))
	}
	if c.Bool("print") || !slices.Contains(viz.Formats, strings.TrimPrefix(filepath.Ext(out), ".")) {
		return nil
	}
	return []string{"cite", out}
}

// afterLeaderboard shows the results on a page, unless that was written.
func afterLeaderboard(c *cli.Context) []string {
	if c.IsSet("page") {
		return nil
	}
	files := c.Args().Slice()
	if c.IsSet("model") {
		files = []string{c.String("o")}
	}
	return slices.Concat([]string{"leaderboard"}, files, []string{"--page", "board.html"})
}

// carriedFlags returns the flags of a command line with which another verb reads the same
// prompts, runs the model in the same way and decodes replies of the same length.
func carriedFlags(command []string) []string {
	takesValue := map[string]bool{"max-new-tokens": true, "ignore-eos": false}
	for _, f := range append(slices.Clone(promptFlags), revisionFlag, offlineFlag, ignoreConfigFlag, computeFlag) {
		_, isBool := f.(*cli.BoolFlag)
		takesValue[f.Names()[0]] = !isBool
	}
	var flags []string
	for i, word := range command {
		name, _, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
		value, known := takesValue[name]
		switch {
		case !known || !strings.HasPrefix(word, "-"):
		case joined || !value:
			flags = append(flags, word)
		case i+1 < len(command):
			flags = append(flags, word, command[i+1])
		}
	}
	return flags
}
