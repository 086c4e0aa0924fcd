package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/attnscope/attnscope/internal/glossary"
)

// termPages makes the page of the terms that "attnscope help WORD" explains.
func termPages() []*page {
	var b strings.Builder
	b.WriteString("# Terms\n\n`attnscope help WORD` prints these explanations.\n")
	for _, t := range glossary.Terms {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", t.Name, prose(t.Text))
		if t.Formula != "" {
			fmt.Fprintf(&b, "\nFormula: `%s`\n", t.Formula)
		}
		if len(t.Aliases) > 0 {
			fmt.Fprintf(&b, "\nAlso: %s.\n", prose(strings.Join(t.Aliases, ", ")))
		}
		fmt.Fprintf(&b, "\nMore: [%s](%s).\n", t.More, t.More)
	}
	return []*page{{url: "terms.html", base: ".", label: "Terms", text: []byte(b.String())}}
}

// markdownSigns escapes the signs that have a meaning in Markdown.
var markdownSigns = strings.NewReplacer(
	`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "|", `\|`, "`", "\\`", "#", `\#`,
)

// document matches the names of documents in texts of the program.
var document = regexp.MustCompile(`^(docs|dumps)/[A-Z-]+\.md$`)

// prose returns a text of the program as Markdown: signs mean themselves, flags are set
// as code, and names of documents are links.
func prose(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		core := strings.TrimRight(strings.TrimLeft(word, "("), ".,;:)")
		switch {
		case strings.HasPrefix(core, "--") && len(core) > 2:
			words[i] = strings.Replace(word, core, "`"+core+"`", 1)
		case document.MatchString(core):
			words[i] = strings.Replace(word, core, "["+core+"]("+core+")", 1)
		default:
			words[i] = markdownSigns.Replace(word)
		}
	}
	return strings.Join(words, " ")
}
