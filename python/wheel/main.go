// Wheel packs the Python package and a binary of attnscope into a wheel for one platform:
//
//	wheel -binary dist/attnscope-0.1.0-linux-amd64 -platform linux/amd64 -version 0.1.0 -o dist
//
// The same package and binary give the same bytes: files are in a fixed order and have a
// fixed date. The binary is installed as a script, so it lies in the PATH of its
// environment and starts without Python.
package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/attnscope/attnscope/internal/outfile"
)

// tags maps platforms of Go to platform tags of wheels. The binaries are static, so they
// also run on Linux with musl. The macOS versions are the oldest that Go's runtime runs on.
var tags = map[string]string{
	"linux/amd64":   "manylinux_2_17_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64",
	"linux/arm64":   "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
	"darwin/amd64":  "macosx_12_0_x86_64",
	"darwin/arm64":  "macosx_12_0_arm64",
	"windows/amd64": "win_amd64",
	"windows/arm64": "win_arm64",
}

func main() {
	var w wheel
	flag.StringVar(&w.binary, "binary", "", "the program `FILE`")
	flag.StringVar(&w.platform, "platform", "", "the platform of the program, such as linux/amd64")
	flag.StringVar(&w.version, "version", "", "the version")
	flag.StringVar(&w.source, "source", "python/attnscope", "the `FOLDER` of the package")
	flag.StringVar(&w.readme, "readme", "docs/PYTHON.md", "the description, a `FILE` in Markdown")
	flag.StringVar(&w.license, "license", "LICENSE", "the license `FILE`")
	out := flag.String("o", "dist", "write the wheel into the `FOLDER`")
	flag.Parse()
	path, err := w.write(*out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wheel:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}

// repository is where the files of a version are shown.
const repository = "https://github.com/attnscope/attnscope/blob/"

// wheel says what is packed.
type wheel struct {
	binary, platform, version, source, readme, license string
}

// file is a file of the archive.
type file struct {
	name string
	data []byte
	mode fs.FileMode
}

// write writes the wheel into a folder and returns its path.
func (w *wheel) write(dir string) (string, error) {
	tag, ok := tags[w.platform]
	if !ok {
		return "", fmt.Errorf("-platform %q: there is no wheel for it", w.platform)
	}
	files, err := w.files(tag)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprintf("attnscope-%s-py3-none-%s.whl", w.version, tag))
	return path, outfile.Write(path, func(out io.Writer) error { return pack(out, files) })
}

// pack writes an archive.
func pack(out io.Writer, files []file) error {
	archive := zip.NewWriter(out)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(f.mode)
		entry, err := archive.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.data); err != nil {
			return err
		}
	}
	return archive.Close()
}

// files returns the files of the wheel. The last one, RECORD, lists the others with their
// hashes.
func (w *wheel) files(tag string) ([]file, error) {
	list, err := w.modules()
	if err != nil {
		return nil, err
	}
	about := fmt.Sprintf("attnscope-%s", w.version)
	script := about + ".data/scripts/attnscope"
	if strings.HasPrefix(w.platform, "windows/") {
		script += ".exe"
	}
	binary, err := os.ReadFile(w.binary)
	if err != nil {
		return nil, err
	}
	metadata, err := w.metadata()
	if err != nil {
		return nil, err
	}
	license, err := os.ReadFile(w.license)
	if err != nil {
		return nil, err
	}
	var kind strings.Builder
	kind.WriteString("Wheel-Version: 1.0\nGenerator: attnscope\nRoot-Is-Purelib: false\n")
	for platform := range strings.SplitSeq(tag, ".") {
		fmt.Fprintf(&kind, "Tag: py3-none-%s\n", platform)
	}
	list = append(list,
		file{script, binary, 0o755},
		file{about + ".dist-info/METADATA", metadata, 0o644},
		file{about + ".dist-info/WHEEL", []byte(kind.String()), 0o644},
		file{about + ".dist-info/licenses/LICENSE", license, 0o644},
	)
	var record strings.Builder
	for _, f := range list {
		sum := sha256.Sum256(f.data)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", f.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.data))
	}
	name := about + ".dist-info/RECORD"
	fmt.Fprintf(&record, "%s,,\n", name)
	return append(list, file{name, []byte(record.String()), 0o644}), nil
}

// modules returns the files of the package, in the order of their names.
func (w *wheel) modules() ([]file, error) {
	entries, err := os.ReadDir(w.source)
	if err != nil {
		return nil, err
	}
	var list []file
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".py" && ext != ".typed" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(w.source, e.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, file{"attnscope/" + e.Name(), data, 0o644})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no modules", w.source)
	}
	return list, nil
}

// relativeLink matches the target of a link of the description to a file of the repository.
var relativeLink = regexp.MustCompile(`\]\([^):#]+[)#]`)

// metadata returns the core metadata of the package with its description. The links of the
// description lead to the files of this version, because a package index has only the page.
func (w *wheel) metadata() ([]byte, error) {
	readme, err := os.ReadFile(w.readme)
	if err != nil {
		return nil, err
	}
	folder := filepath.Base(filepath.Dir(w.readme))
	readme = relativeLink.ReplaceAllFunc(readme, func(link []byte) []byte {
		return []byte("](" + repository + "v" + w.version + "/" + path.Join(folder, string(link[2:])))
	})
	head := `Metadata-Version: 2.4
Name: attnscope
Version: ` + w.version + `
Summary: Records what language models attend to, for research on KV-cache compression
Project-URL: Source, https://github.com/attnscope/attnscope
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.10
Requires-Dist: numpy
Requires-Dist: pandas
Requires-Dist: zstandard
Provides-Extra: torch
Requires-Dist: torch; extra == "torch"
Requires-Dist: transformers>=4.57; extra == "torch"
Provides-Extra: kvpress
Requires-Dist: kvpress; extra == "kvpress"
Provides-Extra: addresses
Requires-Dist: fsspec; extra == "addresses"
Requires-Dist: huggingface-hub; extra == "addresses"
Description-Content-Type: text/markdown

`
	return append([]byte(head), readme...), nil
}
