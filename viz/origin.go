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

// Origin says where figures come from.
type Origin struct {
	Arguments []string          // of the command line, without the program's name
	Manifests map[string]string // dump as it was named -> hash of its header
}

// Command is the command line as a shell reads it.
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

// Meta is what is written into the files of figures.
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

// Origin is the inverse of [Origin.Meta].
func (m Meta) Origin() (Origin, error) {
	var o Origin
	if m["arguments"] == "" {
		return o, errors.New("it does not say which command drew it")
	}
	if err := json.Unmarshal([]byte(m["arguments"]), &o.Arguments); err != nil {
		return o, fmt.Errorf("its arguments cannot be read: %w", err)
	}
	if m["manifests"] != "" {
		if err := json.Unmarshal([]byte(m["manifests"]), &o.Manifests); err != nil {
			return o, fmt.Errorf("its manifests cannot be read: %w", err)
		}
	}
	return o, nil
}

// With is a copy with one more entry.
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

// largest figure file whose metadata is read.
const maxFigure = 64 << 20

// ReadMeta reads what Save wrote into a PNG or SVG file.
func ReadMeta(path string) (Meta, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFigure {
		return nil, fmt.Errorf("%s: %d bytes, figures have at most %d", path, fi.Size(), maxFigure)
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
	default:
		err = errors.New("neither a PNG nor an SVG file")
	}
	if err == nil && len(m) == 0 {
		err = errors.New("it has no metadata of attnscope")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// readText reads the iTXt chunks that withText writes.
func readText(data []byte) (Meta, error) {
	m := Meta{}
	for at := 8; at+12 <= len(data); {
		size := int(binary.BigEndian.Uint32(data[at:]))
		if size < 0 || size > len(data)-at-12 {
			return nil, errors.New("the PNG file is cut short")
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

// readMetadata reads the element that withMetadata writes.
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
