package viz

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"html"
	"os"
	"strings"
)

// Origin says which command drew a figure and which dumps it read.
type Origin struct {
	Arguments []string          // the command line without the name of the program
	Manifests map[string]string // hash of each dump's header, by the path in Arguments
}

// Command returns the command line, quoted for a shell.
func (o Origin) Command() string {
	out := "attnscope"
	for _, a := range o.Arguments {
		if a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,:+@%") != "" {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out += " " + a
	}
	return out
}

// Meta returns the entries that describe the origin in the file of a figure.
func (o Origin) Meta() Meta {
	m := Meta{"Software": "attnscope", "command": o.Command()}
	if o.Arguments != nil {
		m["arguments"] = jsonText(o.Arguments)
	}
	if len(o.Manifests) > 0 {
		m["manifests"] = jsonText(o.Manifests)
	}
	return m
}

// Origin is the inverse of [Origin.Meta]. It is an error if the metadata does not name
// a command.
func (m Meta) Origin() (Origin, error) {
	var o Origin
	if m["arguments"] == "" {
		return o, errors.New("the file does not say which command drew the figure")
	}
	if err := json.Unmarshal([]byte(m["arguments"]), &o.Arguments); err != nil {
		return o, fmt.Errorf("cannot read the arguments in its metadata: %w", err)
	}
	if m["manifests"] != "" {
		if err := json.Unmarshal([]byte(m["manifests"]), &o.Manifests); err != nil {
			return o, fmt.Errorf("cannot read the manifests in its metadata: %w", err)
		}
	}
	return o, nil
}

// With returns a copy with one more entry, or with that entry replaced.
func (m Meta) With(name, value string) Meta {
	out := Meta{name: value}
	for k, v := range m {
		if k != name {
			out[k] = v
		}
	}
	return out
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// maxFigure is the size of the largest file that ReadMeta reads.
const maxFigure = 64 << 20

// ReadMeta reads the metadata that Save wrote into a PNG or SVG file. A file without
// metadata, or with damaged metadata, is an error.
func ReadMeta(path string) (Meta, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFigure {
		return nil, fmt.Errorf("%s: %d bytes, but a figure has at most %d", path, fi.Size(), maxFigure)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Meta
	switch {
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		m, err = readText(data)
	case bytes.Contains(data[:min(len(data), 512)], []byte("<svg")) || bytes.HasPrefix(data, []byte("<?xml")):
		m, err = readMetadata(data)
	case bytes.HasPrefix(data, []byte("%PDF-")):
		m = readInfo(data)
	default:
		err = errors.New("neither a PNG, an SVG nor a PDF file")
	}
	if err == nil && len(m) == 0 {
		err = errors.New("the file has no metadata written by attnscope")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// readText reads the iTXt chunks that withText wrote.
func readText(data []byte) (Meta, error) {
	m := Meta{}
	for at := 8; at+12 <= len(data); {
		size := int(binary.BigEndian.Uint32(data[at:]))
		if size < 0 || size > len(data)-at-12 {
			return nil, errors.New("the PNG file is truncated")
		}
		chunk := data[at+4 : at+8+size]
		if crc32.ChecksumIEEE(chunk) != binary.BigEndian.Uint32(data[at+8+size:]) {
			return nil, fmt.Errorf("the PNG file is damaged at byte %d", at)
		}
		if name, rest, ok := bytes.Cut(chunk[4:], []byte{0}); ok && string(chunk[:4]) == "iTXt" && len(rest) >= 4 && rest[0] == 0 {
			m[string(name)] = string(rest[4:])
		}
		at += 12 + size
	}
	return m, nil
}

// readMetadata reads the element that withMetadata wrote; nil if there is none.
func readMetadata(data []byte) (Meta, error) {
	_, rest, ok := strings.Cut(string(data), "<metadata>")
	body, _, ended := strings.Cut(rest, "</metadata>")
	if !ok || !ended {
		return nil, nil
	}
	m := Meta{}
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			m[html.UnescapeString(name)] = html.UnescapeString(value)
		}
	}
	return m, nil
}
