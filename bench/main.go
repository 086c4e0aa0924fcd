// Command bench compares attnscope with PyTorch and llama.cpp on this machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

func main() {
	worker := flag.String("worker", "", "run as the worker of our engine on a `model`")
	threads := flag.Int("threads", runtime.NumCPU(), "threads")
	compute := flag.String("compute", "f32", "arithmetic of our engine")
	profile := flag.String("cpuprofile", "", "with -worker: write a CPU profile to a `file`")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if *worker != "" {
		if err := ours(*worker, *threads, *compute, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
}
