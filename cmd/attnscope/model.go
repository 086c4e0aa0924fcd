package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
)

// openSource opens the model of --model on the device of --device, without its
// weights.
func openSource(c *cli.Context) (*capture.Source, error) {
	if err := model.CheckDevice(c.String("device")); err != nil {
		return nil, usagef("--%w", err)
	}
	return openOn(c, c.String("device"))
}

// maxThreads is the largest number of --threads. Each thread needs memory of its own.
const maxThreads = 1024

// openOn opens the model of --model on a device, without its weights.
func openOn(c *cli.Context, device string) (*capture.Source, error) {
	if n := c.Int("threads"); n < 0 || n > maxThreads {
		return nil, usagef("--threads %d: want 0 to %d", n, maxThreads)
	}
	return openNamed(c, c.String("model"), device)
}

// openNamed opens a model by its name, without its weights.
func openNamed(c *cli.Context, name, device string) (*capture.Source, error) {
	o := modelOptions(c, name)
	o.Device = device
	return capture.Open(c.Context, name, o)
}

// modelOptions returns the options of opening a model on the processor.
func modelOptions(c *cli.Context, name string) capture.Options {
	return capture.Options{
		Revision: c.String("revision"), Offline: c.Bool("offline"),
		Compute: c.String("compute"), Threads: c.Int("threads"),
		Log:          func(line string) { notef(c, "%s", line) },
		Fetching:     func() (func(done, total int64), func()) { return fetchBar(c, name) },
		HeadersOnly:  c.Command.Name == "info" || c.Bool("dry-run"),
		AnyTensors:   c.Command.Name == "info",
		IgnoreConfig: c.StringSlice("ignore-config"),
	}
}

// fetchBar shows the progress of fetching a model: a bar that appears with the first
// bytes.
func fetchBar(c *cli.Context, name string) (progress func(done, total int64), end func()) {
	var once sync.Once
	var b *bar
	progress = func(done, total int64) {
		once.Do(func() { b = newBar(c.App.ErrWriter, "fetching "+name) })
		b.bytes(done, total)
	}
	end = func() {
		if b != nil {
			b.close()
		}
	}
	return progress, end
}

// loadSource brings the weights into memory. It fetches them, if need be.
func loadSource(c *cli.Context, s *capture.Source) error {
	if !hasFlag(c, "memory") {
		if err := limitWeights(c, s); err != nil {
			return err
		}
	}
	err := s.Load(c.Context)
	if os.Getenv("GOGC") == "" {
		// Weights and cache lie outside the heap; sums and waiting blocks do not.
		debug.SetGCPercent(50)
	}
	return err
}

// threadCount is the number of threads that --threads asks for.
func threadCount(c *cli.Context) int {
	if n := c.Int("threads"); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
