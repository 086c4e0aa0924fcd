package main

import (
	"bytes"
	"regexp"
	"testing"
	"time"

	"github.com/attnscope/attnscope/capture"
)

// TestPlainProgress: where stderr is no terminal progress is a line every ten
// seconds, every minute after ten, without control characters.
func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, "capture")
	b.out = t.TempDir() + "/x.attn"
	p := capture.Progress{Prompt: 2, Prompts: 8, ID: "minutes/1", Tokens: 300, Total: 1000, Elapsed: 10 * time.Second, Rate: 31.25, Left: 95 * time.Second, Bytes: 3 << 20}
	b.capture(p)
	if out.Len() > 0 {
		t.Errorf("a line at once: %q", out.String())
	}
	b.last = time.Now().Add(-11 * time.Second)
	b.capture(p)
	b.capture(p)
	if want := regexp.MustCompile(`^attnscope: capture: prompt 3 of 8 \(minutes/1\), 300 of 1000 tokens, 31\.2 tokens/s, 1m35s left, 3\.0 MiB written(, [0-9.]+ [KMGT]iB free)?\n$`); !want.MatchString(out.String()) {
		t.Errorf("%q, want one line like %s", out.String(), want)
	}
	out.Reset()
	b.started, b.last = time.Now().Add(-time.Hour), time.Now().Add(-11*time.Second)
	b.capture(p)
	if out.Len() > 0 {
		t.Errorf("after an hour a line every ten seconds: %q", out.String())
	}
	b.last = time.Now().Add(-61 * time.Second)
	b.capture(capture.Progress{Prompts: 8, Total: 1000, Left: -1})
	if want := "attnscope: capture: prompt 1 of 8 (), 0 of 1000 tokens, unknown time left\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	b.last = time.Now().Add(-61 * time.Second)
	b.capture(capture.Progress{Place: 2, Prompts: 8, ID: "garden/1", Total: 1000, Left: -1})
	want := "attnscope: capture: prompt 2 of 8 (garden/1), 0 finished, 0 of 1000 tokens, unknown time left\n"
	if out.String() != want {
		t.Errorf("several prompts under way: %q, want %q", out.String(), want)
	}
}

// TestPlainSteps: the progress of a work without tokens is a share.
func TestPlainSteps(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, "verify run.attn")
	b.last = time.Now().Add(-11 * time.Second)
	b.steps(300, 900)
	b.steps(400, 900)
	b.close()
	if want := "attnscope: verify run.attn: 33 %\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
