// Package filekind recognizes the kind of a file by its first bytes, for errors about a
// file of the wrong kind.
package filekind

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind describes the content of a file, with an article: "an Arrow file".
type Kind string

// The kinds that are recognized. Unknown is any other binary file, or an empty one.
const (
	Unknown     Kind = ""
	Dump        Kind = "an attnscope dump"
	Safetensors Kind = "a safetensors file"
	GGUF        Kind = "a GGUF model"
	JSON        Kind = "JSON"
	JSONLines   Kind = "JSON lines"
	HTML        Kind = "an HTML page"
	XML         Kind = "XML, such as SVG"
	Text        Kind = "text"
	UTF32       Kind = "text in UTF-32"
	PNG         Kind = "a PNG picture"
	PDF         Kind = "a PDF document"
	Gzip        Kind = "compressed by gzip"
	Zstd        Kind = "compressed by zstd"
	Bzip2       Kind = "compressed by bzip2"
	XZ          Kind = "compressed by xz"
	Zip         Kind = "a zip archive"
	Parquet     Kind = "a Parquet file"
	Arrow       Kind = "an Arrow file"
	ArrowStream Kind = "an Arrow stream"
	SQLite      Kind = "a SQLite database"
	Numpy       Kind = "a NumPy array"
	Pickle      Kind = "a Python pickle"
	LFSPointer  Kind = "a pointer of Git LFS"
)

// HeadBytes is the number of bytes that Of looks at.
const HeadBytes = 512

var magics = []struct {
	magic string
	kind  Kind
}{
	{"\x5a\x2a\x4d\x18\x40\x00\x00\x00ATN1", Dump},
	{"GGUF", GGUF},
	{"\x89PNG\r\n", PNG},
	{"%PDF", PDF},
	{"\x1f\x8b", Gzip},
	{"\x28\xb5\x2f\xfd", Zstd},
	{"BZh", Bzip2},
	{"\xfd7zXZ\x00", XZ},
	{"PK\x03\x04", Zip},
	{"PAR1", Parquet},
	{"ARROW1", Arrow},
	{"\xff\xff\xff\xff", ArrowStream},
	{"SQLite format 3", SQLite},
	{"\x93NUMPY", Numpy},
	{"\x80\x02", Pickle},
	{"\x80\x03", Pickle},
	{"\x80\x04", Pickle},
	{"\x80\x05", Pickle},
	{"version https://git-lfs.github.com/spec/", LFSPointer},
	{"\xff\xfe\x00\x00", UTF32},
	{"\x00\x00\xfe\xff", UTF32},
}

// Of returns the kind of a file that begins with head.
func Of(head []byte) Kind {
	head = head[:min(len(head), HeadBytes)]
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind
		}
	}
	if len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) < 1<<32 {
		return Safetensors
	}
	return textKind(head)
}

// OfFile returns the kind of an open file.
func OfFile(f io.ReaderAt) Kind {
	head := make([]byte, HeadBytes)
	n, _ := f.ReadAt(head, 0) // an error is reported where the file is read
	return Of(head[:n])
}

// textKind tells kinds of text apart, and text from other bytes.
func textKind(head []byte) Kind {
	text := strings.TrimSpace(strings.TrimPrefix(string(head), "\ufeff"))
	lower := strings.ToLower(text)
	switch {
	case text == "":
		return Unknown
	case strings.HasPrefix(lower, "<!doctype html"), strings.HasPrefix(lower, "<html"):
		return HTML
	case strings.HasPrefix(text, "<?xml"), strings.HasPrefix(text, "<svg"):
		return XML
	case !isText(text):
		return Unknown
	case strings.HasPrefix(text, `{"`):
		return JSONLines
	case text[0] == '{', text[0] == '[':
		return JSON
	}
	return Text
}

// isText reports whether the beginning of a file is UTF-8 without control characters. Its
// last character may be cut.
func isText(head string) bool {
	for i, r := range head {
		if r == utf8.RuneError && i+utf8.UTFMax <= len(head) {
			return false
		}
		if unicode.IsControl(r) && !strings.ContainsRune("\t\r\n\f", r) {
			return false
		}
	}
	return true
}
