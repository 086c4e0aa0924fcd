package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/view"
)

// summaries holds numbers by what they say, such as "hit_rate window=8 layer=1".
type summaries map[string]float64

const (
	summaryTheta = 0.01 // in every summary
	summaryTop   = 0.05
)

var (
	summaryWindows    = []int{8, 16, 32}
	summaryMethods    = []string{"snapkv", "h2o", "recent", "oracle"}
	summaryCapacities = []int{64, 128}
)

// rateName names a hit rate; layer and head are -1 where all are pooled.
func rateName(skip, window, layer, head int) string {
	return fmt.Sprintf("hit_rate skip=%d window=%d layer=%d head=%d", skip, window, layer, head)
}

// sameName names a hit rate of one of several windows that are rated on the same positions.
func sameName(skip, window int) string {
	return fmt.Sprintf("hit_rate on the same positions skip=%d window=%d", skip, window)
}

func massName(method string, capacity int) string { return fmt.Sprintf("mass %s %d", method, capacity) }

// TestSameNumbersEverywhere: the command's tables, a reader of the dump in Python, the
// report and the viewer show the same hit rates (pooled, by layer, by head, by window, with
// and without the first four positions) and the same kept mass by method and capacity. The
// settings that no flag names are the defaults of each.
func TestSameNumbersEverywhere(t *testing.T) {
	dump := filepath.Join(t.TempDir(), "x.attn")
	must(t, "capture", "-m", randomLlama(t, 32, 3), "-p", promptsFile(t, 4, 150), "-o", dump, "--max-new-tokens", "9",
		"--ignore-eos", "--window-rows", "32", "--prompt-windows", "0", "--precision", "exact")
	want := summariesOfCommand(t, dump)
	for _, surface := range []struct {
		name  string
		of    func(t *testing.T, dump string) summaries
		exact float64 // how far its numbers may be off
	}{
		{"Python", summariesOfPython, 2e-6},
		{"Python package", summariesOfPackage, 0},
		{"viewer", summariesOfViewer, 2e-6},
		{"report", summariesOfReport, 5.1e-4},
	} {
		t.Run(surface.name, func(t *testing.T) {
			got := surface.of(t, dump)
			if len(got) < 8 {
				t.Fatalf("only %d numbers: %v", len(got), got)
			}
			for _, name := range slices.Sorted(maps.Keys(got)) {
				number, ok := want[name]
				if !ok || math.IsNaN(number) || !(math.Abs(got[name]-number) <= surface.exact) {
					t.Errorf("%s: %g, the command says %g", name, got[name], number)
				}
			}
		})
	}
}

// summariesOfCommand reads the tables of hitrate and snapkv.
func summariesOfCommand(t *testing.T, dump string) summaries {
	out := summaries{}
	for _, skip := range []int{0, 4} {
		for _, by := range []string{"none", "layer", "layer,head"} {
			args := []string{
				"hitrate", dump, "--by", by, "--theta", fmt.Sprint(summaryTheta), "--format", "jsonl", "--skip-first", fmt.Sprint(skip),
			}
			for _, w := range summaryWindows {
				args = append(args, "--window", fmt.Sprint(w))
			}
			eachLine(t, must(t, args...), func(row map[string]any) {
				number := func(name string) int { return int(row[name].(float64)) }
				out[rateName(skip, number("window"), number("layer"), number("head"))] = row["hit_rate"].(float64)
			})
			if by != "none" {
				continue
			}
			eachLine(t, must(t, append(args, "--same-prefix")...), func(row map[string]any) {
				out[sameName(skip, int(row["window"].(float64)))] = row["hit_rate"].(float64)
			})
		}
	}
	args := []string{"snapkv", dump, "--by", "none", "--method", strings.Join(summaryMethods, ","), "--format", "jsonl"}
	for _, c := range summaryCapacities {
		args = append(args, "--capacity", fmt.Sprint(c))
	}
	eachLine(t, must(t, args...), func(row map[string]any) {
		out[massName(row["method"].(string), int(row["capacity"].(float64)))] = row["mass"].(float64)
	})
	return out
}

func eachLine(t *testing.T, text string, use func(row map[string]any)) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var row map[string]any
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		use(row)
	}
}

// computeSummaries computes the numbers with numpy from the rows that the Python reader
// rebuilds, by the formulas of docs/MEASURES.md.
const computeSummaries = `
import json, sys
import numpy as np
import reader
path, settings = sys.argv[1], json.loads(sys.argv[2])
d = reader.Dump(path)
layers, heads = d.plan["layers"], d.plan["heads"]
out = {}
def kept(vote, k, skip=0):
    return skip + np.argsort(-vote[skip:], kind="stable")[:k]
def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values)
rows = [[(d.prompt_rows(p, l).astype(float), d.generation_rows(p, l)) for l in layers] for p in range(len(d.prompts))]
for skip in (0, 4):
    for window in settings["windows"]:
        counts = np.zeros((len(d.prompts), len(layers), len(heads), 2))
        for p in range(len(d.prompts)):
            prefix = d.prompts[p]["prompt_tokens"] - window
            k = int(settings["top"] * prefix + 1e-9)
            for i in range(len(layers)):
                prompt, reply = rows[p][i]
                for h in range(len(heads)):
                    keep = kept(prompt[h, -window:, :prefix].sum(axis=0), k, skip)
                    significant = reply[h, :, skip:prefix] > np.float32(settings["theta"])
                    mask = np.zeros(prefix, bool)
                    mask[keep] = True
                    counts[p, i, h] = (significant & mask[skip:]).sum(), significant.sum()
        def add(layer, head, c): # c [prompt, 2]
            name = "hit_rate skip=%d window=%d layer=%d head=%d" % (skip, window, layer, head)
            if c[:, 1].any():
                out[name] = mean([a / b if b else None for a, b in c])
        add(-1, -1, counts.sum(axis=(1, 2)))
        for i, layer in enumerate(layers):
            add(layer, -1, counts[:, i].sum(axis=1))
            for h, head in enumerate(heads):
                add(layer, head, counts[:, i, h])
window, kernel = settings["window"], settings["kernel"]
for capacity in settings["capacities"]:
    mass = {"snapkv": [], "recent": [], "oracle": []}
    for p in range(len(d.prompts)):
        prefix = d.prompts[p]["prompt_tokens"] - window
        sums = dict.fromkeys(mass, 0)
        for prompt, reply in rows[p]:
            for h in range(len(heads)):
                vote = np.convolve(prompt[h, -window:, :prefix].sum(axis=0), np.ones(kernel) / kernel, mode="same")
                total = reply[h, :, :prefix].astype(float).sum(axis=0)
                for method, score in (("snapkv", vote), ("recent", np.arange(prefix)), ("oracle", total)):
                    sums[method] += total[kept(score, capacity - window)].sum() / reply.shape[1] / len(heads) / len(layers)
        for method in mass:
            mass[method].append(sums[method])
    for method in mass:
        out["mass %s %d" % (method, capacity)] = mean(mass[method])
json.dump(out, sys.stdout)
`

func summariesOfPython(t *testing.T, dump string) summaries {
	return summariesFrom(t, computeSummaries, dump, "PYTHONPATH=../../python/attnscope")
}

// summariesFrom runs a script in Python, which prints the numbers as JSON.
func summariesFrom(t *testing.T, script, dump string, env ...string) summaries {
	t.Helper()
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import numpy, zstandard, pandas").Run(); err != nil {
		t.Skipf("SKIPPED: %s has no numpy, zstandard or pandas (pip install them, or name another Python in ATTNSCOPE_PYTHON)", python)
	}
	settings := jsonOf(map[string]any{
		"windows": summaryWindows, "top": summaryTop, "theta": summaryTheta, "capacities": summaryCapacities,
		"methods": summaryMethods,
		"window":  snapkv.Default.Window, "kernel": snapkv.Default.Kernel,
	})
	cmd := exec.Command(python, "-c", script, dump, settings)
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	out := summaries{}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// askPackage asks the Python package for what a notebook shows.
const askPackage = `
import json, sys, warnings
import attnscope
warnings.simplefilter("ignore")
run, settings = attnscope.open(sys.argv[1]), json.loads(sys.argv[2])
out = {}
for skip in (0, 4):
    for by in ("none", "layer", "layer,head"):
        for _, row in run.hit_rates(by=by, window=settings["windows"], theta=settings["theta"], skip_first=skip).iterrows():
            out["hit_rate skip=%d window=%d layer=%d head=%d" % (skip, row["window"], row["layer"], row["head"])] = row["hit_rate"]
    for _, row in run.hit_rates(
            by="none", window=settings["windows"], theta=settings["theta"], skip_first=skip, same_prefix=True).iterrows():
        out["hit_rate on the same positions skip=%d window=%d" % (skip, row["window"])] = row["hit_rate"]
    summary = run.summary(window=settings["window"], theta=settings["theta"])
    assert summary["hit_rate"] == out["hit_rate skip=0 window=%d layer=-1 head=-1" % settings["window"]], summary
for _, row in run.snapkv(by="none", method=settings["methods"], capacity=settings["capacities"]).iterrows():
    out["mass %s %d" % (row["method"], row["capacity"])] = row["mass"]
json.dump(out, sys.stdout)
`

// summariesOfPackage asks the Python package, which runs this program.
func summariesOfPackage(t *testing.T, dump string) summaries {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return summariesFrom(t, askPackage, dump, "PYTHONPATH=../../python", "ATTNSCOPE="+self, "ATTNSCOPE_TEST_MAIN=1")
}

// summariesOfViewer asks the viewer for what its page shows.
func summariesOfViewer(t *testing.T, dump string) summaries {
	const token = "0123456789abcdef"
	s, err := view.Open([]string{dump}, view.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	get := func(to any, format string, args ...any) {
		t.Helper()
		address := web.URL + "/" + token + "/api/" + fmt.Sprintf(format, args...)
		answer, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v: %s", address, answer.StatusCode, err, text)
		}
		if err := json.Unmarshal(text, to); err != nil {
			t.Fatalf("%s: %v: %s", address, err, text)
		}
	}
	windows := strings.Trim(strings.ReplaceAll(fmt.Sprint(summaryWindows), " ", ","), "[]")
	out := summaries{}
	for _, skip := range []int{0, 4} {
		for layer, name := range map[int]string{-1: "all", 0: "0", 1: "1", 2: "2"} {
			var sweep struct {
				Rows []struct {
					Window  int
					HitRate float64 `json:"hit_rate"`
				}
			}
			get(&sweep, "sweep?p=all&layer=%s&window=%s&skip=%d&theta=%g", name, windows, skip, summaryTheta)
			for _, row := range sweep.Rows {
				out[rateName(skip, row.Window, layer, -1)] = row.HitRate
			}
		}
		for _, window := range summaryWindows {
			for layer := range 3 {
				var stats struct{ Measures map[string][]*float64 }
				get(&stats, "stats?p=all&layer=%d&window=%d&skip=%d&theta=%g", layer, window, skip, summaryTheta)
				for head, rate := range stats.Measures["hit_rate"] {
					if rate != nil {
						out[rateName(skip, window, layer, head)] = *rate
					}
				}
			}
		}
	}
	var methods struct {
		Rows []struct {
			Method   string
			Capacity int
			Mass     float64
		}
	}
	capacities := strings.Trim(strings.ReplaceAll(fmt.Sprint(summaryCapacities), " ", ","), "[]")
	get(&methods, "methods?p=all&layer=all&methods=%s&capacity=%s", strings.Join(summaryMethods, ","), capacities)
	for _, row := range methods.Rows {
		out[massName(row.Method, row.Capacity)] = row.Mass
	}
	return out
}

// summariesOfReport reads the tables of the report.
func summariesOfReport(t *testing.T, dump string) summaries {
	path := filepath.Join(t.TempDir(), "r.html")
	must(t, "report", dump, "-o", path, "--theta", fmt.Sprint(summaryTheta))
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := summaries{}
	window := snapkv.Default.Window
	layers := 0
	for _, table := range tablesOf(string(page)) {
		head := table[0]
		for _, cells := range table[1:] {
			first, numeric := strconv.Atoi(cells[0])
			for i, title := range head {
				value, err := strconv.ParseFloat(strings.Fields(cells[i] + " –")[0], 64)
				if err != nil {
					continue
				}
				skip := 0
				if strings.Contains(title, "without") {
					skip = 4
				}
				isRate := title == "hit rate" || skip > 0
				capacity, err := strconv.Atoi(title)
				switch {
				case isRate && head[0] == "layer" && numeric == nil:
					out[rateName(skip, window, first, -1)] = value
					layers++
				case isRate && head[0] == "window" && numeric == nil && slices.Contains(summaryWindows, first):
					out[sameName(skip, first)] = value
				case isRate && cells[0] == "counted":
					out[rateName(0, window, -1, -1)] = value
				case isRate && strings.HasPrefix(cells[0], "first 4"):
					out[rateName(4, window, -1, -1)] = value
				case head[0] == "method" && err == nil && slices.Contains(summaryMethods, cells[0]):
					out[massName(cells[0], capacity)] = value
				}
			}
		}
	}
	if layers < 3 {
		t.Errorf("%d hit rates by layer", layers)
	}
	return out
}

var (
	tableElement = regexp.MustCompile(`(?s)<table.*?</table>`)
	rowElement   = regexp.MustCompile(`(?s)<tr.*?</tr>`)
	cellElement  = regexp.MustCompile(`(?s)<t[hd][^>]*>(.*?)</t[hd]>`)
	anyTag       = regexp.MustCompile(`<[^>]*>`)
)

// tablesOf returns the tables of a page as text, [table][row][cell], the head first. Rows
// that are not as long as the head are left out.
func tablesOf(page string) [][][]string {
	var tables [][][]string
	for _, table := range tableElement.FindAllString(page, -1) {
		var rows [][]string
		for _, row := range rowElement.FindAllString(table, -1) {
			var cells []string
			for _, cell := range cellElement.FindAllStringSubmatch(row, -1) {
				cells = append(cells, strings.TrimSpace(html.UnescapeString(anyTag.ReplaceAllString(cell[1], ""))))
			}
			if len(cells) > 1 && (rows == nil || len(cells) == len(rows[0])) {
				rows = append(rows, cells)
			}
		}
		if rows != nil {
			tables = append(tables, rows)
		}
	}
	return tables
}
