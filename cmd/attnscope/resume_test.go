package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps"
)

// TestMain lets the test binary be the program itself, so that a capture can
// be killed as a user's would be.
func TestMain(m *testing.M) {
	if os.Getenv("ATTNSCOPE_TEST_MAIN") == "1" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestKilledCaptureResumes kills captures at many moments, with a signal that
// cannot be caught, and resumes them: what was finished is read at once, and
// the table in the end is that of an undisturbed run.
func TestKilledCaptureResumes(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.ints("input_ids")
	var lines []string
	for i := range 12 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:90+5*i]}))
	}
	p, dir := write(t, "p.jsonl", strings.Join(lines, "\n")), t.TempDir()
	args := func(out string) []string {
		return []string{"capture", "-m", f.dir, "-p", p, "--max-new-tokens", "8", "--ignore-eos", "-o", out}
	}
	whole := filepath.Join(dir, "whole.attn")
	start := time.Now()
	must(t, args(whole)...)
	took := time.Since(start)
	want := must(t, "hitrate", whole, "--by", "layer,prompt")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	partial := 0
	for i := range 20 {
		out := filepath.Join(dir, fmt.Sprint(i, ".attn"))
		for try := 0; ; try++ {
			cmd := exec.Command(self, append(args(out), "--resume")...)
			cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MAIN=1")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if try == 0 {
				time.Sleep(took * time.Duration(i) / 10)
				_ = cmd.Process.Kill()
			}
			if err := cmd.Wait(); err == nil {
				break
			} else if try > 0 {
				t.Fatalf("resumed: %v: %s", err, errs.String())
			}
			if _, err := os.Stat(out + ".partial"); err != nil {
				continue
			}
			r, err := dumps.Open(out + ".partial")
			if err != nil {
				continue // killed before the header was whole
			}
			n := len(r.Prompts())
			r.Close()
			if n == 0 {
				continue
			}
			partial++
			var info struct {
				Complete bool
				Prompts  []struct{ ID string }
			}
			if err := json.Unmarshal([]byte(must(t, "info", "--json", out+".partial")), &info); err != nil || info.Complete != r.Complete() || len(info.Prompts) != n {
				t.Errorf("killed: info says %+v (%v), want %d prompts", info, err, n)
			}
			for _, line := range strings.Split(strings.TrimSpace(must(t, "hitrate", out+".partial", "--by", "layer,prompt")), "\n") {
				if !slices.Contains(strings.Split(want, "\n"), line) {
					t.Errorf("killed: the partial table says %q, the whole one does not", line)
				}
			}
		}
		must(t, "verify", out)
		if got := must(t, "hitrate", out, "--by", "layer,prompt"); got != want {
			t.Errorf("run %d: the resumed table differs from the undisturbed one", i)
		}
	}
	t.Logf("%d of 20 captures were killed with some prompts finished", partial)
}

// TestOtherRunsAreNotResumed names the field that differs; a finished dump needs
// nothing more.
func TestOtherRunsAreNotResumed(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.ints("input_ids")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "a", "input_ids": ids})+"\n"+jsonOf(map[string]any{"id": "b", "input_ids": ids[:90]}))
	q := write(t, "q.jsonl", jsonOf(map[string]any{"id": "a", "input_ids": ids[1:]}))
	done := filepath.Join(t.TempDir(), "x.attn")
	base := []string{"capture", "-m", f.dir, "-p", p, "--max-new-tokens", "4", "--ignore-eos", "--resume"}
	must(t, append(base, "-o", done)...)
	must(t, append(base, "-o", done)...)
	whole, err := os.ReadFile(done)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "y.attn")
	if err := os.WriteFile(cut+".partial", whole[:len(whole)*3/4], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"--max-new-tokens", "5", "plan max_new_tokens is 4 there and 5 here"},
		{"--window-rows", "64", "plan window_rows is 128 there and 64 here"},
		{"--layers", "0-2", "plan layers is [0 1 2 3] there and [0 1 2] here"},
		{"--precision", "exact", `plan precision is "fine" there and "exact" here`},
		{"--shard", "0/2", `plan shard is "" there and "0/2" here`},
		{"-p", q, "prompts_sha256"},
	} {
		for _, out := range []string{done, cut} {
			code, _, errs := call(t, append(append(base, "-o", out), c[:2]...)...)
			if code != 1 || !strings.Contains(errs, c[2]) {
				t.Errorf("--resume with %s %s: exit %d, %q, want exit 1 and %q", c[0], c[1], code, errs, c[2])
			}
		}
	}
	if code, _, errs := call(t, "merge", cut+".partial", "-o", filepath.Join(t.TempDir(), "m.attn")); code != 0 || !strings.Contains(errs, "not complete; its 1 finished prompts") {
		t.Errorf("merge of a partial dump: exit %d, %q, want a warning", code, errs)
	}
	must(t, append(base, "-o", cut)...)
	if a, b := must(t, "hitrate", done), must(t, "hitrate", cut); a != b {
		t.Error("the resumed table differs")
	}
}

func TestSharedDocumentEqualsSeparatePrompts(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.ints("input_ids")
	other := append(slices.Clone(ids[:150]), 9, 8, 7, 6, 5)
	dir := t.TempDir()
	record := func(id string, ids []int32, doc string) string {
		return jsonOf(map[string]any{"id": id, "context": "", "input_ids": ids, "document_id": doc})
	}
	p := write(t, "p.jsonl", record("a", ids, "d")+"\n"+record("b", other, "d"))
	dump := filepath.Join(dir, "x.attn")
	must(t, "capture", "-m", f.dir, "-p", p, "-o", dump, "--window-rows", "16", "--prompt-windows", "1x16", "--max-new-tokens", "6", "--ignore-eos")
	shared := must(t, "hitrate", dump, "--window", "16", "--by", "layer,prompt")
	for i, only := range []string{record("a", ids, ""), record("b", other, "")} {
		one := filepath.Join(dir, fmt.Sprint(i, ".attn"))
		must(t, "capture", "-m", f.dir, "-p", write(t, "q.jsonl", only), "-o", one, "--window-rows", "16", "--prompt-windows", "1x16", "--max-new-tokens", "6", "--ignore-eos")
		for _, line := range strings.Split(strings.TrimSpace(must(t, "hitrate", one, "--window", "16", "--by", "layer,prompt")), "\n") {
			if !strings.Contains(shared, line) {
				t.Errorf("sharing the document changes the table: %q is not in it", line)
			}
		}
	}
}

// TestOutputThatCannotGrow limits the size of files, which fails writes as a
// full disk does: the file is named, nothing is left of a prompt that did not
// finish, and other verbs leave no output.
func TestOutputThatCannotGrow(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: no sh to limit the size of files with")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, dump := captured(t, "llama", "--store", "rows")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")}))
	dir := t.TempDir()
	for _, c := range []struct {
		out  string
		args []string
	}{
		{"c.attn.partial", []string{"capture", "-m", f.dir, "-p", p, "--ignore-eos", "-o", filepath.Join(dir, "c.attn")}},
		{"e.npz", []string{"export", dump, "-o", filepath.Join(dir, "e.npz")}},
		{"e.parquet", []string{"export", dump, "-o", filepath.Join(dir, "e.parquet")}},
		{"m.attn", []string{"merge", dump, "-o", filepath.Join(dir, "m.attn")}},
	} {
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -f 4; exec "$0" "$@"`, self}, c.args...)...)
		cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MAIN=1")
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "file too large") || !strings.Contains(string(out), c.out) {
			t.Errorf("%s: %v, %q, want exit 1 and the name of the file", c.args[0], err, out)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
}

// failing is a stdout that takes nothing.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }

// TestStdoutThatCannotBeWritten: what is printed line by line fails too.
func TestStdoutThatCannotBeWritten(t *testing.T) {
	f, dump := captured(t, "llama")
	for _, args := range [][]string{{"info", dump}, {"info", "--json", dump}, {"verify", dump}, {"hitrate", dump}, {"info", "--devices"}, {"info", "-m", f.dir}, {"version"}} {
		var errs bytes.Buffer
		if code := run(context.Background(), args, strings.NewReader(""), failing{}, &errs); code != 1 || !strings.Contains(errs.String(), "no room") {
			t.Errorf("%v: exit %d, %q, want exit 1", args, code, errs.String())
		}
	}
}
