//go:build cuda

// Command bench runs the card's tests and benchmarks. A bundle made by `make
// cuda-bundle` contains it next to the test binaries, so that a machine with a card and
// a driver needs nothing else.
//
//	bench first-card  everything below within ten minutes; writes first-card.json and first-card.md
//	bench start       loads the card and says how long it took
//	bench test        the test binaries of a folder
//	bench models      the checkpoints of a folder, card against processor
//	bench speed       prompts of several shapes, with random weights
//	bench torch       PyTorch beside it
//
// Each writes a JSON file. first-card runs the others as processes of their own, so that a
// failure of the driver ends only one of them.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
)

// report is the content of the JSON file of every mode but first-card.
type report struct {
	What    string         `json:"what"`
	Started string         `json:"started"`
	Seconds float64        `json:"seconds"`
	Host    string         `json:"host"`
	CPUs    int            `json:"cpus"`
	Devices []cuda.Device  `json:"devices"`
	Why     string         `json:"why_no_card,omitempty"`
	Image   string         `json:"kernels,omitempty"`
	Cublas  string         `json:"cublas,omitempty"`
	Tests   []judge.Test   `json:"tests,omitempty"`
	Models  []judge.Model  `json:"models,omitempty"`
	Values  []judge.Value  `json:"values,omitempty"`
	Kernels []judge.Kernel `json:"kernel_times,omitempty"`
	Speed   []speedResult  `json:"speed,omitempty"`
	Product *product       `json:"product,omitempty"`
	Torch   *torchResults  `json:"torch,omitempty"`
	Notes   []string       `json:"notes,omitempty"`
}

// options holds the flags of all modes.
type options struct {
	out     string
	dir     string
	quick   bool
	limit   time.Duration
	shapes  string
	tokens  string
	rounds  int
	capture int
}

// modes lists what bench can do, and how long each mode may take by default. What is not
// finished by then is left out, with a note.
var modes = map[string]struct {
	run   func(*report, context.Context, *options) error
	limit time.Duration
}{
	"start":  {(*report).start, time.Minute},
	"test":   {(*report).test, 8 * time.Minute},
	"models": {(*report).models, 2 * time.Minute},
	"speed":  {(*report).speed, 8 * time.Minute},
	"torch":  {(*report).torch, 2 * time.Minute},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	what := ""
	if len(os.Args) > 1 {
		what = os.Args[1]
	}
	mode, known := modes[what]
	if !known && what != "first-card" {
		fmt.Fprintln(os.Stderr, "usage: bench first-card|start|test|models|speed|torch [-o FILE.json]")
		os.Exit(2)
	}
	if what == "first-card" {
		mode.limit = 10 * time.Minute
	}
	o := &options{}
	flags := flag.NewFlagSet("bench "+what, flag.ExitOnError)
	flags.StringVar(&o.out, "o", defaultOut(what), "JSON file to write")
	flags.StringVar(&o.dir, "dir", ".", "folder of the test binaries and of models/")
	flags.BoolVar(&o.quick, "quick", false, "tiny sizes, to check that it works")
	flags.DurationVar(&o.limit, "limit", mode.limit, "time limit")
	flags.StringVar(&o.shapes, "shape", "", "only these shapes, separated by commas")
	flags.StringVar(&o.tokens, "tokens", "", "lengths of prompts, separated by commas")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each variant is measured")
	flags.IntVar(&o.capture, "capture", math.MaxInt, "the longest prompt that is also recorded into a dump")
	_ = flags.Parse(os.Args[2:])
	if what == "first-card" {
		return firstCard(o)
	}
	start := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), o.limit)
	defer stop()
	host, _ := os.Hostname()
	r := &report{What: what, Started: start.UTC().Format(time.RFC3339), Host: host, CPUs: runtime.NumCPU()}
	r.Devices, r.Why = cuda.Devices()
	err := fmt.Errorf("no card: %s", r.Why)
	if r.Why == "" {
		err = mode.run(r, ctx, o)
	}
	r.Seconds = time.Since(start).Seconds()
	if err := writeJSON(o.out, r); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "bench: %s after %.0f s\n", o.out, r.Seconds)
	return err
}

// defaultOut returns the name of a mode's JSON file.
func defaultOut(what string) string {
	if what == "first-card" {
		return "first-card.json"
	}
	return "cuda-" + what + ".json"
}

// lengths returns the lengths of -tokens, or the default ones.
func (o *options) lengths() ([]int, error) {
	switch {
	case o.tokens == "" && o.quick:
		return []int{64, 160}, nil
	case o.tokens == "":
		return []int{4096, 16384, 65536}, nil
	}
	var list []int
	for _, word := range strings.Split(o.tokens, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-tokens %s: %q is not a length", o.tokens, word)
		}
		list = append(list, n)
	}
	return list, nil
}

// writeJSON writes a value to a file.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// note prints a line and keeps it.
func (r *report) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "bench: "+line)
	r.Notes = append(r.Notes, line)
}

// add keeps a measured number.
func (r *report) add(m judge.Measure, shape string, tokens int, number float64) {
	r.Values = append(r.Values, judge.Value{Measure: m, Shape: shape, Tokens: tokens, Number: number, Unit: m.Unit()})
}
