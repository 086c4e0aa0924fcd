package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/cluster"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
)

// lines is a repeatable flag whose values may contain commas.
type lines []string

func (l *lines) Set(s string) error { *l = append(*l, s); return nil }
func (l *lines) String() string     { return strings.Join(*l, " ") }

// notForTasks are the flags of capture that submit sets for each task.
var notForTasks = []string{"o", "shard", "resume", "status", "dry-run", "force"}

func submitCommand() *cli.Command {
	var recorded []cli.Flag
	for _, f := range captureCommand().Flags {
		if !slices.Contains(notForTasks, f.Names()[0]) {
			recorded = append(recorded, f)
		}
	}
	return &cli.Command{
		Name:      "submit",
		Usage:     "run a capture as a job array of a cluster, and merge the shards",
		ArgsUsage: "--engine slurm --shards N -m MODEL -p PROMPTS -o RUN.attn",
		Description: "Submit writes a Slurm job array, submits and follows it, submits failed shards again, and merges the\n" +
			"shards at the end. You may stop it at any time: the same command continues. Its state is in\n" +
			"RUN.attn.submit: job.sh (the script), shards.tsv (the state of the shards) and logs/. The output,\n" +
			"the model, the prompts and that folder must be on a file system that the nodes share.",
		Flags: slices.Concat([]cli.Flag{
			outputFlag("write the merged dump to `RUN.attn`"),
			&cli.StringFlag{Name: "engine", Value: "slurm", Usage: "scheduler: slurm"},
			&cli.IntFlag{
				Name: "shards", DefaultText: "8, or the number of prompts if that is less",
				Usage: "split the prompts into `N` tasks",
			},
			&cli.StringFlag{
				Name: "state", DefaultText: "RUN.attn.submit",
				Usage: "keep script, logs and shards in folder `DIR`",
			},
			&cli.StringFlag{Name: "partition", Usage: "run in `PARTITION` of the cluster"},
			&cli.StringFlag{Name: "account", Usage: "charge `ACCOUNT`"},
			&cli.StringFlag{Name: "qos", Usage: "use quality of service `QOS`"},
			&cli.StringFlag{
				Name:  "time",
				Usage: "limit a task to `D-HH:MM:SS`; a task close to its limit goes back into the queue",
			},
			&cli.IntFlag{
				Name: "cpus", Aliases: []string{"cpus-per-task"}, DefaultText: "the cluster's",
				Usage: "use `N` processors per task",
			},
			&cli.StringFlag{
				Name:  "mem",
				Usage: "reserve `SIZE` of memory per task, such as 16G; auto: 1.25 times what capture --dry-run predicts",
			},
			&cli.StringFlag{Name: "gres", Usage: "reserve generic resources per task: `LIST` such as gpu:1"},
			&cli.IntFlag{Name: "running", DefaultText: "no limit", Usage: "run at most `N` tasks at once"},
			&cli.DurationFlag{Name: "grace", Value: time.Minute, Usage: "stop a task this long before its time limit"},
			&cli.GenericFlag{
				Name: "sbatch", Value: &lines{},
				Usage: "pass a further `OPTION` to sbatch, such as --constraint=avx512 (repeatable)",
			},
			&cli.GenericFlag{
				Name: "setup", Value: &lines{},
				Usage: "run a shell `LINE` before the capture, such as \"module load x\" (repeatable)",
			},
			&cli.IntFlag{Name: "retries", Value: 2, Usage: "try a shard that fails without finishing a prompt `N` more times"},
			&cli.DurationFlag{
				Name: "poll", Value: 15 * time.Second,
				Usage: "ask for the state of the queue at least this often",
			},
			boolFlag("no-wait", "submit what is missing and return; the same command continues later"),
			boolFlag("keep-shards", "keep the dumps of the shards after merging"),
			boolFlag("dry-run", "print the script, and stop"),
			forceFlag,
		}, recorded),
		Action: runSubmit,
	}
}

func runSubmit(c *cli.Context) error {
	if err := checkSubmit(c); err != nil {
		return err
	}
	job, err := submitJob(c)
	if err != nil {
		return err
	}
	if err := cluster.Check(job); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		text, err := job.Script()
		if err != nil {
			return err
		}
		_, err = io.WriteString(exactOutput(c), text)
		return err
	}
	report, err := cluster.Run(c.Context, job)
	for _, w := range report.Warnings {
		warnf(c, "%s", w)
	}
	switch {
	case errors.Is(err, cluster.ErrNoSlurm):
		return hintf(err, "run submit where Slurm's commands are; --dry-run prints the script, and capture --shard"+
			" I/N records one shard without Slurm")
	case errors.Is(err, context.Canceled) && len(report.Jobs) > 0:
		return hintf(err, "the jobs keep running; the same command follows them again, scancel %s ends them",
			strings.Join(report.Jobs, " "))
	case errors.Is(err, cluster.ErrGivenUp):
		return hintf(err, "see shards.tsv and logs/ in the state folder; the same command tries the shards again")
	case err != nil:
		return err
	case report.Already:
		notef(c, "%s is already complete", job.Out)
	case !report.Merged:
		notef(c, "not merged yet; the same command continues")
	default:
		notef(c, "%s: %s from %s", job.Out, count(report.Prompts, "prompt"), count(job.Shards, "shard"))
	}
	return nil
}

// checkSubmit refuses command lines that cannot be submitted.
func checkSubmit(c *cli.Context) error {
	switch {
	case c.Args().Present():
		err := usagef("submit: unexpected argument %q", c.Args().First())
		return hintf(err, "name the model with -m, the prompts with -p, and options of sbatch with --sbatch")
	case c.String("engine") != "slurm":
		return usagef("submit: --engine %q: want slurm", c.String("engine"))
	case !c.IsSet("prompts"):
		return noPrompts("submit")
	case c.String("prompts") == "-":
		return hintf(usagef("submit: tasks cannot read prompts from stdin"), "name a file with -p")
	case c.String("o") == "":
		return hintf(usagef("submit: no output given"), "name the dump with -o RUN.attn")
	}
	if err := checkOutput(c.String("o"), true, false); err != nil { // cluster.Check looks at a file that exists
		return err
	}
	for _, name := range []string{"shards", "cpus", "running", "retries"} {
		if n := c.Int(name); n < 0 {
			return usagef("submit: --%s %d: want 0 or more", name, n)
		}
	}
	return nil
}

// submitJob checks everything that could stop a task, before anything waits in a
// queue: the model, the plan and the prompts.
func submitJob(c *cli.Context) (cluster.Job, error) {
	if err := model.CheckDevice(c.String("device")); err != nil {
		return cluster.Job{}, usagef("--%w", err)
	}
	src, err := openOn(c, "cpu") // the cards are on the nodes
	if err != nil {
		return cluster.Job{}, err
	}
	defer src.Close()
	plan, err := planOf(c, src.Config, c.String("device"))
	if err != nil {
		return cluster.Job{}, err
	}
	list, _, err := readPrompts(c, src.Tokenizer)
	if err != nil {
		return cluster.Job{}, err
	}
	if len(list) == 0 {
		return cluster.Job{}, fmt.Errorf("%s: no prompts", c.String("prompts"))
	}
	shards := c.Int("shards")
	if shards == 0 {
		shards = min(8, len(list))
	} else if shards > len(list) {
		return cluster.Job{}, usagef("submit: --shards %d: there are only %s", shards, count(len(list), "prompt"))
	}
	cfg, err := captureConfig(c, plan, list)
	if err != nil {
		return cluster.Job{}, err
	}
	if err := checkBatch(c); err != nil {
		return cluster.Job{}, err
	}
	cfg.Batch = givenBatch(c) // auto: a task takes what the memory that it is given allows
	if err := cfg.Check(&src.Config); err != nil {
		return cluster.Job{}, err
	}
	if err := model.CheckTensors(src.Checkpoint, src.Config); err != nil {
		return cluster.Job{}, err
	}
	threads := max(1, c.Int("threads"), c.Int("cpus"))
	need := forecast.Capture(&cfg, src.Config, threads)
	memory := need.Memory(src.Config.WeightBytes(src.Checkpoint, plan.Compute))
	limit, given, err := givenMemory(c)
	if err != nil {
		return cluster.Job{}, err
	}
	if given {
		fit, err := forecast.FitIn(limit, cfg, src.Config, src.Checkpoint, threads)
		if err == nil {
			err = tooLittle(c, limit, fit.Memory(), given)
		}
		if err != nil {
			return cluster.Job{}, err
		}
		memory = fit.Memory()
	}
	notef(c, "%s in %s, about %.3g TFLOP each; a task needs about %s of memory; all dumps need %s of disk, and"+
		" as much again during the merge",
		count(len(list), "prompt"), count(shards, "shard"), need.FLOPs/1e12/float64(shards),
		sizes.Text(memory), sizes.Text(need.Disk))
	if !c.Bool("dry-run") { // the nodes may have no network
		if err := src.Fetch(c.Context); err != nil {
			return cluster.Job{}, err
		}
	}
	program, err := os.Executable()
	if err != nil {
		return cluster.Job{}, err
	}
	return cluster.Job{
		Out: c.String("o"), Dir: c.String("state"), Program: program, Capture: captureArgs(c),
		Shards: shards, Prompts: len(list), PromptsSHA256: capture.PromptsSHA256(list),
		Slurm:   slurmResources(c, memory),
		Retries: c.Int("retries"), Poll: c.Duration("poll"), Force: c.Bool("force"),
		KeepShards: c.Bool("keep-shards"), NoWait: c.Bool("no-wait"),
		Log: func(format string, args ...any) { notef(c, format, args...) },
	}, nil
}

// slurmResources reads the resources that a task requests from Slurm. memory is the
// number of bytes that it is expected to need.
func slurmResources(c *cli.Context, memory int64) cluster.Resources {
	mem := c.String("mem")
	if mem == "auto" {
		mem = fmt.Sprintf("%dM", memory*5/4>>20+1)
	}
	return cluster.Resources{
		Partition: c.String("partition"), Account: c.String("account"), QOS: c.String("qos"),
		Time: c.String("time"), Mem: mem, Gres: c.String("gres"), CPUs: c.Int("cpus"),
		Running: c.Int("running"), Grace: c.Duration("grace"),
		Options: *c.Generic("sbatch").(*lines), Setup: *c.Generic("setup").(*lines),
	}
}

// captureArgs returns the flags of capture that the command line gives, as the
// tasks pass them.
func captureArgs(c *cli.Context) []string {
	var args []string
	for _, f := range captureCommand().Flags {
		name := f.Names()[0]
		if slices.Contains(notForTasks, name) || !c.IsSet(name) {
			continue
		}
		switch f.(type) {
		case *cli.BoolFlag:
			args = append(args, fmt.Sprintf("--%s=%t", name, c.Bool(name)))
		case *cli.StringSliceFlag:
			for _, v := range c.StringSlice(name) {
				args = append(args, fmt.Sprintf("--%s=%s", name, v))
			}
		default:
			args = append(args, fmt.Sprintf("--%s=%v", name, c.Value(name)))
		}
	}
	return args
}
