package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"os"
	"path/filepath"
	"strings"
)

//go:embed web
var web embed.FS

var layout = template.Must(template.ParseFS(web, "web/page.html"))

// searchURL is the page that searches.
const searchURL = "search.html"

// view is what the template of a page shows.
type view struct {
	Title    string
	Content  template.HTML
	Root     string // path to the root of the site, such as ../
	Sections []navSection
	Parts    []contentsLine
	Source   string // address of the Markdown file; made: empty
	Search   bool   // the page that searches
}

type navSection struct {
	Name  string
	Links []navLink
}

type navLink struct {
	Label string
	URL   string
	Here  bool
	Child bool
}

type contentsLine struct {
	Heading string
	ID      string
	Level   int
}

// write writes the site into a folder, which it replaces.
func (s *site) write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, p := range s.pages {
		if err := s.writePage(dir, p.url, s.viewOf(p)); err != nil {
			return err
		}
	}
	search := &page{url: searchURL, rendered: rendered{title: "Search"}}
	v := s.viewOf(search)
	v.Search = true
	if err := s.writePage(dir, searchURL, v); err != nil {
		return err
	}
	for to, from := range s.files {
		data, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(from)))
		if err != nil {
			return err
		}
		if err := writeFile(dir, to, data); err != nil {
			return err
		}
	}
	for _, name := range []string{"style.css", "search.js"} {
		data, err := web.ReadFile("web/" + name)
		if err != nil {
			return err
		}
		if err := writeFile(dir, name, data); err != nil {
			return err
		}
	}
	index, err := s.index()
	if err != nil {
		return err
	}
	return writeFile(dir, "search-index.js", index)
}

func (s *site) writePage(dir, url string, v view) error {
	var b bytes.Buffer
	if err := layout.Execute(&b, v); err != nil {
		return err
	}
	return writeFile(dir, url, b.Bytes())
}

func writeFile(dir, name string, data []byte) error {
	name = filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// viewOf returns what the template shows of a page.
func (s *site) viewOf(p *page) view {
	v := view{Title: p.title, Content: template.HTML(p.html), Root: p.relative("")}
	if p.source != "" {
		v.Source = repository + p.source
	}
	open := p.url // the page of the navigation whose children are shown
	if p.parent != "" {
		open = p.parent
	}
	for _, list := range s.sections {
		shown := navSection{Name: list.name}
		for _, other := range list.pages {
			if other.parent != "" && other.parent != open {
				continue
			}
			shown.Links = append(shown.Links, navLink{
				Label: other.label, URL: p.relative(other.url), Here: other == p, Child: other.parent != "",
			})
		}
		v.Sections = append(v.Sections, shown)
	}
	for _, part := range p.parts {
		if part.level == 2 || part.level == 3 {
			v.Parts = append(v.Parts, contentsLine{Heading: part.heading, ID: part.id, Level: part.level})
		}
	}
	if len(v.Parts) < 2 {
		v.Parts = nil
	}
	return v
}

// index returns the script with which the page that searches loads all texts: a list of
// [url, title of the page, heading, text].
func (s *site) index() ([]byte, error) {
	var list [][4]string
	for _, p := range s.pages {
		for i, part := range p.parts {
			url := p.url
			heading := part.heading
			if i == 0 {
				heading = ""
			} else {
				url += "#" + part.id
			}
			list = append(list, [4]string{url, p.title, heading, strings.TrimSpace(part.text)})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return append(append([]byte("const searchIndex = "), text...), ";\n"...), nil
}
