package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestPackaging packs copies of a small program of this module instead of attnscope.
func TestPackaging(t *testing.T) {
	program := filepath.Join(t.TempDir(), "site")
	if out, err := exec.Command("go", "build", "-o", program, "../site").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	dist := t.TempDir()
	platforms := []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64.exe"}
	for _, p := range platforms {
		if err := os.WriteFile(filepath.Join(dist, "attnscope-1.2.3-"+p), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"attnscope-1.2.3-py3-none-win_amd64.whl", "attnscope-1.2.2-linux-amd64", "SHA256SUMS"} {
		if err := os.WriteFile(filepath.Join(dist, other), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := release{Version: "1.2.3", Date: "2026-01-02T03:04:05Z", license: "../LICENSE"}
	if err := r.write(dist); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dist, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	formula := read("homebrew/attnscope.rb")
	recipe := read("conda/meta.yaml")
	for i, p := range platforms {
		address := "https://github.com/attnscope/attnscope/releases/download/v1.2.3/attnscope-1.2.3-" + p
		if i < 4 && strings.Count(formula, `url "`+address+`"`) != 1 {
			t.Errorf("the formula does not name %s:\n%s", address, formula)
		}
		if strings.Count(recipe, "url: "+address+"  #") != 1 {
			t.Errorf("the recipe does not name %s:\n%s", address, recipe)
		}
	}
	if n := strings.Count(formula, hex.EncodeToString(sum[:])); n != 4 || strings.Contains(formula, "[[") {
		t.Errorf("%d hashes in the formula, want 4:\n%s", n, formula)
	}
	if n := strings.Count(recipe, hex.EncodeToString(sum[:])); n != 5 || strings.Contains(recipe, "[[") {
		t.Errorf("%d hashes in the recipe, want 5:\n%s", n, recipe)
	}
	if ruby, err := exec.LookPath("ruby"); err == nil {
		if out, err := exec.Command(ruby, "-c", filepath.Join(dist, "homebrew/attnscope.rb")).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	var parsed struct {
		Package struct{ Version string }
		Source  []map[string]string
	}
	if err := yaml.Unmarshal([]byte(recipe), &parsed); err != nil || parsed.Package.Version != "1.2.3" || len(parsed.Source) != 5 {
		t.Errorf("the recipe is %+v: %v", parsed, err)
	}
	var d document
	if err := json.Unmarshal([]byte(read("attnscope-1.2.3.spdx.json")), &d); err != nil {
		t.Fatal(err)
	}
	checkBill(t, &d)
	again := release{Version: "1.2.3", Date: "2026-01-02T03:04:05Z", license: "../LICENSE"}
	first := read("attnscope-1.2.3.spdx.json")
	if err := again.write(dist); err != nil || read("attnscope-1.2.3.spdx.json") != first {
		t.Errorf("a second run writes another list: %v", err)
	}
}

// TestLicenses checks the licenses of modules that have one license, two, and a choice.
func TestLicenses(t *testing.T) {
	folders, err := moduleFolders()
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string]string{
		"github.com/klauspost/compress":      "Apache-2.0 AND MIT AND BSD-3-Clause",
		"go.yaml.in/yaml/v3":                 "Apache-2.0 AND MIT",
		"gonum.org/v1/plot":                  "BSD-3-Clause",
		"codeberg.org/go-fonts/liberation":   "BSD-3-Clause AND OFL-1.1",
		"github.com/russross/blackfriday/v2": "BSD-2-Clause",
		"github.com/golang/freetype":         "FTL OR GPL-2.0-or-later",
	} {
		if got := licenseIn(folders[module]); got != want {
			t.Errorf("the license of %s is %q, want %q", module, got, want)
		}
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "../cmd/attnscope").Output()
	if err != nil {
		t.Fatal(err)
	}
	for module := range strings.FieldsSeq(string(out)) {
		if licenseIn(folders[module]) == noAssertion {
			t.Errorf("the license of %s, which the program links, is not recognized", module)
		}
	}
}

// checkBill: identifiers are valid and unique, relationships name them, and what the
// program links is there with its version and license.
func checkBill(t *testing.T, d *document) {
	t.Helper()
	ids := map[string]bool{d.ID: true}
	valid := regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)
	licenses := map[string]string{}
	for _, p := range d.Packages {
		if ids[p.ID] || !valid.MatchString(p.ID) || p.Version == "" {
			t.Errorf("package %+v", p)
		}
		ids[p.ID] = true
		licenses[p.Name] = p.Declared
	}
	for _, r := range d.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%+v names no package", r)
		}
	}
	for name, want := range map[string]string{
		"Go standard library": "BSD-3-Clause", "github.com/yuin/goldmark": "MIT",
		"attnscope-1.2.3-linux-amd64": "Apache-2.0",
	} {
		if licenses[name] != want {
			t.Errorf("the license of %s is %q, want %s", name, licenses[name], want)
		}
	}
}

func TestNothingToPack(t *testing.T) {
	r := release{Version: "1.2.3", Date: "2026-01-02T03:04:05Z", license: "../LICENSE"}
	if err := r.write(t.TempDir()); err == nil || !strings.Contains(err.Error(), "attnscope-1.2.3-OS-ARCH") {
		t.Errorf("error %v", err)
	}
}
