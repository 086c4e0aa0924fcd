// Command bench compares attnscope with PyTorch and llama.cpp on this machine,
// with equal weights, threads and prompts, in alternating runs.
//
//	go run ./bench -o results/bench          # about an hour on two cores; -quick: a quarter of it
//
// Each comparison has two workers: processes that hold a model and answer one task at
// a time, while the other worker is idle. The report has the median, the smallest and
// the largest ratio of neighboring runs, and the median speed and the peak memory of
// each side.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/attnscope/attnscope/internal/simd"
)

type options struct {
	out, dir, python, llama string
	quick, noSetup          bool
	rounds, threads         int
	shrink                  int
	only                    string
}

func main() {
	var o options
	worker := flag.String("worker", "", "run as the worker of our engine on a `model`")
	compute := flag.String("compute", "f32", "arithmetic of our engine")
	profile := flag.String("cpuprofile", "", "with -worker: write a CPU profile to a `file`")
	flag.IntVar(&o.threads, "threads", runtime.NumCPU(), "threads of both sides")
	flag.StringVar(&o.out, "o", "results/bench", "`folder` of the table")
	flag.StringVar(&o.dir, "dir", "", "`folder` of models and environments (default: the user's cache)")
	flag.StringVar(&o.python, "python", os.Getenv("BENCH_PYTHON"), "python with torch and transformers (default: BENCH_PYTHON, or a new environment)")
	flag.StringVar(&o.llama, "llama", os.Getenv("BENCH_LLAMA_PYTHON"),
		"python with llama_cpp (default: BENCH_LLAMA_PYTHON, or llama.cpp compiled for this machine)")
	flag.BoolVar(&o.quick, "quick", false, "fewer lengths and rounds")
	flag.BoolVar(&o.noSetup, "no-setup", false, "leave out comparisons whose environment is missing")
	flag.IntVar(&o.rounds, "rounds", 0, "pairs of runs per comparison (default 5, quick 3)")
	flag.IntVar(&o.shrink, "shrink", 1, "divide the numbers of tokens by this, to try out the program")
	flag.StringVar(&o.only, "only", "", "only comparisons whose name contains this `text`")
	flag.Parse()
	var err error
	if *worker != "" {
		stop := profileTo(*profile)
		err = ours(*worker, o.threads, *compute, os.Stdin, os.Stdout)
		stop()
	} else {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func profileTo(path string) func() {
	if path == "" {
		return func() {}
	}
	f, err := os.Create(path)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		note(err.Error())
		return func() {}
	}
	return func() { pprof.StopCPUProfile(); f.Close() }
}

func run(o options) error {
	if o.rounds < 1 {
		o.rounds = 5
		if o.quick {
			o.rounds = 3
		}
	}
	o.shrink = max(1, o.shrink)
	if o.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		o.dir = filepath.Join(cache, "attnscope", "bench")
	}
	m, err := prepare(filepath.Join(o.dir, "models"))
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // the memory in which the models were made
	made := o.environments(m.gguf)
	r := &report{
		started: time.Now(), machine: machine(o.python, o.llama),
		quick: o.quick, shrink: o.shrink, busy: busy(2 * time.Second),
	}
	for _, line := range made {
		r.tell("%s", line)
	}
	if !simd.HasTiles() {
		r.tell("This processor has no AMX: rows whose target needs it have the target of AVX-512, or none.")
	}
	if r.busy > 0.1 {
		note(fmt.Sprintf("%.0f %% of the machine is in use by other programs: trust nothing but the ratios", 100*r.busy))
	}
	b := &bench{o: o, m: m, r: r}
	b.all()
	return r.write(o.out)
}

// errAbsent says that a side cannot run on this machine.
var errAbsent = errors.New("its environment is missing")

// side is one of the two sides of a comparison.
type side struct {
	name string
	argv []string
	task task
}

// our returns the side that runs our engine.
func (b *bench) our(name, model, compute string, t task) side {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return side{name, []string{self, "-worker", model, "-compute", compute, "-threads", fmt.Sprint(b.o.threads)}, t}
}

// torch returns the side that runs transformers.
func (b *bench) torch(mode, dtype, model string, t task) side {
	if b.o.python == "" {
		return side{name: "transformers " + mode}
	}
	return side{"transformers " + mode, []string{
		b.o.python, "bench/theirs.py", model, "--mode", mode, "--dtype", dtype, "--threads", fmt.Sprint(b.o.threads),
	}, t}
}

// cpp returns the side that runs llama.cpp.
func (b *bench) cpp(t task) side {
	if b.o.llama == "" {
		return side{name: "llama.cpp"}
	}
	return side{"llama.cpp", llamaArgs(b.o.llama, b.m.gguf, b.o.threads), t}
}
