package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// module is the import path of the repository.
const module = "github.com/attnscope/attnscope"

// A goPackage is the parsed source of a package with its documentation.
type goPackage struct {
	dir   string // in the repository
	files *token.FileSet
	*doc.Package
	known map[string]bool // the exported names that have a heading: Name or Type.Method
}

// parsePackage reads a package of the repository with its examples.
func parsePackage(root, dir string) (*goPackage, error) {
	p := &goPackage{dir: dir, files: token.NewFileSet(), known: map[string]bool{}}
	folder := filepath.Join(root, filepath.FromSlash(dir))
	list, err := build.ImportDir(folder, 0)
	if err != nil {
		return nil, err
	}
	var parsed []*ast.File
	for _, names := range [][]string{list.GoFiles, list.TestGoFiles, list.XTestGoFiles} {
		for _, name := range names {
			f, err := parser.ParseFile(p.files, filepath.Join(folder, name), nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			parsed = append(parsed, f)
		}
	}
	p.Package, err = doc.NewFromFiles(p.files, parsed, path.Join(module, dir))
	if err != nil {
		return nil, err
	}
	for _, f := range p.Funcs {
		p.known[f.Name] = true
	}
	for _, t := range p.Types {
		p.known[t.Name] = true
		for _, f := range t.Funcs {
			p.known[f.Name] = true
		}
		for _, f := range t.Methods {
			p.known[t.Name+"."+f.Name] = true
		}
	}
	return p, nil
}

// text returns a doc comment as Markdown. linkTo gives the address of a name.
func (p *goPackage) text(comments string, linkTo func(*comment.DocLink) string) string {
	printer := p.Printer()
	printer.HeadingLevel = 4
	printer.HeadingID = func(*comment.Heading) string { return "" }
	printer.DocLinkURL = linkTo
	return string(printer.Markdown(p.Parser().Parse(comments)))
}

// code returns a piece of source as a block of Go.
func (p *goPackage) code(node any) (string, error) {
	var b strings.Builder
	if err := format.Node(&b, p.files, node); err != nil {
		return "", err
	}
	return "```go\n" + strings.TrimSpace(b.String()) + "\n```\n", nil
}

// A variable is one whose value is a literal of a struct type with a field Name.
type variable struct {
	comment string
	file    string // in the repository
}

// variablesOf returns the variables of a struct type in the files of a package, by their
// field Name.
func variablesOf(root, dir, typeName string) (map[string]variable, error) {
	folder := filepath.Join(root, filepath.FromSlash(dir))
	list, err := build.ImportDir(folder, 0)
	if err != nil {
		return nil, err
	}
	constants := map[string]string{}
	found := map[string]variable{} // by the source text of the name
	for _, file := range list.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, file), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, declaration := range f.Decls {
			d, ok := declaration.(*ast.GenDecl)
			if !ok || len(d.Specs) != 1 {
				continue
			}
			spec, ok := d.Specs[0].(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				continue
			}
			if value, ok := spec.Values[0].(*ast.BasicLit); ok && d.Tok == token.CONST {
				constants[spec.Names[0].Name] = value.Value
			} else if name := nameField(spec.Values[0], typeName); name != "" {
				found[name] = variable{comment: d.Doc.Text(), file: path.Join(dir, file)}
			}
		}
	}
	byName := map[string]variable{}
	for name, v := range found {
		if value := constants[name]; value != "" {
			name = value
		}
		if name, err = strconv.Unquote(name); err != nil {
			return nil, fmt.Errorf("%s: the name of a %s is not a string literal", v.file, typeName)
		}
		byName[name] = v
	}
	return byName, nil
}

// nameField returns the source text of the field Name of a literal of a struct type.
func nameField(value ast.Expr, typeName string) string {
	literal, ok := value.(*ast.CompositeLit)
	if !ok {
		return ""
	}
	if kind, named := literal.Type.(*ast.Ident); !named || kind.Name != typeName {
		return ""
	}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok || fmt.Sprint(pair.Key) != "Name" {
			continue
		}
		switch value := pair.Value.(type) {
		case *ast.BasicLit:
			return value.Value
		case *ast.Ident:
			return value.Name
		}
	}
	return ""
}
