package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// TestMain lets the test binary be the program itself, so that a capture can
// be killed as a user's would be.
func TestMain(m *testing.M) {
	tokenizer.Sandbox()
	if os.Getenv("ATTNSCOPE_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// program is a command of the program as a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MAIN=1")
	return cmd
}

// TestKilledCaptureResumes kills captures at 200 random moments, with a signal
// that cannot be caught, and resumes them.
func TestKilledCaptureResumes(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	var lines []string
	for i := range 12 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:90+5*i]}))
	}
	p := write(t, "p.jsonl", strings.Join(lines, "\n"))
	kills := 200
	if testing.Short() {
		kills = 20
	}
	killAndResume(t, kills, func(out string) []string {
		return []string{"capture", "-m", f.dir, "-p", p, "--max-new-tokens", "8", "--ignore-eos", "-o", out}
	})
}

// TestKilledOnSmolLM2 does the same on the default model.
func TestKilledOnSmolLM2(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, minutes on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	var lines []string
	for i := range 6 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "prompt": strings.Repeat(fmt.Sprintf("Chapter %d tells of the sea and of those who sail it. ", i), 20)}))
	}
	p := write(t, "p.jsonl", strings.Join(lines, "\n"))
	killAndResume(t, 10, func(out string) []string {
		return []string{"capture", "-p", p, "--max-new-tokens", "8", "--ignore-eos", "-o", out}
	})
}

// killAndResume kills captures, one after the other, at random moments until
// they are done. What is finished when one dies can be read at once, its table
// is part of the undisturbed run's, and it stands, byte for byte, at the
// beginning of the next one's file: never run again, never lost. The tables in
// the end are those of the undisturbed run.
func killAndResume(t *testing.T, kills int, args func(out string) []string) {
	rng, dir := rand.New(rand.NewPCG(11, 11)), t.TempDir()
	whole := filepath.Join(dir, "whole.attn")
	start := time.Now()
	if text, err := program(t, args(whole)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	took := time.Since(start)
	want := must(t, "hitrate", whole, "--by", "layer,prompt")
	killed, withPrompts, finished := 0, 0, 0
	for run := 0; killed < kills; run++ {
		out := filepath.Join(dir, fmt.Sprint(run, ".attn"))
		var before []byte // of the file: the header and the finished prompts
		for {
			cmd := program(t, append(args(out), "--resume")...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(rng.Int64N(int64(took))), func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			if timer.Stop(); err == nil {
				finished++
				break
			}
			if cmd.ProcessState.Exited() {
				t.Fatalf("resumed: %v: %s", err, errs.String())
			}
			killed++
			before = checkKilled(t, out, before, want)
			if len(before) > 0 {
				withPrompts++
			}
			if killed >= 2*kills {
				t.Fatalf("killed %d times, and never done", killed)
			}
		}
		data, err := os.ReadFile(out)
		if err != nil || !bytes.HasPrefix(data, before) {
			t.Errorf("run %d: what was finished when it was killed is not in the dump (%v)", run, err)
		}
		must(t, "verify", out)
		if got := must(t, "hitrate", out, "--by", "layer,prompt"); got != want {
			t.Errorf("run %d: the resumed table differs from the undisturbed one", run)
		}
		os.Remove(out)
	}
	t.Logf("%d kills, %d with prompts finished, over %d captures", killed, withPrompts, finished)
	if withPrompts == 0 || finished == 0 {
		t.Error("no capture was killed between two prompts, or none was done: the moments are ill chosen")
	}
}

// checkKilled looks at what a killed capture has left, and returns the part of
// the file that is finished.
func checkKilled(t *testing.T, out string, before []byte, want string) []byte {
	t.Helper()
	path := out + ".partial"
	if _, err := os.Stat(out); err == nil {
		path = out // killed after its name was given
	}
	data, err := os.ReadFile(path)
	if err != nil {
		if len(before) > 0 {
			t.Errorf("killed: %v", err)
		}
		return before // before it began to write
	}
	r, err := dumps.Open(path)
	if err != nil {
		if len(before) > 0 {
			t.Errorf("killed: %v", err)
		}
		return before // before the header was whole
	}
	n := len(r.Prompts())
	r.Close()
	if !bytes.HasPrefix(data, before) {
		t.Error("killed: what was finished before is another now")
	}
	var info struct {
		Complete bool
		Prompts  []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(must(t, "info", "--json", path)), &info); err != nil || info.Complete != r.Complete() || len(info.Prompts) != n {
		t.Errorf("killed: info says %+v (%v), want %d prompts", info, err, n)
	}
	if n == 0 {
		return before
	}
	for line := range strings.Lines(must(t, "hitrate", path, "--by", "layer,prompt")) {
		if !strings.Contains(want, line) {
			t.Errorf("killed: the partial table says %q, the whole one does not", line)
		}
	}
	end := bytes.LastIndex(data, []byte("ATN1\x0b")) // the end of the last prompt
	for ; end >= 0; end = bytes.LastIndex(data[:end], []byte("ATN1\x0b")) {
		stored := binary.LittleEndian.Uint64(data[end+48:])
		if stop := uint64(end) + 64 + stored; stop <= uint64(len(data)) {
			return slices.Clone(data[:stop])
		}
	}
	t.Error("killed: no end of a prompt in the file")
	return before
}

// TestSignalsLeaveAResumableFile: SIGINT and SIGTERM stop a capture between two
// steps, with exit 1, a hint, and a status that says so.
func TestSignalsLeaveAResumableFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: no signals on Windows")
	}
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	var lines []string
	for i := range 400 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:90+i%50]}))
	}
	p, dir := write(t, "p.jsonl", strings.Join(lines, "\n")), t.TempDir()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		out, state := filepath.Join(dir, fmt.Sprint(sig, ".attn")), filepath.Join(dir, "status.json")
		args := []string{"capture", "-m", f.dir, "-p", p, "--max-new-tokens", "4", "--ignore-eos", "-o", out, "--status", state}
		cmd := program(t, args...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for { // until some prompts are there
			time.Sleep(10 * time.Millisecond)
			if r, err := dumps.Open(out + ".partial"); err == nil {
				n := len(r.Prompts())
				if r.Close(); n >= 3 {
					break
				}
			}
			if cmd.ProcessState != nil {
				t.Fatal(errs.String())
			}
		}
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "interrupted") || !strings.Contains(errs.String(), "--resume continues it") {
			t.Fatalf("%v: exit %d, %q", sig, code, errs.String())
		}
		r, err := dumps.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		done := len(r.Prompts())
		r.Close()
		if s := readStatus(t, state); s.State != "interrupted" || s.PromptsDone != done || s.Prompts != len(lines) {
			t.Errorf("%v: %d prompts are done, the status says %+v", sig, done, s)
		}
		_, _, text := call(t, append(args, "--resume")...)
		if kept := fmt.Sprintf("holds the finished prompts (%d); the same", done); !strings.Contains(errs.String(), kept) {
			t.Errorf("%v: %q, want %q", sig, errs.String(), kept)
		}
		if !strings.Contains(text, fmt.Sprintf("%d prompts, %d of them in this run, ", len(lines), len(lines)-done)) {
			t.Errorf("%v: resumed: %q", sig, text)
		}
		if s := readStatus(t, state); s.State != "done" || s.PromptsDone != len(lines) || s.BytesWritten == 0 || s.SecondsLeft == nil || *s.SecondsLeft != 0 {
			t.Errorf("%v: resumed: the status says %+v", sig, s)
		}
		must(t, "verify", out)
	}
}

func readStatus(t *testing.T, path string) (s status) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	return s
}

// TestOtherRunsAreNotResumed names the field that differs; a finished dump needs
// nothing more.
func TestOtherRunsAreNotResumed(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "a", "input_ids": ids})+"\n"+jsonOf(map[string]any{"id": "b", "input_ids": ids[:90]}))
	q := write(t, "q.jsonl", jsonOf(map[string]any{"id": "a", "input_ids": ids[1:]}))
	layers, _ := f.shape()
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
		{"--layers", "0", fmt.Sprintf("plan layers is %v there and [0] here", []int{0, 1, 2, 3}[:layers])},
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
	merged := filepath.Join(t.TempDir(), "m.attn")
	if code, _, errs := call(t, "merge", cut+".partial", "-o", merged); code != 1 || !strings.Contains(errs, "not complete; its 1 finished prompts") {
		t.Errorf("merge of a partial dump: exit %d, %q, want exit 1 and a warning", code, errs)
	}
	if code, _, errs := call(t, "merge", "--partial", cut+".partial", "-o", merged); code != 0 || !strings.Contains(errs, "not complete; its 1 finished prompts") {
		t.Errorf("merge --partial of a partial dump: exit %d, %q, want a warning", code, errs)
	}
	must(t, append(base, "-o", cut)...)
	if a, b := must(t, "hitrate", done), must(t, "hitrate", cut); a != b {
		t.Error("the resumed table differs")
	}
}

func TestSharedDocumentEqualsSeparatePrompts(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
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
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.tokens(longPrompt)}))
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
