package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/cluster"
	"github.com/attnscope/attnscope/internal/sizes"
)

// lines is a flag that may be given several times; commas stay as they are.
type lines []string

func (l *lines) Set(s string) error { *l = append(*l, s); return nil }
func (l *lines) String() string     { return strings.Join(*l, " ") }

// notForTasks are the flags of capture that each task of a job array gets its own of.
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
		Usage:     "run a capture as a job array of a cluster: shards, retries, and the merged dump in the end",
		ArgsUsage: "--engine slurm --shards N -m MODEL -p PROMPTS -o RUN.attn",
		Description: "Writes and submits a Slurm job array, follows it, submits again the shards that failed, and merges. It may be stopped at any time: the same\n" +
			"command goes on. All it knows is in RUN.attn.submit: job.sh (the script), shards.tsv (how the shards stand), logs/. Output, model, prompts and\n" +
			"that folder must be on a file system that the nodes share.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the dump in the end, `RUN.attn`"},
			&cli.StringFlag{Name: "engine", Value: "slurm", Usage: "what schedules: slurm"},
			&cli.IntFlag{Name: "shards", Usage: "`N` tasks (0: 8, or as many as there are prompts)"},
			&cli.StringFlag{Name: "state", Usage: "`DIR` for script, logs and shards (default: RUN.attn.submit)"},
			&cli.StringFlag{Name: "partition", Usage: "`PARTITION` of the cluster"},
			&cli.StringFlag{Name: "account", Usage: "`ACCOUNT` to charge"},
			&cli.StringFlag{Name: "qos", Usage: "quality of service, `QOS`"},
			&cli.StringFlag{Name: "time", Usage: "time limit of a task, `D-HH:MM:SS`; near it a task goes back into the queue"},
			&cli.IntFlag{Name: "cpus", Aliases: []string{"cpus-per-task"}, Usage: "`N` processors a task"},
			&cli.StringFlag{Name: "mem", Usage: "memory a task, `SIZE` such as 16G, or auto: what --dry-run expects and a quarter more"},
			&cli.StringFlag{Name: "gres", Usage: "generic resources a task, `LIST` such as gpu:1"},
			&cli.IntFlag{Name: "running", Usage: "at most `N` tasks at once (0: no limit)"},
			&cli.DurationFlag{Name: "grace", Value: time.Minute, Usage: "how long before the time limit a task stops"},
			&cli.GenericFlag{Name: "sbatch", Value: &lines{}, Usage: "a further `OPTION` of sbatch, such as --constraint=avx512; repeatable"},
			&cli.GenericFlag{Name: "setup", Value: &lines{}, Usage: "a shell `LINE` before the capture, such as \"module load x\"; repeatable"},
			&cli.IntFlag{Name: "retries", Value: 2, Usage: "tries more for a shard that fails without finishing a prompt, `N`"},
			&cli.DurationFlag{Name: "poll", Value: 15 * time.Second, Usage: "longest time between two looks at the queue"},
			&cli.BoolFlag{Name: "no-wait", Usage: "submit what is to be submitted and return; the same command later goes on"},
			&cli.BoolFlag{Name: "keep-shards", Usage: "leave the shards' dumps after merging"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the script, and stop"},
			forceFlag,
		}, recorded),
		Action: runSubmit,
	}
}

func runSubmit(c *cli.Context) error {
	out := c.String("o")
	switch {
	case c.Args().Present():
		return usagef("submit: unexpected argument %q: the model goes to -m, the prompts to -p, options of sbatch to --sbatch", c.Args().First())
	case c.String("engine") != "slurm":
		return usagef("submit: --engine %q: want slurm", c.String("engine"))
	case !c.IsSet("prompts"):
		return usagef("submit: no prompts: name a file with -p (JSONL, one object a line)")
	case c.String("prompts") == "-":
		return usagef("submit: tasks cannot read prompts from stdin: name a file with -p")
	case out == "":
		return usagef("submit: no output: name the dump with -o RUN.attn")
	}
	for _, name := range []string{"shards", "cpus", "running", "retries"} {
		if c.Int(name) < 0 {
			return usagef("submit: --%s %d: want 0 or more", name, c.Int(name))
		}
	}
	job, err := submitJob(c, out)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		text, err := job.Script()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(c.App.Writer, text)
		return err
	}
	report, err := cluster.Run(c.Context, job)
	for _, w := range report.Warnings {
		warnf(c, "%s", w)
	}
	switch {
	case errors.Is(err, cluster.ErrNoSlurm):
		return hintf(err, "submit runs where Slurm's commands are; --dry-run prints the script, capture --shard I/N records one shard by hand")
	case errors.Is(err, context.Canceled) && len(report.Jobs) > 0:
		return hintf(err, "the jobs go on; the same command follows them again, scancel %s ends them", strings.Join(report.Jobs, " "))
	case errors.Is(err, cluster.ErrGivenUp):
		return hintf(err, "shards.tsv and logs/ in the state folder tell more; the same command tries them again")
	case err != nil:
		return err
	case report.Already:
		notef(c, "%s is complete already", out)
	case !report.Merged:
		notef(c, "not merged yet: the same command goes on")
	default:
		notef(c, "%s: %d prompts of %d shards", out, report.Prompts, job.Shards)
	}
	return nil
}

// submitJob checks all that a task would stumble over, before anything waits in
// a queue: model, plan, prompts.
func submitJob(c *cli.Context, out string) (cluster.Job, error) {
	src, err := openOn(c, "cpu") // the cards are elsewhere
	if err != nil {
		return cluster.Job{}, err
	}
	defer src.Close()
	plan, err := planOf(c, src.Config, c.String("device"))
	if err != nil {
		return cluster.Job{}, err
	}
	list, err := readPrompts(c, src.Tokenizer)
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
		return cluster.Job{}, usagef("submit: --shards %d: there are %d prompts", shards, len(list))
	}
	cfg := capture.Config{Prompts: list, FollowWhole: !c.IsSet("max-new-tokens")}
	cfg.Header.Plan = *plan
	threads := max(1, c.Int("threads"), c.Int("cpus"))
	need := capture.Estimate(&cfg, src.Config, threads)
	memory := src.WeightBytes(plan.Compute) + need.Cache + need.Work + need.Recording
	mem := c.String("mem")
	if mem == "auto" {
		mem = fmt.Sprintf("%dM", memory*5/4>>20+1)
	}
	notef(c, "%d prompts in %d shards, about %.3g TFLOP each; a task needs about %s of memory, all dumps %s of disk, and as much again while they are merged",
		len(list), shards, need.FLOPs/1e12/float64(shards), sizes.Text(memory), sizes.Text(need.Disk))
	program, err := os.Executable()
	if err != nil {
		return cluster.Job{}, err
	}
	return cluster.Job{
		Out: out, Dir: c.String("state"), Program: program, Capture: captureArgs(c),
		Shards: shards, Prompts: len(list), PromptsSHA256: capture.PromptsSHA256(list),
		Slurm: cluster.Resources{
			Partition: c.String("partition"), Account: c.String("account"), QOS: c.String("qos"), Time: c.String("time"), Mem: mem,
			Gres: c.String("gres"), CPUs: c.Int("cpus"), Running: c.Int("running"), Grace: c.Duration("grace"),
			Options: *c.Generic("sbatch").(*lines), Setup: *c.Generic("setup").(*lines),
		},
		Retries: c.Int("retries"), Poll: c.Duration("poll"), Force: c.Bool("force"),
		KeepShards: c.Bool("keep-shards"), NoWait: c.Bool("no-wait"),
		Log: func(format string, args ...any) { notef(c, format, args...) },
	}, nil
}

// captureArgs is what was given of capture's flags, as capture takes it.
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
		default:
			args = append(args, fmt.Sprintf("--%s=%v", name, c.Value(name)))
		}
	}
	return args
}
