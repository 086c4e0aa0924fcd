package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/analysis/tasks"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/experiments/leaderboard"
	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/snapkv"
)

func leaderboardCommand() *cli.Command {
	return &cli.Command{
		Name:      "leaderboard",
		Usage:     "score the answers from compressed caches to the tasks of RULER, LongBench and others",
		ArgsUsage: "-m MODEL --task LIST -o RUN.jsonl | RUN.jsonl...",
		Description: "With -m, leaderboard makes the prompts of each task by recipe, lets the model answer from\n" +
			"the full cache and from the cache of every method and budget, and records the answers in\n" +
			"RUN.jsonl. A run that was interrupted is continued by the same command with --resume, which also\n" +
			"adds tasks, methods and budgets. Without -m, it reads files of results together: shards of a run,\n" +
			"its further tasks, and other runs. In both cases it prints a table: the mean score, the loss\n" +
			"against the full cache prompt by prompt with a paired test, and the memory and speed of the\n" +
			"cache.\n\n" + taskHelp() + "\n\n" + presetHelp(),
		Flags: slices.Concat([]cli.Flag{
			modelOf("run `MODEL`: a folder in hub layout, a .gguf file, a hub id, or smollm2-135m"),
			revisionFlag, offlineFlag, ignoreConfigFlag,
			&cli.StringFlag{
				Name: "task", Value: "ruler,needle,lines",
				Usage: "run a comma-separated `LIST` of tasks or groups of tasks, or all",
			},
			&cli.IntSliceFlag{
				Name: "length", DefaultText: "4096",
				Usage: "make prompts that take up to `N` tokens with the reply (repeatable)",
			},
			&cli.IntFlag{Name: "samples", Value: 10, Usage: "make `N` prompts of each task and length"},
			&cli.StringSliceFlag{
				Name: "data", DefaultText: "documents that ship",
				Usage: "make prompts from `NAME=FILE`: " + strings.Join(dataNames, ", ") + " (repeatable)",
			},
			&cli.StringFlag{
				Name: "budget", Value: "10%,25%",
				Usage: "let caches keep " + budgetUsage,
			},
		}, withoutFlag(methodFlags, "capacity"), []cli.Flag{
			&cli.StringFlag{
				Name: "batch", Value: "1",
				Usage: "decode from up to `N` caches of a prompt together, with the same results; auto: as many as" +
					" fit in half of the available memory, at most 8; above 1, speeds are unknown",
			},
		}, cacheFlags, []cli.Flag{
			&cli.StringFlag{
				Name:  "shard",
				Usage: "run only shard `I/N` of the prompts; reading the files together joins the shards",
			},
			boolFlag("resume", "continue RUN.jsonl"),
			boolFlag("dry-run", "print what would be run and the memory and time that it needs, and stop"),
			computeFlag, deviceFlag, threadsFlag, memoryFlag,
			seedFlag("prompts, of the methods random and nacl, and of intervals and tests"),
			&cli.StringFlag{
				Name: "against", DefaultText: "the full cache",
				Usage: "compare with `METHOD` at the same budget, instead of with the full cache",
			},
			boolFlag("compare", "compare two runs prompt by prompt, instead of methods with the full cache"),
			&cli.StringFlag{Name: "merged", Usage: "write all results that were read to `FILE.jsonl`"},
			&cli.StringFlag{
				Name:  "page",
				Usage: "write `FILE.html`, a page whose table is sorted and filtered in the browser",
			},
			&cli.StringFlag{
				Name:  "figure",
				Usage: "draw the score over the memory of the cache into `FILE`.png, .svg or .pdf",
			},
		}, pivotFlags("score"), withoutFlag(tableFlags, "o"), []cli.Flag{
			outputFlag("with -m, record the results in `FILE`.jsonl; otherwise write the table to FILE, whose" +
				" extension sets the format"),
		}),
		Action: runLeaderboard,
	}
}

// dataNames are the names that --data gives to files.
var dataNames = []string{"haystack", "words", "squad", "hotpotqa", "longbench"}

// taskHelp lists the tasks for the help.
func taskHelp() string {
	var b strings.Builder
	b.WriteString("Tasks, by group:\n\n")
	for _, suite := range tasks.Suites {
		line := fmt.Sprintf("   %-10s", suite)
		for _, t := range tasks.Tasks {
			if t.Suite != suite {
				continue
			}
			if len(line)+len(t.Name) > 100 {
				b.WriteString(line + "\n")
				line = strings.Repeat(" ", 13)
			}
			line += " " + t.Name
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\nThe tasks qa_1 and qa_2 of RULER need --data squad=FILE.json and hotpotqa=FILE.json, the\n" +
		"development sets; those of LongBench need --data longbench=FILE.jsonl, or a folder of such files.")
	return b.String()
}

// withoutFlag returns flags without the one of a name.
func withoutFlag(list []cli.Flag, name string) []cli.Flag {
	return slices.DeleteFunc(slices.Clone(list), func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

func runLeaderboard(c *cli.Context) error {
	files := c.Args().Slice()
	if err := checkLeaderboard(c); err != nil {
		return err
	}
	if c.IsSet("model") {
		if err := recordAnswers(c); err != nil || c.Bool("dry-run") {
			return err
		}
		files = []string{c.String("o")}
	}
	board, err := leaderboard.Read(files...)
	if err != nil {
		return err
	}
	if out := c.String("merged"); out != "" {
		if err := outfile.Write(out, board.Write); err != nil {
			return err
		}
	}
	return showBoard(c, board)
}

// checkLeaderboard refuses what the verb cannot do, before any work is done.
func checkLeaderboard(c *cli.Context) error {
	running := c.IsSet("model")
	out := c.String("o")
	switch {
	case running && c.Args().Present():
		err := usagef("leaderboard: unexpected argument %q", c.Args().First())
		return hintf(err, "leave out -m to read files of results")
	case !running && !c.Args().Present():
		err := usagef("leaderboard: neither a model nor results given")
		return hintf(err, "name a model with -m, or files that an earlier run wrote")
	case running && out == "" && !c.Bool("dry-run"):
		return hintf(usagef("leaderboard: no output given"), "name the file of results with -o RUN.jsonl")
	case running && out != "" && !strings.HasSuffix(out, ".jsonl"):
		return usagef("-o %s: results are recorded in a file whose name ends in .jsonl", out)
	case c.Bool("compare") && c.IsSet("against"):
		return usagef("leaderboard: --compare and --against exclude each other")
	}
	if c.IsSet("against") {
		if _, err := snapkv.FindMethod(c.String("against")); err != nil {
			return usagef("--against: %w", err)
		}
	}
	columns, keys := boardColumns(c)
	if err := checkPivot(c, columns, keys); err != nil {
		return err
	}
	for _, flag := range []string{"merged", "page", "figure"} {
		if err := checkOutput(c.String(flag), c.Bool("force"), false); err != nil {
			return err
		}
	}
	if !running {
		if name := runFlag(c); name != "" {
			err := usagef("leaderboard: %s belongs to a run, and no model is given", dashed(name))
			return hintf(err, "name a model with -m, or leave out %s to read files of results", dashed(name))
		}
		return checkTable(c)
	}
	if c.IsSet("format") {
		if err := checkWord(c, "format", table.Formats); err != nil {
			return err
		}
	}
	return checkContinued(c, out)
}

// readingFlags are the flags that say what is done with results.
var readingFlags = []string{
	"seed", "against", "compare", "merged", "page", "figure", "pivot", "measure", "format", "wide", "force", "o",
	"quiet", "help",
}

// runFlag returns a flag that was given and that only a run reads, or "".
func runFlag(c *cli.Context) string {
	for _, f := range c.Command.Flags {
		if name := f.Names()[0]; c.IsSet(name) && !slices.Contains(readingFlags, name) {
			return name
		}
	}
	return ""
}

// recordAnswers runs the model.
func recordAnswers(c *cli.Context) error {
	if err := checkBatch(c); err != nil {
		return err
	}
	if err := checkCaches(c); err != nil {
		return err
	}
	cfg, err := boardConfig(c)
	if err != nil {
		return err
	}
	made, err := taskConfig(c)
	if err != nil {
		return err
	}
	shard, shards, err := parseShard(c.String("shard"))
	if err != nil {
		return err
	}
	cfg.Mine = func(i int) bool { return i%shards == shard }
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := model.CheckCompute(c.String("compute"), src.Device.Name); err != nil {
		return usagef("--%w", err)
	}
	if err := checkCardCaches(c, src, cfg.Budgets); err != nil {
		return err
	}
	if src.Tokenizer == nil {
		return fmt.Errorf("%w; the tasks need one, since their prompts are text", src.NoTokenizer)
	}
	for _, n := range made.Lengths {
		if most := src.Config.MaxPositions; most > 0 && n > most {
			return fmt.Errorf("--length %d: the model takes at most %d tokens", n, most)
		}
	}
	made.Tokenizer = src.Tokenizer
	cfg.Tokenizer = src.Tokenizer
	var left []string
	if cfg.Samples, left, err = tasks.Make(c.Context, made); err != nil {
		return err
	}
	for _, text := range left {
		warnf(c, "%s", text)
	}
	if len(cfg.Samples) == 0 {
		err := fmt.Errorf("no prompt can be made of the tasks %s", c.String("task"))
		return hintf(err, "name the files that they need with --data")
	}
	if err := cfg.Check(&src.Config); err != nil {
		return err
	}
	fit, err := fitBoard(c, src, &cfg)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return dryBoard(c, src, &cfg, &fit)
	}
	noteStreaming(c, &fit.Fit)
	if err := loadSource(c, src); err != nil {
		return err
	}
	return recordSamples(c, src, cfg)
}

// taskConfig reads the flags that say which prompts are made.
func taskConfig(c *cli.Context) (tasks.Config, error) {
	out := tasks.Config{
		Samples: c.Int("samples"), Seed: c.Uint64("seed"), Files: map[string]string{}, Lengths: []int{4096},
	}
	var err error
	if out.Tasks, err = tasks.Find(splitList(c.String("task"))); err != nil {
		return out, usagef("--%w", err)
	}
	if c.IsSet("length") {
		out.Lengths = c.IntSlice("length")
	}
	for _, n := range out.Lengths {
		if n < 1 {
			return out, usagef("--length %d: want 1 or more", n)
		}
	}
	if out.Samples < 1 {
		return out, usagef("--samples %d: want 1 or more", out.Samples)
	}
	for _, pair := range c.StringSlice("data") {
		name, file, ok := strings.Cut(pair, "=")
		if !ok || !slices.Contains(dataNames, name) || file == "" {
			names := strings.Join(dataNames, ", ")
			return out, usagef("--data %s: want NAME=FILE, where NAME is one of %s", pair, names)
		}
		if _, err := os.Stat(file); err != nil {
			return out, err
		}
		out.Files[name] = file
	}
	return out, nil
}

// boardConfig reads the flags that say which caches are compared.
func boardConfig(c *cli.Context) (leaderboard.Config, error) {
	out := leaderboard.Config{
		Batch: givenBatch(c), Place: decode.Place(c.String("compress-at")), DecodeEvery: c.Int("decode-every"),
		EqualBytes: c.Bool("equal-bytes"), Format: budgetFormat(c),
		Warn: func(text string) { warnf(c, "%s", text) },
	}
	for _, flag := range []string{"window", "kernel", "kv-bits"} {
		if len(c.IntSlice(flag)) > 1 {
			return out, usagef("leaderboard: --%s is given twice: a run has one setting", flag)
		}
	}
	for _, f := range formatsOf(c) {
		out.Format.Bits = f.Bits
	}
	s, err := selectionsOf(c)
	if err != nil {
		return out, err
	}
	out.Methods = s.methods
	out.Lenient = s.all
	out.Base = s.configs[0]
	out.Budgets, err = budgetsOf(c)
	return out, err
}

// recordSamples runs the samples into the file of -o.
func recordSamples(c *cli.Context, src *capture.Source, cfg leaderboard.Config) error {
	sum, err := src.Checkpoint.SHA256()
	if err != nil {
		return err
	}
	cfg.Model = src.Model
	cfg.About = leaderboard.Run{
		Model: src.Name, ModelSHA256: sum, Compute: c.String("compute"), Device: src.Device.Name,
		Program: "attnscope " + version(), Command: append([]string{"attnscope"}, commandOf(c)...),
	}
	out := c.String("o")
	if !c.Bool("resume") {
		if err := os.Remove(out); err != nil && !os.IsNotExist(err) { // with --force, or there is none
			return err
		}
	}
	bar := newBar(c.App.ErrWriter, "leaderboard")
	defer bar.close()
	cfg.Progress = bar.capture
	if err := leaderboard.Record(c.Context, cfg, out); err != nil {
		return hintf(err, "the same command with --resume continues %s", out)
	}
	return nil
}
