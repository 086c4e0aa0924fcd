package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/model"
)

const modelsSource = "docs/MODELS.md"

// familyPages makes the page of the models, in whose table each family leads to a page.
func familyPages(s *site) ([]*page, error) {
	list, err := s.read(modelsSource, "Models", "")
	if err != nil {
		return nil, err
	}
	variables, err := variablesOf(s.root, "engine/model", "Architecture")
	if err != nil {
		return nil, err
	}
	code, err := parsePackage(s.root, "engine/model")
	if err != nil {
		return nil, err
	}
	columns := tableRows(string(list.text))
	pages := []*page{list}
	for _, a := range model.Architectures {
		row := columns["`"+a.Name+"`"]
		if len(row) != 4 {
			return nil, fmt.Errorf("%s: no row for %s", modelsSource, a.Name)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "# %s\n\n%s.\n\n| property | value |\n|---|---|\n", a.Name, row[0])
		fmt.Fprintf(&b, "| `model_type` of config.json | `%s` |\n", a.Name)
		fmt.Fprintf(&b, "| `general.architecture` of GGUF files | %s |\n", row[1])
		fmt.Fprintf(&b, "| NVIDIA cards | %s |\n| checked against transformers | %s |\n", row[2], row[3])
		fmt.Fprintf(&b, "\n[Models](%s) explains the columns and lists all families.\n", modelsSource)
		if v := variables[a.Name]; v.comment != "" {
			fmt.Fprintf(&b, "\n## In the code\n\n[%s](%s):\n\n%s\n", v.file, v.file, code.text(v.comment, code.linkTo))
		}
		b.WriteString("\n## Use\n\n`attnscope info` says whether a model is supported and what is recorded of it, " +
			"without fetching its weights:\n\n```sh\nattnscope info -m MODEL\n" +
			"attnscope capture -m MODEL -p prompts.jsonl --store factors --values -o run.attn\n```\n")
		hasKind := func(word string) bool { return strings.Contains(a.OffCard, word) }
		if slices.ContainsFunc([]string{"latent", "layers", "sinks"}, hasKind) {
			b.WriteString("\n[Kinds of layers](docs/METHODS.md#kinds-of-layers) " +
				"says what the selection methods do with such a model.\n")
		}
		if len(a.Defaults) > 0 {
			defaults, err := json.MarshalIndent(a.Defaults, "", "  ")
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "\n## Defaults\n\nFields that config.json leaves out have these values, "+
				"as in transformers:\n\n```json\n%s\n```\n", defaults)
		}
		url := "models/" + a.Name + ".html"
		pages = append(pages, &page{url: url, base: ".", label: a.Name, parent: list.url, text: []byte(b.String())})
		list.linkRow("`"+a.Name+"`", "../"+url)
	}
	return pages, nil
}

// tableRows returns the cells of the rows of all tables after the first one, by it.
func tableRows(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || !strings.HasSuffix(line, " |") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
		rows[cells[0]] = cells[1:]
	}
	return rows
}
