package python

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// useThePackage calls everything that needs no PyTorch. It runs in a folder that contains
// a folder named attnscope, as the folder above a clone does.
const useThePackage = `
import io, json, os, subprocess, sys, warnings
import numpy as np, pandas as pd
import attnscope
from attnscope import _program, _progress

model, version = sys.argv[1:]
assert attnscope.__version__ == version, attnscope.__version__
assert "site-packages" in attnscope.__file__ and os.path.isdir("attnscope"), attnscope.__file__
program = _program.path()
assert program.startswith(sys.prefix), (program, sys.prefix)
assert subprocess.run([program, "version"], capture_output=True, text=True).stdout.startswith("attnscope " + version)

# Prompts from a data frame: missing values are left out, and results are joined to it.
sets = pd.DataFrame({
    "id": [7, 8],
    "input_ids": [np.arange(90) % 100, [5] * 80],
    "dataset": ["a", None],
    "note": [1.5, float("nan")],
})
prompts = sets.drop(columns="note")
run = attnscope.capture(prompts, "run.attn", model, max_new_tokens=8, window_rows=32, values=True, ignore_eos=True)
assert [p["id"] for p in run.prompts] == ["7", "8"] and len(run) == 2, run.prompts
assert [p.get("dataset", "") for p in run.prompts] == ["a", ""], run.prompts
assert run.tokens("8")[0] == [5] * 80 and len(run.tokens(1)[1]) == 8
layer = run.layers[-1]
assert np.array_equal(run.prompt_rows("8", layer), run.prompt_rows(1, layer))
assert abs(run.generation_rows(0, layer).sum(-1) - 1).max() < 0.01
assert repr(run).startswith("<attnscope.Dump run.attn") and "<table" in run._repr_html_() and "run.attn" in run._repr_html_()
assert list(run.frame()["prompt_tokens"]) == [90, 80]

# Tables are what the program prints.
def cli(*args):
    text = subprocess.run([program, *args, "--format", "jsonl"], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]
def same(table, rows):
    assert isinstance(table, attnscope.Table) and len(table) == len(rows) > 0, (table, rows)
    for (_, a), b in zip(table.iterrows(), rows):
        assert list(a.index) == list(b)
        for c in b:
            assert a[c] == b[c] or b[c] is None and pd.isna(a[c]), (c, a[c], b[c])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rates = attnscope.hit_rates(run, window=[8, 16], theta=0.01, by=["layer", "prompt"], skip_first=4)
assert any("same-prefix" in str(w.message) for w in caught), caught
assert all(w.category is attnscope.Warning and w.filename == "<string>" for w in caught), caught
flags = "--window 8 --window 16 --theta 0.01 --by layer,prompt --skip-first 4"
same(rates, cli("hitrate", "run.attn", *flags.split()))
same(run.hit_rates(same_prefix=True, window=[8, 16], by="none"), cli("hitrate", "run.attn", *"--same-prefix --window 8,16 --by none".split()))
kept = attnscope.snapkv(["run.attn"], method=["snapkv", "recent"], capacity=[24, 48], window=8, by="head")
same(kept, cli("snapkv", "run.attn", *"--method snapkv,recent --capacity 24 --capacity 48 --window 8 --by head".split()))
html = kept._repr_html_()
assert "<table" in html and "--method=snapkv,recent" in html and "capacity" in html and "dataset" not in html, html
assert isinstance(kept[kept["capacity"] == 24], attnscope.Table)
same(attnscope.advise(run, loss=2.0, method="snapkv", capacity=[48, 80], window=8, risk=0.4),
     cli("advise", "run.attn", *"--loss 2.0 --method snapkv --capacity 48 --capacity 80 --window 8 --risk 0.4".split()))

# What a method keeps, the window included.
chosen = attnscope.selection(run, "snapkv", prompt="7", capacity=24, window=8, group="mean")
heads = run.layer(layer)["kv_heads"]
assert sorted(chosen) == run.layers and len(chosen[layer]) == heads
for positions in chosen[layer]:
    assert len(positions) == 24 and list(positions[-8:]) == list(range(82, 90)) and (np.diff(positions) > 0).all(), positions

rates = attnscope.hit_rates(run, window=8, by="prompt")
joined = attnscope.join(sets, rates)
assert list(joined["note"])[0] == 1.5 and list(joined["hit_rate"]) == list(rates["hit_rate"]), joined
try:
    attnscope.join(sets, kept)
    raise SystemExit("a table of several rows per prompt was joined")
except (ValueError, StopIteration):
    pass
line = json.loads(json.dumps(run.summary(window=8)))
assert line["hit_rate"] == cli("hitrate", "run.attn", *"--window 8 --by none".split())[0]["hit_rate"], line
assert line["mass_without_first_4"] == cli("hitrate", "run.attn", *"--window 8 --by none --skip-first 4".split())[0]["mass"]
assert "layer" not in line and "prompt" not in line, line
assert all(isinstance(x, (int, float)) for x in line.values()) and "without_first_4" not in line, line

# Failures are exceptions with the program's message.
def fails(call, code, *parts):
    try:
        call()
    except attnscope.Error as e:
        assert e.code == code and all(p in str(e) for p in parts), (e.code, str(e))
        return
    raise SystemExit("no error: " + str(parts))
fails(lambda: attnscope.hit_rates("nothing.attn"), 1, "nothing.attn", "no such file")
fails(lambda: attnscope.hit_rates(run, window=1000), 1, "1000")
fails(lambda: attnscope.hit_rates(run, windw=8), 2, "windw", "hint:")
fails(lambda: attnscope.capture([{"input_ids": [1]}], "run.attn", model), 1, "run.attn")
fails(lambda: attnscope.capture(["a text"], "text.attn", model), 1, "tokenizer")
fails(lambda: attnscope.capture([{"prompt": "x", "nonsense": 1}], "text.attn", model), 1, "nonsense")
fails(lambda: attnscope.view("nothing.attn"), 1, "nothing.attn")
try:
    attnscope.nonsense
    raise SystemExit("no AttributeError")
except AttributeError:
    pass

# Progress: lines of the program become a line on a terminal or a bar in a notebook.
assert _program._percent("hitrate", "attnscope: hitrate: prompt a, 33 %")[:2] == (33, 100)
assert _program._percent("capture", "attnscope: capture: prompt 3 of 8 (x), 300 of 1000 tokens, 31 tokens/s")[:2] == (300, 1000)
assert _program._percent("hitrate", "attnscope: warning: 3 of 4 tokens") is None
sys.stderr = io.StringIO()
with _progress.Progress("verb", True) as bar:
    bar.show(1, 4, "text")
shown, sys.stderr = sys.stderr.getvalue(), sys.__stderr__
assert shown.startswith("\rverb: 25 % text\r") and shown.endswith("\r"), repr(shown)

class Notebook:  # in the place of IPython
    def __init__(self):
        self.pages = []
    def display(self, page, display_id):
        self.pages.append(page)
        return self
    def update(self, page):
        self.pages.append(page)
notebook = Notebook()
sys.modules["IPython"] = sys.modules["IPython.display"] = notebook
notebook.HTML, notebook.get_ipython = str, lambda: type("Shell", (), {"kernel": None})
with _progress.Progress("verb") as bar:
    bar.show(1, 4, "a & b")
    bar.show(2, 4, "c")
del sys.modules["IPython"], sys.modules["IPython.display"]
assert [p.count("<progress") for p in notebook.pages] == [1, 1, 0], notebook.pages
assert 'value="1" max="4"' in notebook.pages[0] and "verb: a &amp; b" in notebook.pages[0], notebook.pages

# The viewer, which pages of this machine may show in a frame.
import urllib.request
with attnscope.view(run, height=300) as viewer:
    page = urllib.request.urlopen(viewer.url)
    assert "frame-ancestors http://localhost:*" in page.headers["Content-Security-Policy"], page.headers
    assert 'height="300"' in viewer._repr_html_() and viewer.url.split("#")[0] in viewer._repr_html_()
    process = viewer.process
assert process.poll() is not None
print("fine")
`

// TestWheel installs a wheel into an empty environment, which has the packages of the
// interpreter, and uses it there.
func TestWheel(t *testing.T) {
	py := python(t, "numpy, zstandard, pandas, pip")
	dir := t.TempDir()
	wheel := packWheel(t, program(t), dir)
	env := filepath.Join(dir, "env")
	run(t, py, "-m", "venv", "--without-pip", env)
	inside := filepath.Join(env, "bin", "python")
	sharePackages(t, py, env)
	clean := without(os.Environ(), "PYTHONPATH", "ATTNSCOPE")
	install := exec.Command(py, "-m", "pip", "--python", inside, "install", "--quiet", "--no-index", "--no-deps", wheel)
	install.Env = clean
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	above := filepath.Join(dir, "above")
	if err := os.MkdirAll(filepath.Join(above, "attnscope"), 0o755); err != nil {
		t.Fatal(err)
	}
	model, err := filepath.Abs("../engine/model/testdata/qwen3")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(inside, "-c", useThePackage, model, testVersion)
	cmd.Dir = above
	cmd.Env = clean
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "fine") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// sharePackages lets an environment use the packages of an interpreter, which may be one of
// an environment itself.
func sharePackages(t *testing.T, py, env string) {
	t.Helper()
	out, err := exec.Command(py, "-c", "import sys; print(*[p for p in sys.path if p.endswith('-packages')], sep='\\n')").Output()
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob(filepath.Join(env, "lib", "python*", "site-packages"))
	if err != nil || len(own) != 1 {
		t.Fatalf("%v, %v", own, err)
	}
	if err := os.WriteFile(filepath.Join(own[0], "outer.pth"), out, 0o644); err != nil {
		t.Fatal(err)
	}
}

const testVersion = "0.1.0"

// packWheel packs a program for this platform.
func packWheel(t *testing.T, program, dir string) string {
	t.Helper()
	cmd := exec.Command("go", "run", "./python/wheel", "-version", testVersion, "-binary", program,
		"-platform", runtime.GOOS+"/"+runtime.GOARCH, "-o", dir)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// without returns an environment without some variables.
func without(env []string, names ...string) []string {
	var list []string
	for _, e := range env {
		keep := true
		for _, name := range names {
			keep = keep && !strings.HasPrefix(e, name+"=")
		}
		if keep {
			list = append(list, e)
		}
	}
	return list
}

// pythonBlock matches a block of code of docs/PYTHON.md that runs in the test. Those with the
// mark notest need PyTorch: TestDatasets and TestPresses make the same calls.
var pythonBlock = regexp.MustCompile("(?ms)^```python\n(.*?)^```")

// runBlocks executes blocks of code in one process. What a cell of a notebook would show
// is made, too.
const runBlocks = `
import ast, json, sys
space = {}
for source in json.load(open(sys.argv[1])):
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, source, "exec"), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), source, "eval"), space)
        getattr(value, "_repr_html_", value.__repr__)()
rates, kept, joined = (space[name] for name in ("rates", "kept", "by_prompt"))
assert len(rates) == 2 and rates["hit_rate"].between(0.5, 1).all(), rates
assert len(kept) == 8 and kept["mass"].between(0, 1).all(), kept
assert list(joined["prompt"]) == ["river", "bridge"], joined
assert any("Recommended" in note for note in space["advice"].notes), space["advice"].notes
print("fine")
`

// shellBlock matches a block of commands of docs/TUTORIAL.md.
var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// TestTutorials installs the wheel with what it needs into an empty environment and runs the
// code of docs/PYTHON.md and the commands of docs/TUTORIAL.md there, from top to bottom.
func TestTutorials(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, installs packages and needs the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	py := python(t, "pip, venv")
	page, err := os.ReadFile("../docs/PYTHON.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range pythonBlock.FindAllStringSubmatch(string(page), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 10 {
		t.Fatalf("%d blocks", len(blocks))
	}
	dir := t.TempDir()
	env := filepath.Join(dir, "env")
	run(t, py, "-m", "venv", env)
	inside := filepath.Join(env, "bin", "python")
	run(t, inside, "-m", "pip", "install", "--quiet", packWheel(t, program(t), dir))
	text, err := json.Marshal(blocks)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blocks.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(inside, "-c", runBlocks, "blocks.json")
	cmd.Dir = dir
	cmd.Env = without(os.Environ(), "PYTHONPATH", "ATTNSCOPE")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "fine") {
		t.Fatalf("%v\n%s", err, out)
	}
	page, err = os.ReadFile("../docs/TUTORIAL.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := "set -e\nrm -r demo\n"
	for _, m := range shellBlock.FindAllStringSubmatch(string(page), -1) {
		if !strings.HasPrefix(m[1], "attnscope view") { // it serves until it is interrupted
			commands += m[1]
		}
	}
	shell := exec.Command("bash", "-c", commands)
	shell.Dir = dir
	shell.Env = append(cmd.Env, "PATH="+filepath.Join(env, "bin")+":"+os.Getenv("PATH"))
	if out, err := shell.CombinedOutput(); err != nil || !strings.Contains(string(out), "0.926") {
		t.Errorf("%v, want the demo's hit rate, 0.926\n%s", err, out)
	}
}

// TestArgumentsAreFlags: every argument of the functions that run a verb is a flag of it.
func TestArgumentsAreFlags(t *testing.T) {
	py := python(t, "numpy, zstandard, pandas")
	const script = `
import inspect, json, attnscope
verbs = {"capture": attnscope.capture, "hitrate": attnscope.hit_rates, "snapkv": attnscope.snapkv, "advise": attnscope.advise,
         "view": attnscope.view}
print(json.dumps({verb: list(inspect.signature(f).parameters) for verb, f in verbs.items()}))
`
	out, err := exec.Command(py, "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	var arguments map[string][]string
	if err := json.Unmarshal(out, &arguments); err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{"dumps": true, "progress": true, "flags": true, "height": true, "origins": true}
	attnscope := program(t)
	for verb, names := range arguments {
		help, err := exec.Command(attnscope, verb, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if flag := "--" + strings.ReplaceAll(name, "_", "-"); !own[name] && !strings.Contains(string(help), flag+" ") {
				t.Errorf("%s has no flag %s", verb, flag)
			}
		}
	}
}
