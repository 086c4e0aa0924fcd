// Package layers has no code, only a test that imports point down: a package imports
// only packages of a lower level.
package layers

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/attnscope/attnscope/"

// levels are the levels of ARCHITECTURE.md, divided further where packages of one
// level there import each other. The first entry whose prefix matches a package counts.
var levels = []struct {
	prefix string
	level  int
}{
	{"bench", 55},
	{"cmd/attnscope", 50},
	{"experiments", 40},
	{"viz/view", 32},
	{"viz/report", 32},
	{"viz/figures", 31},
	{"viz", 30},
	{"analysis/table", 19},
	{"analysis/decode", 21},
	{"analysis/digest", 21},
	{"analysis", 20},
	{"cluster", 15},
	{"capture/prompts", 14},
	{"capture", 15},
	{"engine/model", 13},
	{"engine/tokenizer", 12},
	{"engine/cpu", 12},
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
	{"internal/simd", 1},
	{"examples", 0},
	{"notebooks", 60},
	{"internal", 0},
}

func levelOf(path string) (int, bool) {
	for _, l := range levels {
		if path == l.prefix || strings.HasPrefix(path, l.prefix+"/") {
			return l.level, true
		}
	}
	return 0, false
}

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
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
