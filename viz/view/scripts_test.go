package view

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// scripts returns the text of every module of the page, by name.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	files, err := web.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".js") {
			continue
		}
		text, err := web.ReadFile("web/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = string(text)
	}
	return out
}

var importLine = regexp.MustCompile(`(?m)^(?:import|\}) .*?"\./([\w.]+)";$|^import \{[^}]*\} from "\./([\w.]+)";$`)

// imports returns the modules that a script imports.
func imports(script string) []string {
	var list []string
	for _, m := range importLine.FindAllStringSubmatch(script, -1) {
		list = append(list, m[1]+m[2])
	}
	return list
}

// circle returns modules that import each other in a circle, or nil.
func circle(scripts map[string]string) []string {
	done := map[string]bool{}
	var visit func(path []string, name string) []string
	visit = func(path []string, name string) []string {
		if i := slices.Index(path, name); i >= 0 {
			return append(path[i:], name)
		}
		if done[name] {
			return nil
		}
		done[name] = true
		for _, next := range imports(scripts[name]) {
			if found := visit(append(slices.Clone(path), name), next); found != nil {
				return found
			}
		}
		return nil
	}
	for name := range scripts {
		if found := visit(nil, name); found != nil {
			return found
		}
	}
	return nil
}

// TestScriptsImportInNoCircle also checks that the imports are found at all: all
// modules are reached from main.js.
func TestScriptsImportInNoCircle(t *testing.T) {
	list := scripts(t)
	if found := circle(list); found != nil {
		t.Errorf("modules import each other: %s", strings.Join(found, " -> "))
	}
	reached := map[string]bool{"main.js": true}
	for todo := []string{"main.js"}; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		for _, next := range imports(list[name]) {
			if _, ok := list[next]; !ok {
				t.Errorf("%s imports %s, which does not exist", name, next)
			}
			if !reached[next] {
				reached[next] = true
				todo = append(todo, next)
			}
		}
	}
	for name := range list {
		if !reached[name] {
			t.Errorf("main.js does not reach %s", name)
		}
	}
	for _, c := range []struct {
		scripts map[string]string
		want    int // modules in the circle, the first one twice
	}{
		{map[string]string{"a.js": `import { x } from "./b.js";`, "b.js": ""}, 0},
		{map[string]string{"a.js": `import { x } from "./b.js";`, "b.js": "import {\n  y,\n} from \"./a.js\";"}, 3},
		{map[string]string{"a.js": `import { x } from "./a.js";`}, 2},
	} {
		if found := circle(c.scripts); len(found) != c.want {
			t.Errorf("%v: circle %v, want %d modules", c.scripts, found, c.want)
		}
	}
}

// TestScriptsHaveOneForm checks that each module begins with a comment that says what
// it does, and that its lines fit a screen.
func TestScriptsHaveOneForm(t *testing.T) {
	for name, text := range scripts(t) {
		if !strings.HasPrefix(text, "// ") {
			t.Errorf("%s does not begin with a comment", name)
		}
		for i, line := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(line); n > 120 {
				t.Errorf("%s:%d has %d columns, want at most 120", name, i+1, n)
			}
		}
	}
}
