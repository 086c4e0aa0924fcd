// Package layers has no code, only a test that imports point down: a package imports
// only packages of a lower level.
package layers

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/attnscope/attnscope/"

// levels divides the levels of ARCHITECTURE.md further, where packages of one level there
// import each other. The first entry whose prefix matches a package counts.
var levels = []struct {
	prefix string
	level  int
}{
	{"bench", 55},
	{"packaging", 55}, // a program
	{"site", 55},      // a program
	{"cmd/attnscope", 50},
	{"experiments", 40},
	{"viz/view", 32},
	{"viz/report", 32},
	{"viz/figures", 31},
	{"viz", 30},
	{"analysis/answers", 18},
	{"analysis/table", 19},
	{"analysis/decode", 21},
	{"analysis/cite", 22},
	{"analysis/digest", 21},
	{"analysis/tasks", 21},
	{"analysis", 20},
	{"cluster", 15},
	{"capture/prompts", 14},
	{"capture", 15},
	{"engine/model", 13},
	{"engine/tokenizer", 12},
	{"engine/cpu", 12},
	{"engine/cuda/bench/judge", 12},
	{"engine/cuda/bench", 45}, // a program
	{"engine/cuda", 12},
	{"engine/checkpoint", 11},
	{"engine/hub", 10},
	{"engine/tensor", 10},
	{"snapkv", 10},
	{"hitrate", 10},
	{"dumps/dumpstest", 6},
	{"dumps", 5},
	{"internal/forecast", 16},
	{"internal/attend", 2},
	{"internal/topk", 2},
	{"internal/simd/amx", 0},
	{"internal/simd", 1},
	{"examples", 0},
	{"python", 60},
	{"internal", 0},
}

// levelOf returns the level of a package, if it has one.
func levelOf(pkg string) (int, bool) {
	for _, l := range levels {
		if pkg == l.prefix || strings.HasPrefix(pkg, l.prefix+"/") {
			return l.level, true
		}
	}
	return 0, false
}

// goPackage is a package as go list describes it.
type goPackage struct {
	ImportPath string
	Imports    []string
}

// packages lists the packages of the module.
func packages(t *testing.T) []goPackage {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		level, ok := levelOf(from)
		if !ok {
			t.Errorf("%s has no level: add it here and to ARCHITECTURE.md", from)
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module)
			if !ours || strings.HasPrefix(to, from+"/") {
				continue
			}
			if below, _ := levelOf(to); below >= level {
				t.Errorf("%s (level %d) imports %s (level %d): imports point only down", from, level, to, below)
			}
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "gonum.org/v1/plot") && !strings.HasPrefix(from, "viz") {
				t.Errorf("%s imports %s: only viz draws", from, imp)
			}
		}
	}
}

// mapLine matches a line of the map in ARCHITECTURE.md: perhaps a level, and a package.
var mapLine = regexp.MustCompile(`(?m)^([0-9-]?) +([a-z]+(?:/[a-z]+)*) {2,}`)

// TestArchitectureNamesEveryPackage compares the map of packages in ARCHITECTURE.md, the
// first block of the page, with the packages of the module and with levels.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = bytes.Cut(page, []byte("\n```\n"))
	page, _, _ = bytes.Cut(page, []byte("\n```\n"))
	groups := map[string][]string{} // packages by level of the map
	named := map[string]bool{}
	group := ""
	for _, m := range mapLine.FindAllStringSubmatch(string(page), -1) {
		if m[1] != "" {
			group = m[1]
		}
		groups[group] = append(groups[group], m[2])
		named[m[2]] = true
	}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if !named[name] && !named[path.Dir(name)] {
			t.Errorf("ARCHITECTURE.md does not name %s", name)
		}
	}
	for upper := byte('1'); upper <= '5'; upper++ {
		for _, high := range groups[string(upper)] {
			for _, low := range groups[string(upper-1)] {
				above, _ := levelOf(high)
				below, known := levelOf(low)
				if !known || below > above {
					t.Errorf("ARCHITECTURE.md has %s (level %d) above %s (level %d)", high, above, low, below)
				}
			}
		}
	}
}
