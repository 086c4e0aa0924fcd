package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// copyTree copies what git tracks, and what it does not ignore, into a folder.
func copyTree(t *testing.T, to string) {
	t.Helper()
	script := `git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read --no-recursion -cf - -T - | tar -C "$0" -xf -`
	cmd := exec.Command("sh", "-c", script, to)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, releases were not built: no git checkout to copy (%v: %s)", err, out)
	}
	if _, err := os.Stat(filepath.Join(to, "go.mod")); err != nil {
		t.Skip("SKIPPED, releases were not built: no git checkout to copy")
	}
}

// TestReleaseIsReproducible builds the release in two folders: the same bytes,
// static, without a path of this machine, and they tell their revision. With
// ATTNSCOPE_LONG=1 the second is compiled without the first one's cache, and
// every platform is built.
func TestReleaseIsReproducible(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil || runtime.GOOS != "linux" {
		t.Skip("SKIPPED, releases were not built: it takes Linux and make")
	}
	long := os.Getenv("ATTNSCOPE_LONG") != ""
	var sums []string
	var binary string
	for i, name := range []string{"a", "another/place/for/the/sources"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		copyTree(t, dir)
		args := []string{"-C", dir, "release", "REVISION=0123456789ab"}
		if !long {
			args = append(args, "PLATFORMS=linux/"+runtime.GOARCH)
		}
		cmd := exec.Command("make", args...)
		cmd.Env = os.Environ()
		if long && i == 1 {
			cmd.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, "dist/SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(text))
		binary = filepath.Join(dir, fmt.Sprintf("dist/attnscope-%s-linux-%s", release, runtime.GOARCH))
	}
	if sums[0] != sums[1] || !strings.Contains(sums[0], "linux-"+runtime.GOARCH) {
		t.Errorf("two builds differ:\n%s%s", sums[0], sums[1])
	}
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary is not static: it has %v", p.Type)
		}
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if place := "another/place/for"; strings.Contains(string(code), place) {
		t.Errorf("the binary holds the path of its sources (%s)", place)
	}
	out, err := exec.Command(binary, "version").Output()
	if want := fmt.Sprintf("attnscope %s 0123456789ab %s linux/%s\n", release, runtime.Version(), runtime.GOARCH); err != nil || string(out) != want {
		t.Errorf("version says %q (%v), want %q", out, err, want)
	}
}

// TestVersionsAgree: the files that name the version of a release name this one.
func TestVersionsAgree(t *testing.T) {
	for name, want := range map[string]string{
		"../../CITATION.cff":     "\nversion: " + release + "\n",
		"../../docs/RELEASES.md": "\n## " + release + "\n",
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not have %q", name, want)
		}
	}
}
