package main

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"github.com/attnscope/attnscope/viz"
)

// screenshots are the images of the gallery that no command drew.
var screenshots = map[string]bool{"docs/viewer.png": true}

// TestGallery checks that the gallery shows below each figure the command that the file of
// the figure names.
func TestGallery(t *testing.T) {
	b := siteOf(t)
	p := b.bySource["docs/GALLERY.md"]
	image := ""
	count := 0
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader(p.text)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Image:
			if image != "" {
				t.Errorf("%s has no command", image)
			}
			image = path.Join(p.base, string(n.Destination))
		case *ast.FencedCodeBlock:
			command := strings.TrimSpace(string(n.Lines().Value(p.text)))
			if !screenshots[image] {
				count++
				if got := commandOf(t, image); got != command {
					t.Errorf("%s was drawn by\n%s\nThe gallery says\n%s", image, got, command)
				}
			}
			image = ""
		}
		return ast.WalkContinue, nil
	})
	if image != "" || count < 7 {
		t.Errorf("%d figures, the last one without a command: %q", count, image)
	}
}

// commandOf returns the command that a figure names.
func commandOf(t *testing.T, image string) string {
	t.Helper()
	meta, err := viz.ReadMeta(filepath.Join("..", filepath.FromSlash(image)))
	if err != nil {
		t.Fatal(err)
	}
	origin, err := meta.Origin()
	if err != nil {
		t.Fatal(err)
	}
	return origin.Command()
}
