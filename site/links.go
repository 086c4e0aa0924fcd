package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// repository is where files of the repository are shown that are no part of the site.
const repository = "https://github.com/attnscope/attnscope/blob/main/"

// rewrite returns what a link of a page becomes in the site: a link to another page, to
// a place in one, or to a file in the repository.
func (s *site) rewrite(p *page, destination []byte) ([]byte, error) {
	to := string(destination)
	if isOutside(to) {
		return destination, nil
	}
	file, anchor, _ := strings.Cut(to, "#")
	target := p
	if file != "" {
		file = path.Join(p.base, file)
		target = s.bySource[file]
		if target == nil {
			target = s.byURL[file]
		}
	}
	if target == nil {
		if _, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(file))); err != nil {
			return nil, fmt.Errorf("link to %s, which is neither a page nor a file of the repository", to)
		}
		return []byte(repository + file), nil
	}
	p.links = append(p.links, link{to: target.url, anchor: anchor})
	if anchor != "" {
		anchor = "#" + anchor
	}
	return []byte(p.relative(target.url) + anchor), nil
}

// copied returns what the source of an image becomes, and notes that it is copied.
func (s *site) copied(p *page, destination []byte) ([]byte, error) {
	file := path.Join(p.base, string(destination))
	_, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(file)))
	if err != nil || isOutside(string(destination)) {
		return nil, fmt.Errorf("image %s, which is no file of the repository", destination)
	}
	to := path.Join("images", strings.ReplaceAll(file, "/", "-"))
	s.files[to] = file
	return []byte(p.relative(to)), nil
}

// isOutside reports whether a link leads to another host.
func isOutside(to string) bool {
	return strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "http://")
}

// relative returns a link from a page to a file of the site.
func (p *page) relative(to string) string {
	return strings.Repeat("../", strings.Count(p.url, "/")) + to
}

// checkAnchors checks that every link to a place in a page finds it.
func (s *site) checkAnchors() error {
	ids := map[link]bool{}
	for _, p := range s.pages {
		ids[link{to: p.url}] = true
		for _, part := range p.parts {
			ids[link{to: p.url, anchor: part.id}] = true
		}
	}
	for _, p := range s.pages {
		for _, l := range p.links {
			if !ids[l] {
				return fmt.Errorf("%s: link to #%s of %s, which has no such heading", p.name(), l.anchor, l.to)
			}
		}
	}
	return nil
}
