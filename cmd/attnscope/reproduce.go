package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/experiments"
)

func reproduceCommand() *cli.Command {
	var b strings.Builder
	b.WriteString("Each experiment leaves tables (CSV, Parquet), figures (PNG, SVG), run.json and a README.md in DIR/NAME. Captures lie in\n" +
		"DIR/captures and are used again where prompts, plan and model are the same; a stopped run goes on there.\n\n")
	for _, e := range experiments.Experiments {
		fmt.Fprintf(&b, "%-11s %s (%s). Sets: %s.\n", e.Name, e.Question, e.Figure, e.Sets)
	}
	return &cli.Command{
		Name:        "reproduce",
		Usage:       "an experiment of the SnapKV paper on your model, end to end",
		ArgsUsage:   "NAME|all -m MODEL [-p SET=FILE]... -o DIR",
		Description: b.String(),
		Flags: []cli.Flag{
			modelFlag, revisionFlag, offlineFlag,
			&cli.StringSliceFlag{Name: "prompts", Aliases: []string{"p"}, Usage: "a prompt set, `SET=FILE`: documents with instructions, one JSON object a line (repeatable; default: documents that ship); haystack=FILE.txt for needle"},
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "folder for the results, `DIR`"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be captured and decoded, how long it takes and what is there already"},
			&cli.BoolFlag{Name: "quick", Usage: "few prompts and short replies: to see that it works"},
			&cli.IntFlag{Name: "max-document-tokens", Usage: "cut the middle out of documents longer than `N` tokens (default: what the model takes); their set is marked truncated"},
			&cli.StringFlag{Name: "captures", Usage: "folder of the captures, `DIR` (default: captures below -o)"},
			deviceFlag, threadsFlag, &cli.Uint64Flag{Name: "seed", Usage: "`SEED` of prompts that are made, and of the intervals"},
		},
		Action: runReproduce,
	}
}

func runReproduce(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usagef("reproduce: name one experiment, or all: %s", strings.Join(experimentNames(), ", "))
	}
	if c.String("o") == "" {
		return usagef("reproduce: no output: name a folder with -o DIR")
	}
	list := experiments.Experiments
	if name := c.Args().First(); name != "all" {
		e, err := experiments.Find(name)
		if err != nil {
			return usagef("%v", err)
		}
		list = []experiments.Experiment{e}
	}
	lab := &experiments.Lab{
		Dir: c.String("o"), Sets: map[string]string{}, Quick: c.Bool("quick"), Seed: c.Uint64("seed"), MaxTokens: c.Int("max-document-tokens"),
		Origin: origin(), Captures: c.String("captures"), Log: func(format string, args ...any) { notef(c, format, args...) },
	}
	for _, set := range c.StringSlice("prompts") {
		name, file, ok := strings.Cut(set, "=")
		if !ok || name == "" || file == "" {
			return usagef("-p %s: want SET=FILE", set)
		}
		if _, err := os.Stat(file); err != nil {
			return err
		}
		if slices.Contains(lab.SetOrder, name) {
			return usagef("-p %s: set %q is named twice", set, name)
		}
		lab.Sets[name], lab.SetOrder = file, append(lab.SetOrder, name)
	}
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	if src.Tokenizer == nil {
		return fmt.Errorf("%s: %w; the experiments are made of text", src.Name, src.NoTokenizer)
	}
	lab.Tokenizer, lab.Config, lab.Threads = src.Tokenizer, src.Config, threadCount(c)
	if c.Bool("dry-run") {
		lab.Plan = table.New(experiments.PlanColumns...)
	} else {
		if err := loadSource(src); err != nil {
			return err
		}
		lab.Model = src.Model
	}
	lab.ModelID = src.Name
	lab.Header = func(plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error) {
		return headerOf(c, src, plan, list)
	}
	done := table.New("experiment", "results")
	for _, e := range list {
		if lab.Plan == nil {
			notef(c, "%s: %s", e.Name, e.Question)
		}
		bar := newBar(c.App.ErrWriter, e.Name)
		lab.Progress = bar.capture
		err := lab.Run(c.Context, e)
		bar.close()
		if err != nil {
			return hintf(err, "the same command goes on where it stopped")
		}
		done.Add(e.Name, c.String("o")+"/"+e.Name+"/README.md")
	}
	if lab.Plan != nil {
		seconds := 0.0
		for _, row := range lab.Plan.Rows {
			if row[len(row)-1] != "done" {
				seconds += row[6].(float64)
			}
		}
		notef(c, "about %s in all, at 80 GFLOP/s a thread on %d threads; experiments that share a capture list it each", time.Duration(seconds*float64(time.Second)).Round(time.Minute), lab.Threads)
		return lab.Plan.Write(c.App.Writer, stdoutFormat(c))
	}
	return done.Write(c.App.Writer, stdoutFormat(c))
}

func experimentNames() []string {
	var names []string
	for _, e := range experiments.Experiments {
		names = append(names, e.Name)
	}
	return names
}
