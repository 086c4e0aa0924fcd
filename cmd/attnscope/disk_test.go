//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/attnscope/attnscope/dumps"
)

// TestFullDisk fills a disk of a megabyte: the capture says so, its finished
// prompts can be read where they are, and with room made it goes on to the table
// of an undisturbed run.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("SKIPPED, no disk was filled: mounting a small one needs root (%v)", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, 0) })
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	var lines []string
	for i := range 12 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:90+5*i]}))
	}
	p := write(t, "p.jsonl", strings.Join(lines, "\n"))
	args := func(out string) []string {
		return []string{"capture", "-m", f.dir, "-p", p, "--max-new-tokens", "8", "--ignore-eos", "--store", "rows", "--precision", "exact", "-o", out}
	}
	whole, out := filepath.Join(t.TempDir(), "whole.attn"), filepath.Join(disk, "x.attn")
	must(t, args(whole)...)
	code, _, errs := call(t, args(out)...)
	if code != 1 || !strings.Contains(errs, "no space left on device") || !strings.Contains(errs, out) || !strings.Contains(errs, "hint: ") || !strings.Contains(errs, "--resume continues it") {
		t.Fatalf("exit %d, %q", code, errs)
	}
	if !strings.Contains(errs, "the disk has only") {
		t.Errorf("no warning before: %q", errs)
	}
	r, err := dumps.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	done := len(r.Prompts())
	r.Close()
	if done == 0 || done == len(lines) {
		t.Fatalf("%d of %d prompts were finished: the disk has the wrong size for this test", done, len(lines))
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	must(t, append(args(out), "--resume")...)
	must(t, "verify", out)
	if want := must(t, "hitrate", whole, "--by", "layer,prompt"); must(t, "hitrate", out, "--by", "layer,prompt") != want {
		t.Error("the resumed table differs from the undisturbed one")
	}
}
