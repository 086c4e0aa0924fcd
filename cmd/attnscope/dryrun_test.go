package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDryRunRefusesWhatARunRefuses runs mistakes with and without --dry-run: both fail
// with the same message.
func TestDryRunRefusesWhatARunRefuses(t *testing.T) {
	withFakeSlurm(t)
	model := randomLlama(t, 32, 2)
	good := `{"id":"a","input_ids":[1,2,3,4,5,6,7,8]}` + "\n"
	cut := lacksLayer(t)
	folder := t.TempDir()
	touch(t, folder, "exists.attn", "file", "half.attn.partial")
	if err := os.WriteFile(filepath.Join(folder, "half.attn.partial"), []byte("something"), 0o644); err != nil {
		t.Fatal(err)
	}
	var long strings.Builder
	fmt.Fprintf(&long, `{"id":"long","input_ids":[1%s]}`, strings.Repeat(",2", 4096))
	for name, c := range map[string]struct {
		prompts string
		out     string
		more    []string
		want    string
		verbs   string // empty: capture and submit
	}{
		"a token above the vocabulary": {prompts: `{"input_ids":[1,256]}`, want: "token 1 is 256, the model's vocabulary has 256"},
		"a negative token":             {prompts: `{"input_ids":[-3]}`, want: "input_ids: element 1 is -3"},
		"a reply token":                {prompts: `{"input_ids":[1],"response_ids":[999]}`, want: "reply token 0 is 999"},
		"a prompt that is too long":    {prompts: long.String(), want: `prompt "long": 4097 tokens, the model takes 4096`},
		"a reply that is too long":     {prompts: good, more: []string{"--max-new-tokens", "4090"}, want: "exceed the model's 4096 positions"},
		"an empty prompt":              {prompts: `{"input_ids":[]}`, want: "empty"},
		"no prompts":                   {prompts: "", want: "no prompts"},
		"an output that exists":        {prompts: good, out: "exists.attn", want: "exists.attn exists"},
		"an output that is a folder":   {prompts: good, out: ".", want: "is a folder"},
		"an unfinished output":         {prompts: good, out: "half.attn", want: "holds an unfinished capture", verbs: "capture"},
		"an output in no folder":       {prompts: good, out: "none/x.attn", want: "none/x.attn: cannot be created: no such file", verbs: "capture"},
		"an output in a file":          {prompts: good, out: "file/x.attn", want: "not a directory"},
		"a status file in no folder":   {prompts: good, more: []string{"--status", "/none/status"}, want: "--status /none/status", verbs: "capture"},
		"a checkpoint without a layer": {prompts: good, more: []string{"-m", cut}, want: "no tensor model.layers.2."},
		"an unknown device":            {prompts: good, more: []string{"--device", "gpu"}, want: "--device"},
		"flags that exclude":           {prompts: good, more: []string{"--truncate", "middle"}, want: "need each other"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "p.jsonl", c.prompts)
			for _, verb := range []string{"capture", "submit"} {
				if c.verbs != "" && c.verbs != verb {
					continue
				}
				out := filepath.Join(folder, "x.attn")
				if c.out != "" {
					out = filepath.Join(folder, c.out)
				}
				args := []string{verb, "-m", model, "-p", file, "-o", out, "--max-new-tokens", "2"}
				args = append(args, c.more...)
				code, _, dry := call(t, append(args, "--dry-run")...)
				again, _, wet := call(t, args...)
				if code == 0 || code != again || lastError(dry) != lastError(wet) || !strings.Contains(dry, c.want) {
					t.Errorf("%s --dry-run: exit %d, %s; without it: exit %d, %s; want %q", verb, code, dry, again, wet, c.want)
				}
				left, _ := filepath.Glob(filepath.Join(folder, "*"))
				if len(left) != 3 {
					t.Errorf("%s left %v", verb, left)
				}
			}
		})
	}
}

// lastError returns the error of what a command said.
func lastError(stderr string) string {
	var list []string
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, "prompts in") && !strings.Contains(line, "prompt in") {
			list = append(list, line)
		}
	}
	return strings.Join(list, "")
}

// TestDryRunOfAResume: a dump of another run is refused, a complete one needs nothing, and
// an unfinished one continues.
func TestDryRunOfAResume(t *testing.T) {
	model := randomLlama(t, 32, 2)
	file := write(t, "p.jsonl", `{"id":"a","input_ids":[1,2,3,4,5,6,7,8]}`+"\n")
	out := filepath.Join(t.TempDir(), "x.attn")
	args := []string{"capture", "-m", model, "-p", file, "-o", out, "--max-new-tokens", "2", "--prompt-windows", "0"}
	must(t, append(args, "--window-rows", "4")...)
	resume := append(args, "--resume", "--dry-run")
	if _, stdout, stderr := call(t, append(resume, "--window-rows", "4")...); stdout != "" || !strings.Contains(stderr, "already complete") {
		t.Errorf("complete: %q, %q", stdout, stderr)
	}
	code, _, dry := call(t, append(resume, "--window-rows", "2")...)
	if code != 1 || !strings.Contains(dry, "cannot resume") {
		t.Errorf("another plan: exit %d, %s", code, dry)
	}
	if err := os.Rename(out, out+".partial"); err != nil {
		t.Fatal(err)
	}
	code, _, dry = call(t, append(resume, "--window-rows", "2")...)
	if code != 1 || !strings.Contains(dry, "x.attn.partial") || !strings.Contains(dry, "cannot resume") {
		t.Errorf("another plan of a partial file: exit %d, %s", code, dry)
	}
	if code, stdout, stderr := call(t, append(resume, "--window-rows", "4")...); code != 0 || !strings.HasPrefix(stdout, "prompts ") {
		t.Errorf("continued: exit %d, %q, %s", code, stdout, stderr)
	}
}

// lacksLayer writes a checkpoint that lacks the last of its layers.
func lacksLayer(t *testing.T) string {
	t.Helper()
	dir := randomLlama(t, 32, 2)
	path := filepath.Join(dir, "config.json")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	more := strings.Replace(string(config), `"num_hidden_layers":2`, `"num_hidden_layers":3`, 1)
	if err := os.WriteFile(path, []byte(more), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestGenerateChecksBeforeItLoads: a prompt that generate cannot run is refused before the
// weights are read.
func TestGenerateChecksBeforeItLoads(t *testing.T) {
	file := write(t, "p.jsonl", `{"input_ids":[1,999]}`)
	code, _, stderr := call(t, "generate", "-m", lacksLayer(t), "-p", file)
	if code != 1 || !strings.Contains(stderr, "token 1 is 999") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
