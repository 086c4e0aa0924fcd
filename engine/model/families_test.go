package model

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
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
	b.WriteString(modelsText)
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
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(modelsPage, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(modelsPage)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not what the families say (%v): run UPDATE=1 go test ./engine/model -run TestModelsPage", modelsPage, err)
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

const modelsText = `# Model families

attnscope reads these families of decoders from checkpoints in hub layout (safetensors). ` + "`attnscope models`" + ` prints the same list, with the types of weights, the
rotations and the tokenizers. ` + "`attnscope info -m MODEL`" + ` says whether a given model is supported, and what is recorded of it.

- **GGUF** is the name that llama.cpp gives the family (` + "`general.architecture`" + `).
- **cards**: whether the CUDA backend runs models of the family. It may refuse a model of a family with "yes" because of a setting, which the error names.
- **checked** counts the small checkpoints with random weights in ` + "`engine/model/testdata`" + ` on which attention and logits are compared with transformers 5.24 in each run of the tests
  (weights within 1e-5, logits within 1e-4, the same greedy tokens), and the GGUF files that llama.cpp's converter has written from them.
- A checkpoint in hub layout is a folder with ` + "`" + `config.json` + "`" + `, one or more ` + "`" + `.safetensors` + "`" + ` files, and the tokenizer (` + "`" + `tokenizer.json` + "`" + ` or ` + "`" + `tokenizer.model` + "`" + `).
  Without a tokenizer, prompts are given as ` + "`" + `input_ids` + "`" + `. The field ` + "`" + `model_type` + "`" + ` of ` + "`" + `config.json` + "`" + ` names the family. A model that is Llama under another name runs
  if its ` + "`" + `model_type` + "`" + ` is set to ` + "`" + `llama` + "`" + `; every field that attnscope does not understand is refused by its name.
- Weights may be quantized in every family: [QUANTIZED.md](QUANTIZED.md) lists the methods. [TRUST.md](TRUST.md) says what else is checked, and what is not.

`
