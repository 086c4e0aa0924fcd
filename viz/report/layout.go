package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"
)

//go:embed page.html
var source string

var layout = template.Must(template.New("report").Funcs(template.FuncMap{
	"percent": func(x float64) string {
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", 100*x), "0"), ".")
	},
	"levels": func() []int { return []int{1, 2, 3, 4, 5, 6, 7, 8, 9} },
	"join":   func(list []string) string { return strings.Join(list, " ") },
	"megabytes": func(n int64) string {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	},
	"count": func(list []int, n int) string {
		if len(list) == n {
			return fmt.Sprintf("all %d", n)
		}
		return strings.Trim(fmt.Sprint(list), "[]")
	},
}).Parse(source))
