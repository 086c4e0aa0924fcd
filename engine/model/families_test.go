package model

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// TestFamiliesOnCards checks what Architecture.OffCard says of each family against its
// checkpoints in testdata: cards run none of them exactly if OffCard has a reason.
func TestFamiliesOnCards(t *testing.T) {
	list, err := filepath.Glob("testdata/*/config.json")
	if err != nil || len(list) < 60 {
		t.Fatalf("%d checkpoints in testdata (%v)", len(list), err)
	}
	runs := map[string]bool{}
	why := map[string]string{}
	for _, path := range list {
		c := configAt(t, filepath.Dir(path))
		what := c.NoCard()
		runs[c.Architecture] = runs[c.Architecture] || what == ""
		if what != "" {
			why[c.Architecture] = what
		}
	}
	for _, a := range Architectures {
		run, tested := runs[a.Name]
		switch {
		case !tested:
		case run && a.OffCard != "":
			t.Errorf("%s: cards run a checkpoint, but OffCard says %q", a.Name, a.OffCard)
		case !run && a.OffCard == "":
			t.Errorf("%s: cards run no checkpoint (%s), but OffCard is empty", a.Name, why[a.Name])
		}
	}
}

const modelsPage = "../../docs/MODELS.md"

// TestModelsPage checks that docs/MODELS.md lists the families as they are, with the
// checkpoints in testdata by which each is checked. With UPDATE=1, it writes the page.
func TestModelsPage(t *testing.T) {
	plain := checkpointsOf(t, "testdata/*/config.json")
	gguf := checkpointsOf(t, "testdata/*/model.gguf")
	var b bytes.Buffer
	b.WriteString("| model_type | models | GGUF | cards | checked |\n|---|---|---|---|---|\n")
	for _, a := range Architectures {
		card := "yes"
		if a.OffCard != "" {
			card = "no: " + a.OffCard
		}
		checked := "only logits, by `make test-long`"
		if a.Name == "kimi_k2" { // transformers does not know this name
			checked = "only as `deepseek_v3`"
		}
		if plain[a.Name] > 0 {
			checked = fmt.Sprintf("safetensors %d", plain[a.Name])
		}
		if gguf[a.Name] > 0 {
			checked += fmt.Sprintf(", GGUF %d", gguf[a.Name])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", a.Name, a.About, cmp.Or(a.GGUF, a.SharedGGUF, "no"), card, checked)
	}
	have, err := os.ReadFile(modelsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := bytes.Cut(have, []byte("\n| model_type |"))
	_, after, ends := bytes.Cut(rest, []byte("|\n\n"))
	if !found || !ends {
		t.Fatalf("%s: no table of families", modelsPage)
	}
	want := slices.Concat(before, []byte("\n"), b.Bytes(), []byte("\n"), after)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(modelsPage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the families say: run UPDATE=1 go test ./engine/model -run TestModelsPage", modelsPage)
	}
}

// checkpointsOf counts the checkpoints in testdata that have a file, by family.
func checkpointsOf(t *testing.T, pattern string) map[string]int {
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d files %s (%v)", len(list), pattern, err)
	}
	counts := map[string]int{}
	for _, path := range list {
		counts[configAt(t, filepath.Dir(path)).Architecture]++
	}
	return counts
}

// configAt reads the configuration of a model folder.
func configAt(t testing.TB, dir string) *Config {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	c, err := ReadConfig(ck)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}
