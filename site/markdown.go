package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// A rendered page is what its Markdown became.
type rendered struct {
	title string
	html  []byte
	parts []part
	links []link // to places in other pages or in this one
}

// A part is a heading with the text below it, up to the next one.
type part struct {
	level   int
	heading string
	id      string
	text    string
}

// A link leads to a place in a page.
type link struct {
	to     string // url of the page
	anchor string
}

// markdown reads the dialect of GitHub, in which the documents are written. Headings of
// pages that are made here may name their id: "### Reader {#Reader}".
var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM),
	goldmark.WithParserOptions(parser.WithAutoHeadingID(), parser.WithHeadingAttribute()))

// render turns the Markdown of a page into HTML, with links to the files of the site.
func (s *site) render(p *page) error {
	doc := markdown.Parser().Parse(text.NewReader(p.text))
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		var err error
		switch n := n.(type) {
		case *ast.Link:
			n.Destination, err = s.rewrite(p, n.Destination)
		case *ast.Image:
			n.Destination, err = s.copied(p, n.Destination)
		}
		return ast.WalkContinue, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	p.parts = partsOf(doc, p.text)
	if len(p.parts) == 0 || p.parts[0].level != 1 {
		return fmt.Errorf("%s: the page does not begin with a heading of level 1", p.name())
	}
	p.title = p.parts[0].heading
	var b bytes.Buffer
	if err := markdown.Renderer().Render(&b, p.text, doc); err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	p.html = inlineCode.ReplaceAllFunc(b.Bytes(), keepFlags)
	p.html = bytes.ReplaceAll(p.html, []byte("<table>"), []byte(`<div class="table" tabindex="0"><table>`))
	p.html = bytes.ReplaceAll(p.html, []byte("</table>"), []byte("</table></div>"))
	p.html = bytes.ReplaceAll(p.html, []byte("<pre>"), []byte(`<pre tabindex="0">`))
	return nil
}

var (
	// inlineCode matches code, and the tag that precedes it if it is a block.
	inlineCode = regexp.MustCompile(`(<pre>)?<code>[^<]*</code>`)
	// flagInCode matches a flag and the character before it.
	flagInCode = regexp.MustCompile(`([ >])(-[^ <]+)`)
)

// keepFlags marks the flags of code within a text, so that browsers do not break lines
// within them.
func keepFlags(code []byte) []byte {
	if bytes.HasPrefix(code, []byte("<pre>")) {
		return code
	}
	return flagInCode.ReplaceAll(code, []byte(`$1<span class="flag">$2</span>`))
}

// name says which page an error is about.
func (p *page) name() string {
	if p.source != "" {
		return p.source
	}
	return p.url
}

// partsOf divides a document at its headings.
func partsOf(doc ast.Node, source []byte) []part {
	var parts []part
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok {
			id := ""
			if value, ok := h.AttributeString("id"); ok {
				id = string(value.([]byte))
			}
			parts = append(parts, part{level: h.Level, heading: plain(h, source), id: id})
			continue
		}
		if len(parts) > 0 {
			last := &parts[len(parts)-1]
			last.text = strings.TrimSpace(last.text + " " + plain(n, source))
		}
	}
	return parts
}

// plain returns the text of a node without markup, with single spaces.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			if n.Type() == ast.TypeBlock {
				b.WriteByte(' ')
			}
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(util.UnescapePunctuations(n.Segment.Value(source)))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			b.Write(n.Lines().Value(source))
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(b.String()), " ")
}
