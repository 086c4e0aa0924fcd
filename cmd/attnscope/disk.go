package main

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/sizes"
)

// isDiskFull reports whether an error is about lack of space on a disk.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// diskWatch warns once if the disk is too small for what a capture still has to
// write.
type diskWatch struct {
	c      *cli.Context
	out    string
	last   time.Time
	warned bool
}

// watchDisk compares for the first time, before anything is written.
func watchDisk(c *cli.Context, cfg *capture.Config, m model.Config) *diskWatch {
	d := &diskWatch{c: c, out: cfg.Out}
	have := int64(0)
	if fi, err := os.Stat(cfg.Out + ".partial"); err == nil && cfg.Resume {
		have = fi.Size()
	}
	d.compare(forecast.Capture(cfg, m, threadCount(c)).Disk - have)
	return d
}

// update compares again, once a minute, with the bytes per token written so far.
func (d *diskWatch) update(p capture.Progress) {
	if time.Since(d.last) < time.Minute || p.Prompt == 0 || p.Tokens == 0 {
		return
	}
	d.compare(int64(float64(p.Bytes) / float64(p.Tokens) * float64(p.Total-p.Tokens)))
}

func (d *diskWatch) compare(need int64) {
	d.last = time.Now()
	free, ok := freeBytes(d.out)
	if !ok || d.warned || need <= free {
		return
	}
	d.warned = true
	warnf(d.c, "%s: the capture still has to write about %s, but the disk has only %s free;"+
		" it will stop when the disk is full: free some space and continue it with --resume",
		d.out, sizes.Text(need), sizes.Text(free))
}
