package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

var update = flag.Bool("update", false, "write what the verbs print into the golden sections of testdata/script")

// TestScripts runs testdata/script/*.txtar: for each verb its help, a run with
// its output, and its main errors. After a change of wording,
//
//	go test ./cmd/attnscope -run TestScripts -update
//
// rewrites what the scripts compare with. Their commands, next to those of
// package testscript:
//
//	attnscope ARG... [<FILE]       run a verb that exits with 0; <FILE is its stdin
//	exits CODE ARG... [<FILE]      run a verb that exits with CODE
//	serves ARG...                  run a verb until it prints an address, then interrupt it
//	dump FILE.txt FILE.attn        write the dump that a text describes (dumpstest.WriteText)
//	random FILE.attn STORE ID...   write a random dump with all kinds of blocks
//	model DIR [KEY=JSON...]        make a model of 2 layers, with changes of its config.json
//	round DIGITS FILE              print FILE with its decimal fractions rounded
//	mask REGEXP TEXT FILE          print FILE with TEXT for what matches
//	states FILE LENGTH VALUES      write tensors for snapkv --states: LENGTH keys, VALUES values
//	damage FILE OFFSET             change a byte; a negative OFFSET counts from the end
//	poke FILE OFFSET HEX           overwrite bytes
//	cut FILE BYTES                 keep the first BYTES; negative: all but the last
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join(root, "cmd/attnscope/testdata/script"),
		UpdateScripts:       *update,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values["test"] = env.T()
			env.Setenv("HF_HUB_OFFLINE", "1")
			env.Setenv("DISPLAY", "") // no browser is opened
			env.Setenv("WAYLAND_DISPLAY", "")
			env.Setenv("HF_HOME", filepath.Join(env.WorkDir, "hub"))
			env.Setenv("ATTNSCOPE_MODELS", filepath.Join(env.WorkDir, "models"))
			env.Setenv("CHECKPOINTS", filepath.Join(root, "engine/model/testdata"))
			env.Setenv("QUANTIZED", filepath.Join(root, "engine/model/testdata/quantized"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"attnscope": func(ts *testscript.TestScript, _ bool, args []string) { runVerb(ts, exitDone, args) },
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				runVerb(ts, number(ts, args[0]), args[1:])
			},
			"serves": serveVerb,
			"dump": func(ts *testscript.TestScript, _ bool, args []string) {
				dumpstest.WriteText(testOf(ts), ts.MkAbs(args[1]), ts.ReadFile(args[0]))
			},
			"random": func(ts *testscript.TestScript, _ bool, args []string) {
				dumpstest.Everything(testOf(ts), ts.MkAbs(args[0]), dumps.Store(args[1]), dumps.Exact, 1, args[2:]...)
			},
			"model": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(makeModel(root, ts.MkAbs(args[0]), args[1:]))
			},
			"round": roundFile,
			"mask": func(ts *testscript.TestScript, _ bool, args []string) {
				pattern := regexp.MustCompile(args[0])
				fmt.Fprint(ts.Stdout(), pattern.ReplaceAllString(ts.ReadFile(args[2]), args[1]))
			},
			"states": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(makeStates(ts.MkAbs(args[0]), number(ts, args[1]), number(ts, args[2])))
			},
			"poke": func(ts *testscript.TestScript, _ bool, args []string) {
				data, at := fileAt(ts, args[0], args[1])
				bytes, err := hex.DecodeString(args[2])
				ts.Check(err)
				copy(data[at:], bytes)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
			},
			"damage": func(ts *testscript.TestScript, _ bool, args []string) {
				data, at := fileAt(ts, args[0], args[1])
				data[at] ^= 64
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
			},
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				data, at := fileAt(ts, args[0], args[1])
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), data[:at], 0o644))
			},
		},
	})
}

// scriptVariables are the environment variables that a script may set for a verb.
var scriptVariables = []string{
	"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "ATTNSCOPE_MODELS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT",
	"DISPLAY", "WAYLAND_DISPLAY",
}

// oneVerb guards the process's folder and environment, which verbs run in.
var oneVerb sync.Mutex

// runVerb runs a verb in this process, in the script's folder and environment.
func runVerb(ts *testscript.TestScript, want int, args []string) {
	stdin := ""
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "<") {
		stdin = ts.ReadFile(args[n-1][1:])
		args = args[:n-1]
	}
	var stdout, stderr bytes.Buffer
	code := inScript(ts, func() int {
		return run(context.Background(), args, strings.NewReader(stdin), &stdout, &stderr)
	})
	ts.Stdout().Write(stdout.Bytes())
	ts.Stderr().Write(stderr.Bytes())
	if code != want {
		ts.Fatalf("attnscope %s: exit %d, want %d", strings.Join(args, " "), code, want)
	}
}

// serveVerb runs a verb that serves until it is interrupted.
func serveVerb(ts *testscript.TestScript, _ bool, args []string) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var stderr bytes.Buffer
	stdout := &addressLine{stop: stop}
	code := inScript(ts, func() int { return run(ctx, args, strings.NewReader(""), stdout, &stderr) })
	ts.Stdout().Write(stdout.Bytes())
	ts.Stderr().Write(stderr.Bytes())
	if code != exitDone {
		ts.Fatalf("attnscope %s: exit %d, want %d", strings.Join(args, " "), code, exitDone)
	}
}

// addressLine calls stop once an address is written.
type addressLine struct {
	bytes.Buffer
	stop func()
}

func (w *addressLine) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("http://")) {
		defer w.stop()
	}
	return w.Buffer.Write(b)
}

// inScript calls f in the script's folder and environment.
func inScript(ts *testscript.TestScript, f func() int) int {
	oneVerb.Lock()
	defer oneVerb.Unlock()
	here, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	defer os.Chdir(here)
	for _, name := range scriptVariables {
		old, was := os.LookupEnv(name)
		os.Setenv(name, ts.Getenv(name))
		defer func() {
			if os.Unsetenv(name); was {
				os.Setenv(name, old)
			}
		}()
	}
	return f()
}

func testOf(ts *testscript.TestScript) testing.TB {
	return ts.Value("test").(testing.TB)
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

// fileAt reads a file and finds an offset in it; a negative one is from the end.
func fileAt(ts *testscript.TestScript, path, offset string) (data []byte, at int) {
	data = []byte(ts.ReadFile(path))
	at = number(ts, offset)
	if at < 0 {
		at += len(data)
	}
	return data, at
}

// makeModel makes a folder with the weights and configuration of a model of
// engine/model/testdata, a tokenizer of letters, and changes of config.json.
func makeModel(root, dir string, changes []string) error {
	from := filepath.Join(root, "engine/model/testdata/qwen3")
	text, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		return err
	}
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		config[name] = json.RawMessage(value)
	}
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		return err
	}
	for to, source := range map[string]string{
		"model.safetensors": filepath.Join(from, "model.safetensors"),
		"tokenizer.json":    filepath.Join(root, "cmd/attnscope/testdata/letters.json"),
	} {
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeStates writes keys, values and queries of 2 heads and 4 dimensions.
func makeStates(path string, length, values int) error {
	const heads, dim = 2, 4
	tensorOf := func(name string, length int) tensor.Tensor {
		x := make([]float32, heads*length*dim)
		for i := range x {
			x[i] = float32(i%7) / 4
		}
		return tensor.FromFloat32(name, x, heads, length, dim)
	}
	return checkpoint.WriteSafetensors(path, []tensor.Tensor{
		tensorOf("key_states", length), tensorOf("query_states", length), tensorOf("value_states", values),
	}, nil)
}

var fraction = regexp.MustCompile(`\d+\.\d+(e-?\d+)?`)

// roundFile prints a file with its decimal fractions rounded to significant
// digits, and those below 1e-6 as 0: the rest depends on the processor's kernels.
func roundFile(ts *testscript.TestScript, _ bool, args []string) {
	digits := number(ts, args[0])
	fmt.Fprint(ts.Stdout(), fraction.ReplaceAllStringFunc(ts.ReadFile(args[1]), func(text string) string {
		x, err := strconv.ParseFloat(text, 64)
		ts.Check(err)
		if x < 1e-6 {
			return "0"
		}
		return strconv.FormatFloat(x, 'g', digits, 64)
	}))
}
