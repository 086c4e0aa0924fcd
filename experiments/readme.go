package experiments

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/internal/words"
)

// The texts of the experiments' README.md: NAME.md.tmpl shows the report of the
// experiment NAME, and readme.md.tmpl is the frame around it.
//
//go:embed templates/*.md.tmpl
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"table": markdown,
	"short": short,
	"few":   few,
}).ParseFS(templateFiles, "templates/*.md.tmpl"))

// readme returns the text of an experiment's README.md.
func (l *Lab) readme(e Experiment, report any) ([]byte, error) {
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, e.Name+".md.tmpl", report); err != nil {
		return nil, err
	}
	frame := struct {
		Experiment
		Command              string
		Figures              []string // names of the files, without extension
		Body                 string
		Documents, Truncated int
	}{Experiment: e, Command: l.notes.Command, Figures: l.drawn, Body: body.String()}
	if l.notes.Documents != nil {
		frame.Documents = *l.notes.Documents
		frame.Truncated = *l.notes.DocumentsTruncated
	}
	var out bytes.Buffer
	err := templates.ExecuteTemplate(&out, "readme.md.tmpl", frame)
	return out.Bytes(), err
}

// short formats a number with three decimals.
func short(x float64) string { return fmt.Sprintf("%.3f", x) }

// markdown writes some columns of a table as Markdown, with three decimals for
// numbers. Without names it writes all columns.
func markdown(t *table.Table, columns ...string) string {
	if len(columns) > 0 {
		t = t.Pick(columns...)
	}
	var b strings.Builder
	t.Format(shortCell).Markdown(&b)
	return b.String()
}

// shortCell formats a number of a column. A p-value is never zero, so a small one
// is written as a bound.
func shortCell(column string, x float64) string {
	text := short(x)
	if text == "0.000" && (column == "p" || strings.HasSuffix(column, "_p")) {
		return "<0.001"
	}
	return text
}

// few returns a warning if there are too few prompts for sound intervals.
func few(n int) string {
	if n >= analysis.SoundPrompts {
		return ""
	}
	return fmt.Sprintf("\n**Only %s: read the numbers as an illustration, not as a finding.**\n",
		words.Count(n, "prompt"))
}
