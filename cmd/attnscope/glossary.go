package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/internal/glossary"
	"github.com/attnscope/attnscope/internal/words"
)

// allTerms is the word after help that lists the terms.
const allTerms = "terms"

// helpWith prints what a term means, for a command line such as "help hit rate". handled
// is false for every other command line; the name of a verb is not a term.
func helpWith(app *cli.App, args []string) (handled bool, err error) {
	if len(args) < 2 || args[0] != "help" || app.Command(args[1]) != nil {
		return false, nil
	}
	word := strings.Join(args[1:], " ")
	if word == allTerms {
		return true, listTerms(app.Writer)
	}
	term, ok := glossary.Find(word)
	if !ok {
		hint := hintOf(nearTerms(app, word), "attnscope help "+allTerms+" lists the terms, attnscope --help the verbs")
		return true, hintf(usagef("%q is neither a verb nor a term", word), "%s", hint)
	}
	return true, printTerm(app.Writer, term)
}

// nearTerms suggests the terms whose explanation mentions a word or, if there are none, the
// term or verb nearest to it. It is empty if none is near.
func nearTerms(app *cli.App, word string) string {
	if list := glossary.Mentioning(word); list != nil {
		const named = 3
		return fmt.Sprintf("see %s.", words.Or(list[:min(named, len(list))]))
	}
	return words.Suggestion(word, slices.Concat(verbNames(app), glossary.Words()))
}

// helpWidth is the width to which explanations are wrapped.
const helpWidth = 100

// printTerm prints one term: its text, its formula and where the documentation says more.
func printTerm(w io.Writer, t glossary.Term) error {
	text := []string{t.Name, "  " + wrapped(t.Text, "  ")}
	if t.Formula != "" {
		text = append(text, "  Formula: "+wrapped(t.Formula, "    "))
	}
	if len(t.Aliases) > 0 {
		text = append(text, "  Also: "+strings.Join(t.Aliases, ", "))
	}
	text = append(text, "  More: "+t.More)
	_, err := fmt.Fprintln(w, strings.Join(text, "\n"))
	return err
}

// listTerms prints the names of all terms.
func listTerms(w io.Writer) error {
	_, err := fmt.Fprintf(w, "attnscope help WORD explains these terms:\n  %s\n", wrapped(strings.Join(glossary.Names(), ", "), "  "))
	return err
}

// wrapped breaks a text into lines of at most helpWidth characters, with indent before
// all but the first.
func wrapped(text, indent string) string {
	var b strings.Builder
	column := len(indent)
	for i, word := range strings.Fields(text) {
		switch length := len([]rune(word)); {
		case i == 0:
			column += length
		case column+1+length > helpWidth:
			b.WriteString("\n" + indent)
			column = len(indent) + length
		default:
			b.WriteByte(' ')
			column += 1 + length
		}
		b.WriteString(word)
	}
	return b.String()
}

// verbNames lists the names of the verbs.
func verbNames(app *cli.App) []string {
	var list []string
	for _, cmd := range app.Commands {
		list = append(list, cmd.Name)
	}
	return list
}
