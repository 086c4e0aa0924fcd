package python

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

var built string // where program builds attnscope

// TestMain lets Python find the package, and the modules reader and writer on their own:
// they do not need the package.
func TestMain(m *testing.M) {
	folder, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	temp, err := os.MkdirTemp("", "attnscope-python")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(temp, "attnscope")
	os.Setenv("PYTHONPATH", folder+string(filepath.ListSeparator)+filepath.Join(folder, "attnscope"))
	os.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	code := m.Run()
	os.RemoveAll(temp)
	os.Exit(code)
}

// program builds attnscope, once for all tests.
func program(t *testing.T) string {
	t.Helper()
	if out, err := build(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return built
}

var build = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("go", "build", "-o", built, "../cmd/attnscope").CombinedOutput()
})

// python returns the Python interpreter, $ATTNSCOPE_PYTHON or python3. The test is
// skipped where it lacks some of the packages.
func python(t *testing.T, packages string) string {
	t.Helper()
	name := os.Getenv("ATTNSCOPE_PYTHON")
	if name == "" {
		name = "python3"
	}
	if err := exec.Command(name, "-c", "import "+packages).Run(); err != nil {
		t.Skipf("SKIPPED: %s has no %s (pip install them, or name another Python in ATTNSCOPE_PYTHON)", name, packages)
	}
	return name
}

// readTables compares tables in all formats, read by pandas and by DuckDB, and the
// data frames of the package.
const readTables = `
import sys
import duckdb, numpy as np, pandas as pd
import attnscope
dump, folder = sys.argv[1:]
for verb in ("hitrate", "snapkv"):
    base = folder + "/" + verb
    by_pandas = {"csv": pd.read_csv(base + ".csv"), "jsonl": pd.read_json(base + ".jsonl", lines=True), "parquet": pd.read_parquet(base + ".parquet")}
    by_duckdb = {f: duckdb.sql("select * from '%s.%s'" % (base, f)).df() for f in by_pandas}
    want = by_pandas["csv"]
    assert len(want) > 3, want
    for name, frame in [*by_pandas.items(), *by_duckdb.items()]:
        assert list(frame.columns) == list(want.columns), (verb, name, list(frame.columns))
        for c in want.columns:
            if not pd.api.types.is_numeric_dtype(want[c]):
                assert list(map(str, frame[c])) == list(map(str, want[c])), (verb, name, c)
            else:
                a, b = frame[c].astype(float).to_numpy(), want[c].astype(float).to_numpy()
                assert np.allclose(a, b, rtol=1e-5, equal_nan=True), (verb, name, c, a, b)
d = attnscope.open(dump)
layer = d.plan["layers"][1]
mine = d.weights(0, layer, 0.01)
theirs = pd.read_csv(folder + "/weights.csv")
mine = mine.sort_values(["phase", "head", "row", "key"]).reset_index(drop=True)
theirs = theirs.sort_values(["phase", "head", "row", "key"]).reset_index(drop=True)
for c in ("layer", "head", "phase", "row", "key"):
    assert list(mine[c]) == list(theirs[c]), c
assert np.allclose(mine["weight"], theirs["weight"], atol=1e-6)
t = attnscope.hit_rates(dump, window=[4, 8], by="layer,prompt")
assert sorted(set(t["window"])) == [4, 8] and len(t) == 2 * len(d.prompts) * len(d.plan["layers"]), t
assert list(d.frame()["prompt_tokens"]) == [p["prompt_tokens"] for p in d.prompts]
try:
    attnscope.hit_rates(dump, nonsense=1)
    raise SystemExit("no error")
except attnscope.Error as e:
    assert "nonsense" in e.message and e.code == 2, e
print("fine")
`

// TestTablesAndFrames: pandas and DuckDB read the same numbers from every format of a
// table, and data frames of weights hold the same as the CSV export.
func TestTablesAndFrames(t *testing.T) {
	py := python(t, "numpy, zstandard, pandas, pyarrow, duckdb")
	attnscope := program(t)
	dir := t.TempDir()
	dump := filepath.Join(dir, "x.attn")
	dumpstest.WithValues(t, dump, "factors", "exact", 2, rand.New(rand.NewPCG(1, 2)))
	for _, args := range [][]string{
		{"hitrate", dump, "--window", "4", "--window", "8", "--by", "layer,head"},
		{"snapkv", dump, "--method", "snapkv,knorm,recent", "--window", "4", "--capacity", "8,16"},
	} {
		for _, format := range []string{"csv", "jsonl", "parquet"} {
			run(t, attnscope, append(args, "-o", filepath.Join(dir, args[0]+"."+format))...)
		}
	}
	run(t, attnscope, "export", dump, "-o", filepath.Join(dir, "weights.csv"), "--layer", "1", "--min-weight", "0.01")
	cmd := exec.Command(py, "-c", readTables, dump, dir)
	cmd.Env = append(cmd.Environ(), "ATTNSCOPE="+attnscope)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "fine") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// runCells executes the code cells of a notebook in one process.
const runCells = `
import json, sys
space = {}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), space)
print("fine")
`

// TestNotebooksRun executes every cell of the notebooks that need more packages.
func TestNotebooksRun(t *testing.T) {
	for name, packages := range map[string]string{
		"methods":       "numpy, zstandard, pandas",
		"window_sweep":  "numpy, zstandard, pandas",
		"paper_figures": "numpy, zstandard, pandas",
		"pytorch":       "numpy, zstandard, pandas, torch, transformers",
	} {
		t.Run(name, func(t *testing.T) {
			py := python(t, packages)
			dump := filepath.Join(t.TempDir(), "x.attn")
			dumpstest.WithValues(t, dump, "factors", "fine", 2, rand.New(rand.NewPCG(1, 2)))
			cmd := exec.Command(py, "-c", runCells, "../notebooks/"+name+".ipynb")
			cmd.Env = append(cmd.Environ(), "ATTNSCOPE="+program(t), "ATTNSCOPE_DUMP="+dump, "MPLBACKEND=Agg")
			if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "fine") {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
