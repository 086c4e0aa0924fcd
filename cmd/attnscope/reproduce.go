package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/experiments"
	"github.com/attnscope/attnscope/snapkv"
)

func reproduceCommand() *cli.Command {
	var b strings.Builder
	b.WriteString("Each experiment writes tables (CSV, Parquet), figures (PNG, SVG), run.json and a README.md to\n" +
		"DIR/NAME. Captures are kept in DIR/captures and used again if prompts, plan and model are the same;\n" +
		"the same command continues an interrupted run. Results of another model, seed or size are replaced\n" +
		"only with --force.\n\n")
	for _, e := range experiments.Experiments {
		fmt.Fprintf(&b, "%-11s %s (%s). Sets: %s.\n", e.Name, e.Question, e.Figure, e.Sets)
	}
	return &cli.Command{
		Name:        "reproduce",
		Usage:       "run an experiment of the SnapKV paper on your model, from prompts to figures",
		ArgsUsage:   "NAME|all -m MODEL [-p SET=FILE]... -o DIR",
		Description: strings.TrimSuffix(b.String(), "\n"),
		Flags: []cli.Flag{
			modelFlag, revisionFlag, offlineFlag, ignoreConfigFlag,
			&cli.StringSliceFlag{
				Name: "prompts", Aliases: []string{"p"}, DefaultText: "documents that ship",
				Usage: "use the prompt set `SET=FILE`: documents with instructions, one JSON object per line;" +
					" for needle and ruler haystack=FILE.txt (repeatable)",
			},
			outputFlag("write the results to folder `DIR`"),
			boolFlag("dry-run", "print what would be captured and decoded, how long it takes, and what is already there"),
			boolFlag("quick", "use few prompts and short replies, to see that it works"),
			&cli.IntFlag{
				Name: "max-document-tokens", DefaultText: "what the model takes",
				Usage: "cut the middle out of documents longer than `N` tokens; results mark their set as truncated",
			},
			&cli.StringFlag{
				Name: "method", DefaultText: "common",
				Usage: "let the experiment methods compare a comma-separated `LIST` of methods, all, or common: " +
					strings.Join(snapkv.MethodNames(), ", "),
			},
			&cli.IntSliceFlag{
				Name: "capacity", DefaultText: "128, 256, 512 and 1024",
				Usage: "let the experiment methods keep `N` positions per head, the window included (repeatable)",
			},
			&cli.StringFlag{
				Name: "group", DefaultText: string(snapkv.Default.Group),
				Usage: "let the experiment methods merge the votes of the query heads of a kv head: mean, max or sum;" +
					" head: do not merge",
			},
			&cli.StringFlag{
				Name: "captures", DefaultText: "captures in the folder of -o",
				Usage: "keep the captures in folder `DIR`",
			},
			deviceFlag, threadsFlag, seedFlag("generated prompts and of the intervals"),
			boolFlag("force", "replace results of another run"),
		},
		Action: runReproduce,
	}
}

func runReproduce(c *cli.Context) error {
	list, err := chosenExperiments(c)
	if err != nil {
		return err
	}
	lab := &experiments.Lab{
		Dir: c.String("o"), Sets: map[string]string{}, Quick: c.Bool("quick"), Seed: c.Uint64("seed"),
		MaxTokens: c.Int("max-document-tokens"), Captures: c.String("captures"), Origin: origin(c),
		Log: func(format string, args ...any) { notef(c, format, args...) },
	}
	if err := readSets(c, lab); err != nil {
		return err
	}
	if err := chooseMethods(c, lab, list); err != nil {
		return err
	}
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	if src.Tokenizer == nil {
		return fmt.Errorf("%w; the experiments need one, since their prompts are text", src.NoTokenizer)
	}
	equip(c, lab, src)
	if c.Bool("dry-run") {
		return planExperiments(c, lab, src, list)
	}
	if err := checkResults(c, lab, list); err != nil {
		return err
	}
	if err := loadSource(c, src); err != nil {
		return err
	}
	lab.Model = src.Model
	done := table.New("experiment", "results")
	for _, e := range list {
		notef(c, "%s: %s", e.Name, e.Question)
		if err := runExperiment(c, lab, e); err != nil {
			return err
		}
		done.Add(e.Name, c.String("o")+"/"+e.Name+"/README.md")
	}
	return printTable(c, done, stdoutFormat(c))
}

// chosenExperiments returns the experiments that the command line names.
func chosenExperiments(c *cli.Context) ([]experiments.Experiment, error) {
	switch {
	case c.Args().Len() != 1:
		return nil, hintf(usagef("reproduce: %d experiments given, want one", c.Args().Len()),
			"name one of %s, or all", strings.Join(experimentNames(), ", "))
	case c.String("o") == "":
		return nil, hintf(usagef("reproduce: no output given"), "name a folder with -o DIR")
	}
	name := c.Args().First()
	if name == "all" {
		return experiments.Experiments, nil
	}
	e, err := experiments.Find(name)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return []experiments.Experiment{e}, nil
}

// readSets reads the prompt sets of -p.
func readSets(c *cli.Context, lab *experiments.Lab) error {
	for _, set := range c.StringSlice("prompts") {
		name, file, ok := strings.Cut(set, "=")
		if !ok || name == "" || file == "" {
			return usagef("-p %s: want SET=FILE", set)
		}
		if _, err := os.Stat(file); err != nil {
			return err
		}
		if slices.Contains(lab.SetOrder, name) {
			return usagef("-p %s: set %q is given twice", set, name)
		}
		lab.Sets[name] = file
		lab.SetOrder = append(lab.SetOrder, name)
	}
	return nil
}

// chooseMethods gives the methods, capacities and group of the command line to the
// experiment methods. They are an error if it is not one of the experiments.
func chooseMethods(c *cli.Context, lab *experiments.Lab, list []experiments.Experiment) error {
	isMethods := func(e experiments.Experiment) bool { return e.Name == "methods" }
	for _, name := range []string{"method", "capacity", "group"} {
		if c.IsSet(name) && !slices.ContainsFunc(list, isMethods) {
			return usagef("--%s: only the experiment methods takes it, not %s", name, list[0].Name)
		}
	}
	if c.IsSet("method") {
		methods, _, err := methodsOf(c.String("method"))
		if err != nil {
			return err
		}
		lab.Methods = methods
	}
	if !c.IsSet("capacity") && !c.IsSet("group") {
		return nil
	}
	lab.Configs = lab.MethodConfigs()
	if c.IsSet("capacity") {
		lab.Configs = nil
		for _, n := range c.IntSlice("capacity") {
			config := snapkv.Default
			config.Capacity = n
			lab.Configs = append(lab.Configs, config)
		}
	}
	for i := range lab.Configs {
		if c.IsSet("group") {
			lab.Configs[i].Group = snapkv.Group(c.String("group"))
		}
		if err := lab.Configs[i].Check(); err != nil {
			return usagef("--%w", err)
		}
	}
	return nil
}

// equip gives the model to the experiments, without its weights.
func equip(c *cli.Context, lab *experiments.Lab, src *capture.Source) {
	lab.ModelID = src.Name
	lab.Config = src.Config
	lab.Tokenizer = src.Tokenizer
	lab.Threads = threadCount(c)
	lab.Header = func(plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error) {
		return headerOf(c, src, plan, list)
	}
	lab.Batch = func(cfg *capture.Config) int { return autoBatch(c, src, cfg) }
}

// checkResults refuses to replace results of another run, unless --force is given.
func checkResults(c *cli.Context, lab *experiments.Lab, list []experiments.Experiment) error {
	if c.Bool("force") {
		return nil
	}
	for _, e := range list {
		if err := lab.CheckResults(e); err != nil {
			return hintf(err, "use --force to replace the results, or name another folder with -o")
		}
	}
	return nil
}

// planExperiments prints what the experiments would capture and decode.
func planExperiments(c *cli.Context, lab *experiments.Lab, src *capture.Source, list []experiments.Experiment) error {
	rates := cpu.Measure(lab.Threads)
	lab.Plan = &experiments.Plan{Rates: rates, Weights: lab.Config.WeightBytes(src.Checkpoint, string(cpu.F32))}
	for _, e := range list {
		if err := runExperiment(c, lab, e); err != nil {
			return err
		}
	}
	total := time.Duration(lab.Plan.Seconds() * float64(time.Second)).Round(time.Minute)
	notef(c, "about %s in all, at the speed of %s just now, %.0f GFLOP/s; a capture that experiments share is"+
		" listed for each and counted once", total, count(lab.Threads, "thread"), rates.FLOPs/1e9)
	return printTable(c, lab.Plan.Table(), stdoutFormat(c))
}

func runExperiment(c *cli.Context, lab *experiments.Lab, e experiments.Experiment) error {
	bar := newBar(c.App.ErrWriter, e.Name)
	defer bar.close()
	lab.Progress = bar.capture
	if err := lab.Run(c.Context, e); err != nil {
		return hintf(err, "the same command continues where it stopped")
	}
	return nil
}

func experimentNames() []string {
	var names []string
	for _, e := range experiments.Experiments {
		names = append(names, e.Name)
	}
	return names
}
