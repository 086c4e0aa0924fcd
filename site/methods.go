package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/snapkv"
)

const methodsSource = "docs/METHODS.md"

// methodPages makes the page of the methods, in whose table each leads to a page that is
// made of the file of the method.
func methodPages(s *site) ([]*page, error) {
	list, err := s.read(methodsSource, "Methods", "")
	if err != nil {
		return nil, err
	}
	variables, err := variablesOf(s.root, "snapkv", "Method")
	if err != nil {
		return nil, err
	}
	code, err := parsePackage(s.root, "snapkv")
	if err != nil {
		return nil, err
	}
	pages := []*page{list}
	for _, m := range snapkv.Methods {
		v, ok := variables[m.Name]
		if !ok {
			return nil, fmt.Errorf("snapkv: the method %s is no variable with a doc comment", m.Name)
		}
		source, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(v.file)))
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "# %s\n\n%s\n", m.Name, code.text(v.comment, code.linkTo))
		fmt.Fprintf(&b, "| property | value |\n|---|---|\n| source | %s |\n", sourceLink(m.Source))
		fmt.Fprintf(&b, "| reads | %s |\n| selects | %s |\n", readsOf(m.Needs), scopeText[m.Scope])
		fmt.Fprintf(&b, "| a larger capacity keeps all of a smaller one | %s |\n", yesNo(m.Nested))
		command := "attnscope snapkv run.attn --method " + m.Name + " --capacity 128,256 --by none"
		if m.ByHeadScores {
			command += " --head-scores scores.json"
		}
		fmt.Fprintf(&b, "\n[Methods](%s) compares it with the others.\n\n```sh\n%s\n```\n", methodsSource, command)
		_, body, _ := strings.Cut(string(source), "package snapkv\n")
		fmt.Fprintf(&b, "\n## Code\n\n[%s](%s):\n\n```go\n%s\n```\n", v.file, v.file, strings.TrimSpace(body))
		url := "methods/" + m.Name + ".html"
		pages = append(pages, &page{url: url, base: ".", label: m.Name, parent: list.url, text: []byte(b.String())})
		list.linkRow(m.Name, "../"+url)
	}
	return pages, nil
}

// linkRow makes the first cell of a row of a table a link.
func (p *page) linkRow(cell, to string) {
	p.text = []byte(strings.Replace(string(p.text), "\n| "+cell+" |", "\n| ["+cell+"]("+to+") |", 1))
}

// scopeText says whose scores a selection depends on.
var scopeText = map[snapkv.Scope]string{
	snapkv.ScopeHead:  "for each head by itself",
	snapkv.ScopeGroup: "for the query heads of a kv head together",
	snapkv.ScopeLayer: "for all heads of a layer together",
}

// readsOf lists what a method reads.
func readsOf(n snapkv.Needs) string {
	var list []string
	for _, part := range []struct {
		needed bool
		name   string
	}{
		{n.Rows, "rows of the window"},
		{n.Sums, "sums over all rows of the prompt"},
		{n.Keys, "keys"},
		{n.Values, "values"},
		{n.Queries && !n.AllQueries, "queries of the window"},
		{n.AllQueries, "queries of the whole prompt"},
		{n.Generated, "rows of the reply"},
	} {
		if part.needed {
			list = append(list, part.name)
		}
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// sourceLink makes an arXiv number a link.
func sourceLink(source string) string {
	if number, ok := strings.CutPrefix(source, "arXiv:"); ok {
		number, _, _ = strings.Cut(number, " ")
		return "[" + prose(source) + "](https://arxiv.org/abs/" + strings.TrimRight(number, ",;") + ")"
	}
	return prose(source)
}
