//go:build cuda

// Command bench runs the card's tests or its benchmarks and writes one JSON file. `make
// test-cuda` and `make bench-cuda` call it; a bundle made by `make cuda-bundle`
// contains it next to the test binaries, so that a machine with a card and a driver
// needs nothing else.
//
//	bench test  -o FILE.json [-dir FOLDER]   the test binaries in FOLDER
//	bench speed -o FILE.json [-quick]        captures of two shapes, at random
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/attnscope/attnscope/engine/cuda"
)

// report is the content of the JSON file in both modes.
type report struct {
	What    string        `json:"what"`
	Started string        `json:"started"`
	Seconds float64       `json:"seconds"`
	Host    string        `json:"host"`
	CPUs    int           `json:"cpus"`
	Devices []cuda.Device `json:"devices"`
	Why     string        `json:"why_no_card,omitempty"`
	Tests   []testResult  `json:"tests,omitempty"`
	Passed  int           `json:"passed,omitempty"`
	Failed  int           `json:"failed,omitempty"`
	Skipped int           `json:"skipped,omitempty"`
	Speed   []speedResult `json:"speed,omitempty"`
	Product *product      `json:"product,omitempty"`
	Torch   any           `json:"torch,omitempty"`
	Notes   []string      `json:"notes,omitempty"`
}

// limit is the time limit of each mode. Whatever is not finished by then is left out,
// with a note.
const limit = 7*time.Minute + 30*time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 || os.Args[1] != "test" && os.Args[1] != "speed" {
		fmt.Fprintln(os.Stderr, "usage: bench test|speed -o FILE.json")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	out := flags.String("o", "cuda-"+os.Args[1]+".json", "JSON file to write")
	dir := flags.String("dir", ".", "folder of the test binaries")
	quick := flags.Bool("quick", false, "tiny sizes, to check that it works")
	_ = flags.Parse(os.Args[2:])
	start := time.Now()
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	host, _ := os.Hostname()
	r := &report{What: os.Args[1], Started: start.UTC().Format(time.RFC3339), Host: host, CPUs: runtime.NumCPU()}
	r.Devices, r.Why = cuda.Devices()
	var err error
	switch {
	case r.Why != "":
		err = fmt.Errorf("no card: %s", r.Why)
	case os.Args[1] == "test":
		err = r.test(ctx, *dir)
	default:
		err = r.speed(ctx, *quick)
	}
	r.Seconds = time.Since(start).Seconds()
	text, err2 := json.MarshalIndent(r, "", "  ")
	if err2 == nil {
		err2 = os.WriteFile(*out, append(text, '\n'), 0o644)
	}
	if err2 != nil {
		return err2
	}
	fmt.Fprintf(os.Stderr, "bench: %s after %.0f s\n", *out, r.Seconds)
	return err
}

// note prints a line and keeps it.
func (r *report) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "bench: "+line)
	r.Notes = append(r.Notes, line)
}
