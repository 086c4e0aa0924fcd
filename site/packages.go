package main

import (
	"fmt"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// packagesURL is the page that lists the packages.
const packagesURL = "packages/index.html"

// packagePages makes a page of each public package from its doc comments, after one that
// lists them.
func packagePages(root string) ([]*page, error) {
	dirs, err := packageDirs(root)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("# Go packages\n\nThese pages document the exported names. " +
		"[Architecture](ARCHITECTURE.md) explains how the packages work together. " +
		"The tests run the examples and compare what they print.\n\n| package | what it does |\n|---|---|\n")
	pages := []*page{{url: packagesURL, base: ".", label: "Go packages"}}
	for _, dir := range dirs {
		p, err := parsePackage(root, dir)
		if err != nil {
			return nil, err
		}
		made, err := p.page()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "| [%s](%s) | %s |\n", dir, made.url, prose(strings.TrimPrefix(p.Synopsis(p.Doc), "Package ")))
		pages = append(pages, made)
	}
	pages[0].text = []byte(b.String())
	return pages, nil
}

// packageDirs lists the folders of the packages that other modules may import.
func packageDirs(root string) ([]string, error) {
	var dirs []string
	err := fs.WalkDir(os.DirFS(root), ".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		name := path.Base(dir)
		hidden := strings.HasPrefix(name, ".") ||
			slices.Contains([]string{"internal", "testdata", "build", "dist"}, name)
		if dir != "." && hidden {
			return fs.SkipDir
		}
		p, err := build.ImportDir(filepath.Join(root, filepath.FromSlash(dir)), 0)
		if err == nil && p.Name != "main" && len(p.GoFiles) > 0 && !strings.HasSuffix(p.Name, "test") {
			dirs = append(dirs, dir)
		}
		return nil
	})
	return dirs, err
}

func packageURL(dir string) string {
	return "packages/" + strings.ReplaceAll(dir, "/", "-") + ".html"
}

// linkTo returns the address of a name that a doc comment mentions.
func (p *goPackage) linkTo(l *comment.DocLink) string {
	if dir, ours := strings.CutPrefix(l.ImportPath, module+"/"); ours {
		if strings.HasPrefix(dir, "internal/") {
			return dir
		}
		return packageURL(dir)
	}
	name := l.Name
	if l.Recv != "" {
		name = l.Recv + "." + l.Name
	}
	switch {
	case l.ImportPath != "":
		return "https://pkg.go.dev/" + l.ImportPath + "#" + name
	case p.known[name]:
		return "#" + name
	case p.known[l.Recv]: // a field
		return "#" + l.Recv
	}
	return packageURL(p.dir)
}

// page makes the page of a package.
func (p *goPackage) page() (*page, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Package %s\n\n```go\nimport %q\n```\n\n%s\n", p.Name, p.ImportPath, p.text(p.Doc, p.linkTo))
	w := declarations{goPackage: p, b: &b}
	w.examples(p.Examples, "## Example")
	w.values("## Constants", p.Consts)
	w.values("## Variables", p.Vars)
	if len(p.Funcs) > 0 {
		b.WriteString("\n## Functions\n")
		w.funcs(p.Funcs, "###", "")
	}
	if len(p.Types) > 0 {
		b.WriteString("\n## Types\n")
	}
	for _, t := range p.Types {
		fmt.Fprintf(&b, "\n### %s {#%s}\n\n", t.Name, t.Name)
		w.declaration(t.Decl, t.Doc)
		w.values("", t.Consts)
		w.values("", t.Vars)
		w.examples(t.Examples, "#### Example")
		w.funcs(t.Funcs, "####", "")
		w.funcs(t.Methods, "####", t.Name+".")
	}
	return &page{url: packageURL(p.dir), base: ".", label: p.dir, parent: packagesURL, text: []byte(b.String())}, w.err
}

// declarations writes the exported names of a package. The first error stays in err.
type declarations struct {
	*goPackage
	b   *strings.Builder
	err error
}

// declaration writes a declaration and its comment.
func (w *declarations) declaration(node any, comments string) {
	code, err := w.code(node)
	if err != nil && w.err == nil {
		w.err = err
	}
	fmt.Fprintf(w.b, "%s\n%s\n", code, w.text(comments, w.linkTo))
}

func (w *declarations) values(heading string, list []*doc.Value) {
	if len(list) > 0 && heading != "" {
		fmt.Fprintf(w.b, "\n%s\n\n", heading)
	}
	for _, v := range list {
		w.declaration(v.Decl, v.Doc)
	}
}

func (w *declarations) funcs(list []*doc.Func, level, prefix string) {
	for _, f := range list {
		fmt.Fprintf(w.b, "\n%s %s%s {#%s%s}\n\n", level, prefix, f.Name, prefix, f.Name)
		f.Decl.Body = nil
		w.declaration(f.Decl, f.Doc)
		w.examples(f.Examples, "##### Example")
	}
}

// examples writes the examples of a name with what they print.
func (w *declarations) examples(list []*doc.Example, heading string) {
	for _, e := range list {
		code, err := w.code(e.Code)
		if err != nil && w.err == nil {
			w.err = err
		}
		fmt.Fprintf(w.b, "\n%s\n\n%s\n", heading, w.text(e.Doc, w.linkTo)+code)
		if e.Output != "" {
			fmt.Fprintf(w.b, "It prints:\n\n%s\n", fenced(e.Output))
		}
	}
}
