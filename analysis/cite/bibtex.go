package cite

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Entry is an entry of a bibliography.
type Entry struct {
	Key  string
	Text string // BibTeX, from @ to the closing brace and a line end
}

//go:embed references.bib
var references string

var (
	keyPattern    = regexp.MustCompile(`^@\w+\{([^,]+),`)
	eprintPattern = regexp.MustCompile(`(?m)^  eprint = \{([^}]+)\},$`)
)

// known holds the entries of references.bib by key, and by eprint number.
var known = parseReferences(references)

func parseReferences(text string) map[string]Entry {
	out := map[string]Entry{}
	for _, part := range strings.Split(text, "\n@")[1:] {
		e := Entry{Text: "@" + strings.TrimSpace(part) + "\n"}
		e.Key = keyPattern.FindStringSubmatch(e.Text)[1]
		out[e.Key] = e
		if m := eprintPattern.FindStringSubmatch(e.Text); m != nil {
			out[m[1]] = e
		}
	}
	return out
}

// field is a field of an entry.
type field struct{ name, value string }

// newEntry returns an entry without the fields that are empty.
func newEntry(kind, key string, fields ...field) Entry {
	var b strings.Builder
	fmt.Fprintf(&b, "@%s{%s,\n", kind, key)
	for _, f := range fields {
		if f.value != "" {
			fmt.Fprintf(&b, "  %s = {%s},\n", f.name, f.value)
		}
	}
	b.WriteString("}\n")
	return Entry{Key: key, Text: b.String()}
}

// keyOf makes a key of the words that are not empty: letters, digits and a few signs, all
// others replaced.
func keyOf(words ...string) string {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	return unkeyed.ReplaceAllString(strings.Join(words, "-"), "-")
}

var unkeyed = regexp.MustCompile(`[^A-Za-z0-9.:+-]+`)

// plain escapes text for LaTeX. Braces around it keep its capitals.
func plain(text string) string { return escapes.Replace(text) }

var escapes = strings.NewReplacer(
	`\`, `\textbackslash{}`, "{", `\{`, "}", `\}`, "_", `\_`, "%", `\%`, "&", `\&`, "#", `\#`, "$", `\$`,
	"~", `\textasciitilde{}`, "^", `\textasciicircum{}`,
)

// verbatim is plain for a title or an author that is one name.
func verbatim(text string) string { return "{" + plain(text) + "}" }
