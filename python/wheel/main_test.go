package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packed packs a small binary and the package of this repository.
func packed(t *testing.T, platform string) (path string) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := wheel{
		binary: binary, platform: platform, version: "1.2.3", source: "../attnscope", readme: "../../docs/PYTHON.md",
		license: "../../LICENSE",
	}
	path, err := w.write(dir)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSameBytes: the same files give the same wheel.
func TestSameBytes(t *testing.T) {
	a, err := os.ReadFile(packed(t, "linux/amd64"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(packed(t, "linux/amd64"))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the second wheel differs: %v", err)
	}
}

// TestRecord: a wheel of each platform has the modules, the binary as an executable script,
// and a list of all files with their hashes and sizes.
func TestRecord(t *testing.T) {
	for platform, tag := range tags {
		path := packed(t, platform)
		if want := "attnscope-1.2.3-py3-none-" + tag + ".whl"; filepath.Base(path) != want {
			t.Errorf("%s: %s, want %s", platform, filepath.Base(path), want)
		}
		archive, err := zip.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		content := map[string]string{}
		var want strings.Builder
		for _, f := range archive.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			content[f.Name] = string(data)
			if strings.HasSuffix(f.Name, "/RECORD") {
				fmt.Fprintf(&want, "%s,,\n", f.Name)
				continue
			}
			sum := sha256.Sum256(data)
			fmt.Fprintf(&want, "%s,sha256=%s,%d\n", f.Name, base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
			if script := strings.Contains(f.Name, ".data/scripts/"); script != (f.Mode().Perm() == 0o755) {
				t.Errorf("%s: %s has the mode %v", platform, f.Name, f.Mode())
			}
		}
		if got := content["attnscope-1.2.3.dist-info/RECORD"]; got != want.String() {
			t.Errorf("%s: RECORD is\n%s\nwant\n%s", platform, got, want.String())
		}
		script := "attnscope-1.2.3.data/scripts/attnscope"
		if strings.HasPrefix(platform, "windows/") {
			script += ".exe"
		}
		if content[script] != "a program" {
			t.Errorf("%s: %s is %q", platform, script, content[script])
		}
		for _, name := range []string{"attnscope/__init__.py", "attnscope/reader.py", "attnscope/py.typed"} {
			if _, ok := content[name]; !ok {
				t.Errorf("%s: no %s", platform, name)
			}
		}
		metadata := content["attnscope-1.2.3.dist-info/METADATA"]
		for _, link := range []string{
			"](https://github.com/attnscope/attnscope/blob/v1.2.3/docs/MEASURES.md)",
			"](https://github.com/attnscope/attnscope/blob/v1.2.3/dumps/FORMAT.md)", "](https://github.com/NVIDIA/kvpress)",
		} {
			if !strings.Contains(metadata, link) {
				t.Errorf("%s: the description has no link %s", platform, link)
			}
		}
		if kind := content["attnscope-1.2.3.dist-info/WHEEL"]; !strings.Contains(kind, "Tag: py3-none-"+strings.Split(tag, ".")[0]+"\n") {
			t.Errorf("%s: %s", platform, kind)
		}
	}
}

// TestUnknownPlatform: a platform without a tag is an error.
func TestUnknownPlatform(t *testing.T) {
	w := wheel{platform: "plan9/amd64"}
	if _, err := w.write(t.TempDir()); err == nil || !strings.Contains(err.Error(), "plan9") {
		t.Errorf("error %v", err)
	}
}
