package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/outfile"
)

// status is the content of --status FILE, which tells other programs how far a
// capture is. The file holds one JSON object and is replaced at most once a
// second, so that a reader always finds a whole object. Unknown values are left
// out.
type status struct {
	State         string   `json:"state"` // running, done, interrupted, failed
	PID           int      `json:"pid"`
	Host          string   `json:"host"`
	Output        string   `json:"output"`
	Started       string   `json:"started"`
	Updated       string   `json:"updated"`
	Prompt        string   `json:"prompt,omitempty"` // the prompt being captured
	PromptsDone   int      `json:"prompts_done"`
	Prompts       int      `json:"prompts"`
	TokensDone    int64    `json:"tokens_done"`
	Tokens        int64    `json:"tokens"`
	TokensPerSec  *float64 `json:"tokens_per_second,omitempty"`
	SecondsLeft   *float64 `json:"seconds_left,omitempty"`
	BytesWritten  int64    `json:"bytes_written"`
	DiskFreeBytes *int64   `json:"disk_free_bytes,omitempty"`
	Error         string   `json:"error,omitempty"`
}

// statusFile writes a status to a path; with an empty path it writes nothing.
type statusFile struct {
	path string
	s    status
	last time.Time
}

func newStatusFile(path, output string) *statusFile {
	host, _ := os.Hostname()
	return &statusFile{path: path, s: status{
		State: "running", PID: os.Getpid(), Host: host, Output: output, Started: time.Now().UTC().Format(time.RFC3339),
	}}
}

// update records progress.
func (f *statusFile) update(p capture.Progress) {
	f.s.Prompt = p.ID
	f.s.PromptsDone = p.Prompt
	f.s.Prompts = p.Prompts
	f.s.TokensDone = p.Tokens
	f.s.Tokens = p.Total
	f.s.BytesWritten = p.Bytes
	if p.Rate > 0 {
		f.s.TokensPerSec = &p.Rate
	}
	if p.Left >= 0 {
		left := p.Left.Seconds()
		f.s.SecondsLeft = &left
	}
	if time.Since(f.last) >= time.Second {
		_ = f.write() // the capture continues without its status file
	}
}

// end records how the capture ended.
func (f *statusFile) end(err error) error {
	f.s.Prompt = ""
	switch {
	case err == nil, errors.Is(err, dumps.ErrComplete):
		f.s.State = "done"
		if fi, err := os.Stat(f.s.Output); err == nil {
			f.s.BytesWritten = fi.Size()
		}
		zero := 0.0
		f.s.SecondsLeft = &zero
	case errors.Is(err, context.Canceled):
		f.s.State = "interrupted"
	default:
		f.s.State = "failed"
		f.s.Error = err.Error()
	}
	return f.write()
}

// check returns an error if the file cannot be written.
func (f *statusFile) check() error {
	if f.path == "" {
		return nil
	}
	if filepath.Clean(f.path) == filepath.Clean(f.s.Output) {
		return fmt.Errorf("--status %s: it is also the output", f.path)
	}
	if at, err := os.Stat(f.path); err == nil && at.IsDir() {
		return fmt.Errorf("--status %s: it is a folder, want a file", f.path)
	}
	if err := outfile.Check(f.path); err != nil {
		return fmt.Errorf("--status: %w", err)
	}
	tmp := f.temporary()
	if err := os.WriteFile(tmp, nil, 0o644); err != nil {
		return fmt.Errorf("--status %s: %w", f.path, err)
	}
	return os.Remove(tmp)
}

// temporary returns the name of the file until it replaces the old one.
func (f *statusFile) temporary() string { return fmt.Sprintf("%s.%d", f.path, os.Getpid()) }

func (f *statusFile) write() error {
	if f.path == "" {
		return nil
	}
	f.last = time.Now()
	f.s.Updated = f.last.UTC().Format(time.RFC3339)
	if free, ok := freeBytes(f.s.Output); ok {
		f.s.DiskFreeBytes = &free
	}
	text, err := json.Marshal(f.s)
	if err != nil {
		return err
	}
	tmp := f.temporary()
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return errors.Join(fmt.Errorf("--status %s: %w", f.path, err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, f.path); err != nil {
		return errors.Join(fmt.Errorf("--status %s: %w", f.path, err), os.Remove(tmp))
	}
	return nil
}
