package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/model"
)

// openSource opens the model of --model on the device of --device, without its
// weights.
func openSource(c *cli.Context) (*capture.Source, error) {
	if err := model.CheckDevice(c.String("device")); err != nil {
		return nil, usagef("--%v", err)
	}
	return openOn(c, c.String("device"))
}

// openOn opens the model of --model on a device, without its weights.
func openOn(c *cli.Context, device string) (*capture.Source, error) {
	if n := c.Int("threads"); n < 0 {
		return nil, usagef("--threads %d: want 0 or more", n)
	}
	name := c.String("model")
	bar := &lateBar{c: c, title: "fetching " + name}
	defer bar.close()
	return capture.Open(c.Context, name, capture.Options{
		Revision: c.String("revision"), Offline: c.Bool("offline"),
		Device: device, Compute: c.String("compute"), Threads: c.Int("threads"),
		Log: func(line string) { notef(c, "%s", line) }, Fetched: bar.bytes,
		IgnoreConfig: c.StringSlice("ignore-config"),
	})
}

// resolveModel returns the folder or file of a model, fetching it if need be.
func resolveModel(c *cli.Context, name string) (string, error) {
	bar := &lateBar{c: c, title: "fetching " + name}
	defer bar.close()
	return checkpoint.Resolve(c.Context, name, checkpoint.ResolveOptions{
		Revision: c.String("revision"), Offline: c.Bool("offline"),
		Log: func(line string) { notef(c, "%s", line) }, Progress: bar.bytes,
	})
}

// lateBar is a bar that appears with the first byte fetched.
type lateBar struct {
	c     *cli.Context
	title string
	once  sync.Once
	bar   *bar
}

func (l *lateBar) bytes(done, total int64) {
	l.once.Do(func() { l.bar = newBar(l.c.App.ErrWriter, l.title) })
	l.bar.bytes(done, total)
}

func (l *lateBar) close() {
	if l.bar != nil {
		l.bar.close()
	}
}

// loadSource brings the weights into memory.
func loadSource(s *capture.Source) error {
	err := s.Load()
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
