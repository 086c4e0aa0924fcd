package main

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestDashes: - is stdout for tables, and is refused where it would be the name of a file.
func TestDashes(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range []string{
		"hitrate -", "info -", "verify -", "repair -", "merge - -o all.attn", "export - -o x.npz", "heatmap - -o figures", "report - -o x.html",
		"view --no-open -", "snapkv -", "advise - --loss 5%",
	} {
		code, _, errs := call(t, strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, "a dump cannot be read from stdin") {
			t.Errorf("%s: exit %d: %s", args, code, errs)
		}
	}
	for args, flag := range map[string]string{
		"capture -p x.jsonl -o -": "--output", "merge a.attn -o -": "--output", "export a.attn -o -": "--output",
		"heatmap a.attn -o -": "--output", "report a.attn -o -": "--output", "demo -o -": "--output", "figure --from -": "--from",
		"snapkv a.attn --figures -": "--figures", "snapkv a.attn --indices -": "--indices", "snapkv --states -": "--states",
		"advise a.attn --loss 5% --calibration -": "--calibration", "advise a.attn --calibrate -": "--calibrate",
		"capture -p - -o x.attn --status -": "--status", "info -m -": "--model", "generate -p x.jsonl --template -": "--template",
	} {
		code, _, errs := call(t, strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, ": "+flag+" cannot be stdin or stdout") {
			t.Errorf("%s: exit %d: %s", args, code, errs)
		}
	}
	dump := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Random(t, dump, "rows", "fine", rand.New(rand.NewPCG(1, 2)))
	want := must(t, "hitrate", dump)
	if got := must(t, "hitrate", dump, "-o", "-"); got != want || !strings.Contains(got, "hit_rate") {
		t.Errorf("hitrate -o - prints %q, want %q", got, want)
	}
}
