package cite

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

func textOf(t *testing.T, l *List) string {
	t.Helper()
	var b strings.Builder
	if err := l.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestReferences: every entry has a title, an author and a year or an address, and is
// found; no key and no eprint number is used twice.
func TestReferences(t *testing.T) {
	keys := strings.Count(references, "\n@")
	eprints := len(eprintPattern.FindAllString(references, -1))
	if keys < 20 || len(known) != keys+eprints {
		t.Errorf("%d entries of %d keys and %d eprint numbers", len(known), keys, eprints)
	}
	for name, e := range known {
		for _, want := range []string{"title", "author", "(year|url)"} {
			if !regexp.MustCompile(`(?m)^  ` + want + ` = \{.+\},$`).MatchString(e.Text) {
				t.Errorf("%s has no %s:\n%s", name, want, e.Text)
			}
		}
		if strings.Count(e.Text, "{") != strings.Count(e.Text, "}") {
			t.Errorf("%s: braces do not match:\n%s", name, e.Text)
		}
	}
	for _, d := range datasets {
		if _, ok := known[d.key]; !ok {
			t.Errorf("data set %s: no entry %s", d.name, d.key)
		}
	}
	for _, key := range []string{"li2024snapkv", "allal2025smollm2"} {
		if _, ok := known[key]; !ok {
			t.Errorf("no entry %s", key)
		}
	}
}

func TestMethods(t *testing.T) {
	for i := range snapkv.Methods {
		m := &snapkv.Methods[i]
		var l List
		l.Method(m)
		text := textOf(t, &l)
		number, paper := strings.CutPrefix(m.Source, "arXiv:")
		if paper && !strings.Contains(text, "eprint = {"+number+"}") {
			t.Errorf("%s: %s is not cited:\n%s", m.Name, m.Source, text)
		}
		if _, found := known[number]; paper && !found {
			t.Errorf("%s: references.bib has no entry for %s", m.Name, m.Source)
		}
	}
	var l List
	l.Method(&snapkv.Method{Name: "new", Source: "arXiv:2599.00001"})
	want := "@misc{arXiv:2599.00001,\n  title = {{The method new}},\n  eprint = {2599.00001},\n  archivePrefix = {arXiv},\n}\n\n"
	if got := textOf(t, &l); got != want {
		t.Errorf("a paper that is not known:\n%s\nwant\n%s", got, want)
	}
}

// TestDump: an entry appears once, a model of the hub has its commit, a path becomes a
// name, and text is escaped for LaTeX.
func TestDump(t *testing.T) {
	h := &dumps.Header{
		Model: dumps.ModelInfo{ID: "some-one/a_model", SHA256: "0123456789abcdef"},
		Manifest: dumps.Manifest{
			Program: "attnscope 0.1.0", Created: "2026-01-02T03:04:05Z", Command: []string{"attnscope", "capture"},
			PromptsFile: "/home/me/50%.jsonl", PromptsSHA256: "fedcba9876543210", Prompts: 3, ModelRevision: "c0ffee",
		},
	}
	var l List
	l.Program("0.1.0")
	before := len(textOf(t, &l))
	for range 2 {
		l.Dump(h, []dumps.Prompt{{Dataset: "qasper"}, {Dataset: "mine"}})
	}
	l.Model("/home/me/models/tiny", "", "")
	want := `% recorded by attnscope 0.1.0 on 2026-01-02T03:04:05Z: attnscope capture

@misc{model-some-one-a-model-0123456789ab,
  title = {{some-one/a\_model}},
  author = {{some-one}},
  url = {https://huggingface.co/some-one/a_model},
  note = {revision c0ffee; SHA-256 of the weights 0123456789abcdef},
}

@misc{prompts-50-.jsonl-fedcba987654,
  title = {{50\%.jsonl}},
  note = {2 of 3 prompts; SHA-256 of ids and tokens fedcba9876543210},
}

` + known["dasigi2021qasper"].Text + `
% data set mine: add its source yourself

@misc{model-tiny,
  title = {{tiny}},
}

`
	if got := textOf(t, &l)[before:]; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTables(t *testing.T) {
	cells := [][]string{{"model", "dataset", "method", "mass"}, {"tiny", "*", "snapkv", "0.5"}, {"tiny", "qmsum", "h2o", "0.4"}}
	lines := func(separator string) string {
		var b strings.Builder
		for _, c := range cells {
			b.WriteString(strings.Join(c, separator) + "\n")
		}
		return b.String()
	}
	object := `{"model":"tiny","dataset":"*","method":"snapkv","mass":0.5}` + "\n"
	other := `{"model":"tiny","dataset":"qmsum","method":"h2o","mass":null}`
	var first string
	for name, text := range map[string]string{
		"t.tsv": lines("\t"), "t.csv": lines(","), "t.jsonl": object + other,
		"t.json": "[" + object + "," + other + "]\n",
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var l List
		if err := l.Table(path); err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(textOf(t, &l), path, "TABLE")
		for _, want := range []string{
			"@misc{model-tiny,", "@misc{li2024snapkv,", "@misc{zhang2023h2o,", "@misc{zhong2021qmsum,",
			"% TABLE names no dump",
		} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%s: want %q once in\n%s", name, want, got)
			}
		}
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("%s is cited differently:\n%s\nanother format:\n%s", name, got, first)
		}
	}
	for name, text := range map[string]string{"t.tsv": "a\tb\n1\t2\n", "t.csv": "model\n", "t.json": "[1]", "t.foo": "x"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var l List
		if err := l.Table(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s %q: error %v, want one that names the file", name, text, err)
		}
	}
}

// TestTableOfExperiment: run.json beside a table tells the model and the hashes.
func TestTableOfExperiment(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kept.csv": "method,mass\nsnapkv,0.5\n",
		"run.json": `{"command":"attnscope reproduce","capture":{"model":"o/m","model_sha256":"aa",` +
			`"model_revision":"bb","prompts_sha256":"cc"}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var l List
	if err := l.Table(filepath.Join(dir, "kept.csv")); err != nil {
		t.Fatal(err)
	}
	got := textOf(t, &l)
	for _, want := range []string{
		": attnscope reproduce\n", "revision bb; SHA-256 of the weights aa", "of the prompts: cc\n", "2404.14469",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestLeaderboard: results name the model's hash, methods and benchmarks; those of quantized
// caches cite KIVI.
func TestLeaderboard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	kivi := "@misc{liu2024kivi,"
	for _, of := range []struct {
		settings, budget string
		cited            int
	}{
		{`"kv_bits":4`, "10%", 1},
		{`"window":32`, "4bit", 1},
		{`"kv_bits":16`, "10%", 0},
		{`"window":32`, "10%", 0},
	} {
		text := `{"attnscope_leaderboard":1,"model":"tiny","model_sha256":"aabb","methods":["h2o"],"settings":{` + of.settings + `},` +
			`"plan":[{"task":"vt","suite":"ruler"},{"task":"lines","suite":"lines"},{"task":"trec","suite":"longbench"},` +
			`{"task":"needle","suite":"needle"}]}` +
			`{"task":"vt","results":[{"method":"full","budget":"all"},{"method":"h2o","budget":"` + of.budget + `"}]}`
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var l List
		if err := l.Table(path); err != nil {
			t.Fatal(err)
		}
		got := textOf(t, &l)
		for _, want := range []string{
			"@misc{model-tiny-aabb,", "note = {SHA-256 of the weights aabb}", "@misc{zhang2023h2o,", "@misc{hsieh2024ruler,",
			"@misc{li2023longeval,", "@misc{bai2023longbench,", "@misc{kamradt2023needle,",
		} {
			if strings.Count(got, want) != 1 {
				t.Errorf("want %q once in\n%s", want, got)
			}
		}
		if strings.Count(got, kivi) != of.cited || strings.Contains(got, "names no dump") {
			t.Errorf("%s, budget %s:\n%s", of.settings, of.budget, got)
		}
	}
}

// TestOrigin: a line of generate names the model, its hash and revision, the prompts, the
// data set and the version of attnscope, and so does its table. A version other than that of
// the program that cites has its own entry. After results with the hash of a model, a table
// without it adds nothing.
func TestOrigin(t *testing.T) {
	line := `{"id":"a","method":"h2o","kv_bits":4,"dataset":"qasper","model":"o/m","model_revision":"bb","model_sha256":"aabb",` +
		`"prompts_sha256":"ccdd","program":"attnscope 0.0.9"}`
	table := "method,kl,dataset,model,model_revision,model_sha256,prompts_sha256,program\n" +
		"h2o,0.1,qasper,o/m,bb,aabb,ccdd,attnscope 0.0.9\n"
	dir := t.TempDir()
	for name, text := range map[string]string{"real.jsonl": line, "table.csv": table, "old.csv": "model,task,method\no/m,vt,h2o\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"real.jsonl", "table.csv"} {
		for own, others := range map[string]int{"0.1.0": 1, "0.0.9": 0} {
			var l List
			l.Program(own)
			if err := l.Table(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := l.Table(filepath.Join(dir, "old.csv")); err != nil {
				t.Fatal(err)
			}
			got := textOf(t, &l)
			for _, want := range []string{
				"@misc{model-o-m-aabb,", "url = {https://huggingface.co/o/m}", "note = {revision bb; SHA-256 of the weights aabb}",
				"of the prompts: ccdd\n", "@misc{dasigi2021qasper,", "@misc{zhang2023h2o,", "@misc{hsieh2024ruler,", "version = {" + own + "}",
			} {
				if strings.Count(got, want) != 1 {
					t.Errorf("%s: want %q once in\n%s", name, want, got)
				}
			}
			if strings.Count(got, "@software{attnscope-0.0.9,") != others || strings.Contains(got, "names no dump") {
				t.Errorf("%s, cited by version %s:\n%s", name, own, got)
			}
		}
	}
}
