// Packaging writes what accompanies the binaries of a release, from the binaries in dist:
//
//	packaging -version 0.1.0 -date 2026-01-02T03:04:05Z -dist dist
//
// It writes a list of all modules in them with their versions, checksums and licenses
// (SPDX 2.3), a Homebrew formula, and a conda recipe. The recipes name the binaries by
// their SHA-256 and their address in the release of that version. Equal binaries give
// equal files.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

func main() {
	var r release
	dist := flag.String("dist", "dist", "the `FOLDER` with the binaries, which the files are written to")
	flag.StringVar(&r.Version, "version", "", "the version")
	flag.StringVar(&r.Date, "date", "", "the date of the release, such as 2026-01-02T03:04:05Z")
	flag.StringVar(&r.license, "license", "LICENSE", "the license `FILE`")
	flag.Parse()
	if err := r.write(*dist); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// release is what the recipes say about a release.
type release struct {
	Version, Date string
	Binaries      []binary

	license string
}

// binary is a program in the release.
type binary struct {
	Name     string // attnscope-0.1.0-linux-amd64
	OS, Arch string
	SHA256   string
	path     string
}

// Of returns the binary for a platform; the recipes need it to exist.
func (r *release) Of(system, arch string) (binary, error) {
	for _, b := range r.Binaries {
		if b.OS == system && b.Arch == arch {
			return b, nil
		}
	}
	return binary{}, fmt.Errorf("no binary for %s/%s: make release builds it", system, arch)
}

// Address returns where the release serves a file.
func (r *release) Address(name string) string {
	return "https://github.com/attnscope/attnscope/releases/download/v" + r.Version + "/" + name
}

var (
	//go:embed attnscope.rb.tmpl
	formula string
	//go:embed meta.yaml.tmpl
	recipe string
)

// write writes all files.
func (r *release) write(dist string) error {
	if r.Version == "" || r.Date == "" {
		return fmt.Errorf("version %q, date %q: give both", r.Version, r.Date)
	}
	if err := r.find(dist); err != nil {
		return err
	}
	bill, err := r.bill()
	if err != nil {
		return err
	}
	license, err := os.ReadFile(r.license)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"attnscope-" + r.Version + ".spdx.json": bill,
		"conda/LICENSE":                         license,
	}
	for name, text := range map[string]string{"homebrew/attnscope.rb": formula, "conda/meta.yaml": recipe} {
		// conda's own templates use double braces.
		t, err := template.New(name).Delims("[[", "]]").Parse(text)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, r); err != nil {
			return err
		}
		files[name] = b.Bytes()
	}
	for name, data := range files {
		path := filepath.Join(dist, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// find lists and hashes the binaries in dist.
func (r *release) find(dist string) error {
	prefix := "attnscope-" + r.Version + "-"
	paths, err := filepath.Glob(filepath.Join(dist, prefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		platform := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), prefix), ".exe")
		system, arch, ok := strings.Cut(platform, "-")
		if !ok || strings.Contains(arch, ".") || strings.Contains(arch, "-") { // a wheel
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		r.Binaries = append(r.Binaries, binary{
			Name: filepath.Base(path), OS: system, Arch: arch, SHA256: hex.EncodeToString(sum[:]), path: path,
		})
	}
	if len(r.Binaries) == 0 {
		return fmt.Errorf("%s: no file %sOS-ARCH: make release builds them", dist, prefix)
	}
	slices.SortFunc(r.Binaries, func(a, b binary) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}
