package report

import (
	"bytes"
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

// html renders the page, and leaves out figures of layers until it fits MaxBytes.
func (p *page) html() ([]byte, error) {
	for {
		var b bytes.Buffer
		if err := layout.Execute(&b, p); err != nil {
			return nil, err
		}
		if b.Len() <= MaxBytes || len(p.Layers) == 0 {
			return b.Bytes(), nil
		}
		p.thin()
	}
}

// thin leaves out every second figure of a layer.
func (p *page) thin() {
	var kept []figure
	for i, f := range p.Layers {
		if i%2 == 0 && len(p.Layers) > 1 {
			kept = append(kept, f)
		} else {
			p.LeftOut++
		}
	}
	p.Layers = kept
}
