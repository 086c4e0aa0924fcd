package table

import (
	"bufio"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// latexSpecial replaces the characters that LaTeX treats specially.
var latexSpecial = strings.NewReplacer(
	`\`, `\textbackslash{}`, `{`, `\{`, `}`, `\}`, `$`, `\$`, `&`, `\&`, `%`, `\%`, `#`, `\#`, `_`, `\_`,
	`~`, `\textasciitilde{}`, `^`, `\textasciicircum{}`, `<`, `\textless{}`, `>`, `\textgreater{}`, "\n", " ", "\r", " ", "\t", " ",
)

// latex writes the table as a tabular with the rules of the package booktabs. Columns
// that are the same in all rows are in a comment above it, unless Values lists them.
// Numbers have three significant digits.
func (t *Table) latex(b *bufio.Writer) {
	var shown []int
	var align strings.Builder
	for i, name := range t.Columns {
		switch {
		case t.unused(i):
		case t.constant(i) && !slices.Contains(t.Values, name):
			fmt.Fprintf(b, "%% %s: %s\n", name, latexSpecial.Replace(setting(t.firstCell(i))))
		default:
			shown = append(shown, i)
			if t.numeric(i) {
				align.WriteByte('r')
			} else {
				align.WriteByte('l')
			}
		}
	}
	line := func(cell func(i int) string) {
		cells := make([]string, len(shown))
		for k, i := range shown {
			cells[k] = cell(i)
		}
		fmt.Fprintf(b, "%s \\\\\n", strings.Join(cells, " & "))
	}
	fmt.Fprintf(b, "\\begin{tabular}{%s}\n\\toprule\n", align.String())
	line(func(i int) string { return latexSpecial.Replace(strings.ReplaceAll(t.Columns[i], "_", " ")) })
	b.WriteString("\\midrule\n")
	for _, row := range t.Rows {
		line(func(i int) string { return latexCell(row[i]) })
	}
	b.WriteString("\\bottomrule\n\\end{tabular}\n")
}

// latexCell formats a cell. Very large and small numbers have a power of ten.
func latexCell(cell any) string {
	v, number := cell.(float64)
	switch {
	case !number:
		return latexSpecial.Replace(text(cell))
	case math.IsNaN(v):
		return "--"
	}
	mantissa, exponent, has := strings.Cut(short(v), "e")
	if !has {
		return mantissa
	}
	n, _ := strconv.Atoi(exponent)
	return fmt.Sprintf(`$%s\cdot 10^{%d}$`, mantissa, n)
}
