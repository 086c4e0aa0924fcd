package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A page is a page of the site before it is rendered.
type page struct {
	url    string // its file in the site
	source string // its Markdown file in the repository; made: none
	base   string // the folder of the repository that its links are relative to
	label  string // its name in the navigation
	parent string // the url of the page that lists it in the navigation; empty: a section does
	text   []byte // Markdown

	rendered
}

// A section is a heading of the navigation with its pages.
type section struct {
	name  string
	pages []*page
}

// A site is all pages, and what links between them need.
type site struct {
	root     string
	sections []section
	pages    []*page
	bySource map[string]*page  // file of the repository -> its page
	byURL    map[string]*page  // url -> its page
	files    map[string]string // file of the site -> file of the repository that is copied to it
}

// An entry is a page of the navigation: a file of the repository, or what makes its pages.
type entry struct {
	label  string
	source string
	url    string
	make   func(s *site) ([]*page, error)
}

// plan lists the navigation. Pages of docs that it does not name follow in a section of
// their own.
func plan(program string) []struct {
	name    string
	entries []entry
} {
	return []struct {
		name    string
		entries []entry
	}{
		{"Start", []entry{
			{label: "Overview", source: "README.md", url: "index.html"},
			{label: "Tutorial", source: "docs/TUTORIAL.md"},
			{label: "Method and budget", source: "docs/GUIDE.md"},
			{label: "Gallery", source: "docs/GALLERY.md"},
			{label: "From kvpress, bertviz, TransformerLens", source: "docs/COMING-FROM.md"},
		}},
		{"Use", []entry{
			{label: "Python", source: "docs/PYTHON.md"},
			{label: "Prompts", source: "docs/PROMPTS.md"},
			{label: "Long runs", source: "docs/LONG-RUNS.md"},
			{label: "Leaderboard", source: "docs/LEADERBOARD.md"},
			{label: "Clusters", source: "docs/CLUSTERS.md"},
			{label: "NVIDIA cards", source: "docs/CUDA.md"},
			{label: "Quantized weights", source: "docs/QUANTIZED.md"},
			{label: "Tokenizers", source: "docs/TOKENIZERS.md"},
		}},
		{"Reference", []entry{
			{make: func(*site) ([]*page, error) { return verbPages(program) }},
			{label: "Measures", source: "docs/MEASURES.md"},
			{make: methodPages},
			{make: familyPages},
			{make: func(*site) ([]*page, error) { return termPages(), nil }},
			{label: "File format", source: "dumps/FORMAT.md"},
		}},
		{"Evidence", []entry{
			{label: "What is checked", source: "docs/TRUST.md"},
			{label: "The paper on one page", source: "docs/SUMMARY.md"},
			{label: "The paper's claims", source: "docs/REPRODUCTION.md"},
			{label: "Predicting the loss", source: "docs/ADVICE.md"},
			{label: "Speed", source: "docs/PERFORMANCE.md"},
		}},
		{"Development", []entry{
			{label: "Architecture", source: "ARCHITECTURE.md"},
			{make: func(s *site) ([]*page, error) { return packagePages(s.root) }},
			{label: "Contributing", source: "docs/CONTRIBUTING.md"},
			{label: "Code, before and after", source: "docs/CODE.md"},
			{label: "Releases", source: "docs/RELEASES.md"},
			{label: "Changes", source: "CHANGELOG.md"},
		}},
	}
}

// newSite reads and renders all pages. program is the attnscope whose help is shown.
func newSite(root, program string) (*site, error) {
	s := &site{root: root, bySource: map[string]*page{}, byURL: map[string]*page{}, files: map[string]string{}}
	for _, group := range plan(program) {
		list := section{name: group.name}
		for _, e := range group.entries {
			pages, err := s.pagesOf(e)
			if err != nil {
				return nil, err
			}
			list.pages = append(list.pages, pages...)
		}
		s.sections = append(s.sections, list)
	}
	more, err := s.otherPages()
	if err != nil {
		return nil, err
	}
	if len(more) > 0 {
		s.sections = append(s.sections, section{name: "More", pages: more})
	}
	for _, list := range s.sections {
		for _, p := range list.pages {
			if err := s.add(p); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range s.pages {
		if err := s.render(p); err != nil {
			return nil, err
		}
	}
	return s, s.checkAnchors()
}

// pagesOf returns the pages of an entry of the navigation.
func (s *site) pagesOf(e entry) ([]*page, error) {
	if e.make != nil {
		return e.make(s)
	}
	p, err := s.read(e.source, e.label, e.url)
	return []*page{p}, err
}

// read makes the page of a Markdown file. Without a url, its name is that of the file in
// lower case.
func (s *site) read(source, label, url string) (*page, error) {
	text, err := os.ReadFile(filepath.Join(s.root, source))
	if err != nil {
		return nil, err
	}
	if url == "" {
		url = strings.ToLower(strings.TrimSuffix(path.Base(source), ".md")) + ".html"
	}
	return &page{url: url, source: source, base: path.Dir(source), label: label, text: text}, nil
}

// otherPages reads the pages of docs that the navigation does not name.
func (s *site) otherPages() ([]*page, error) {
	var named []string
	for _, list := range s.sections {
		for _, p := range list.pages {
			named = append(named, p.source)
		}
	}
	files, err := filepath.Glob(filepath.Join(s.root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	var more []*page
	for _, file := range files {
		source := "docs/" + filepath.Base(file)
		if slices.Contains(named, source) {
			continue
		}
		p, err := s.read(source, titleOf(file), "")
		if err != nil {
			return nil, err
		}
		more = append(more, p)
	}
	return more, nil
}

// titleOf makes a label of the name of a file: LONG-RUNS.md is "Long runs".
func titleOf(file string) string {
	name := strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".md"), "-", " "))
	return strings.ToUpper(name[:1]) + name[1:]
}

// add makes a page known to the links of the others.
func (s *site) add(p *page) error {
	if other := s.byURL[p.url]; other != nil {
		return fmt.Errorf("%s: both %q and %q have this url", p.url, other.label, p.label)
	}
	s.pages = append(s.pages, p)
	s.byURL[p.url] = p
	if p.source != "" {
		s.bySource[p.source] = p
	}
	return nil
}
