package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// timedFolder holds the one experiment that measures nothing but time.
const timedFolder = "reproduce/speed/"

// compareFolders lists the files that differ between two folders.
func compareFolders(before, after string) ([]string, error) {
	old, err := files(before)
	if err != nil {
		return nil, err
	}
	now, err := files(after)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range old {
		if strings.HasPrefix(name, timedFolder) {
			continue
		}
		if !slices.Contains(now, name) {
			out = append(out, name+": is not written any more")
			continue
		}
		a, err := os.ReadFile(filepath.Join(before, name))
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(filepath.Join(after, name))
		if err != nil {
			return nil, err
		}
		if d := difference(compared(name, a), compared(name, b)); d != "" {
			out = append(out, name+": "+d)
		}
	}
	for _, name := range now {
		if !slices.Contains(old, name) {
			out = append(out, name+": was not written before")
		}
	}
	return out, nil
}

func files(root string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		list = append(list, name)
		return err
	})
	return list, err
}

// difference shows the first line in which two texts differ.
func difference(before, after []byte) string {
	if bytes.Equal(before, after) {
		return ""
	}
	a := bytes.Split(before, []byte("\n"))
	b := bytes.Split(after, []byte("\n"))
	for i := range a {
		if i == len(b) {
			return fmt.Sprintf("line %d: %s was written, now nothing is", i+1, excerpt(a[i]))
		}
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("line %d: before %s\n\tnow %s", i+1, excerpt(a[i]), excerpt(b[i]))
		}
	}
	return fmt.Sprintf("line %d: %s is new", len(a)+1, excerpt(b[len(a)]))
}

func excerpt(line []byte) string {
	return fmt.Sprintf("%.200q", line)
}

// compared is the part of a file that is compared.
//
//	.attn          all records but the header, the index and the end: those hold the
//	               time, the program's version and the offsets that follow from them
//	.md, .html, .out  the numbers in the text, sorted: a reworded sentence may move them
//	.svg           everything but text and metadata
//	.json, .jsonl, .tsv, .csv  everything but times, and strings of several words
//	.png           nothing: the same figure is compared as .svg
func compared(name string, data []byte) []byte {
	switch filepath.Ext(name) {
	case ".attn":
		records, err := dumpRecords(data)
		if err != nil {
			return append([]byte(err.Error()), data...)
		}
		return records
	case ".png":
		return nil
	case ".md", ".html", ".out":
		return numbers(data)
	case ".svg":
		data = svgText.ReplaceAll(data, nil)
		return blankLines.ReplaceAll(data, []byte("\n")) // a caption may take another line
	case ".json", ".jsonl":
		data = timedKeys.ReplaceAll(data, []byte(`"$1":0`))
		return words.ReplaceAll(data, []byte(`"..."`))
	case ".tsv", ".csv":
		return withoutTimedColumns(data)
	}
	return data
}

// A string of several words, in JSON.
var words = regexp.MustCompile(`"[^"\\]*[^"\\ ] [^"\\ ](?:[^"\\]|\\.)*"`)

// Values that a second run of one program changes too.
var timedKeys = regexp.MustCompile(`"(prefill_tok_s|decode_tok_s|peak_bytes|created|program|manifest|bytes|go|seconds|tokens_per_second)": ?("[^"]*"|[-+0-9.e]+)`)

var timedColumns = regexp.MustCompile(`_tok_s$|^peak_bytes$|^seconds$|tokens_per_second|_ms$|^bytes_per_second$`)

var svgText = regexp.MustCompile(`(?s)<text.*?</text>|<title.*?</title>|<desc.*?</desc>|<metadata.*?</metadata>|<!--.*?-->`)

var blankLines = regexp.MustCompile(`\n\s*\n`)

var (
	number   = regexp.MustCompile(`[0-9]+(?:[.,][0-9]+)*`)
	timeOf   = regexp.MustCompile(`[0-9.]+ ?(?:tokens/s|tok/s|ms|s|seconds|min|minutes)\b|20[0-9]{2}-[0-9]{2}-[0-9]{2}\S*`)
	styles   = regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>|"data:[^"]*"|<svg.*?</svg>`)
	entities = regexp.MustCompile(`&#[0-9]+;`)
	hashLike = regexp.MustCompile(`\b[0-9a-f]{12,64}\b`)
)

// numbers are the numbers of a text, sorted, one per line, without times and hashes.
func numbers(text []byte) []byte {
	text = styles.ReplaceAll(text, nil)
	text = entities.ReplaceAll(text, nil)
	text = timeOf.ReplaceAll(text, nil)
	text = hashLike.ReplaceAll(text, nil)
	found := number.FindAll(text, -1)
	slices.SortFunc(found, bytes.Compare)
	return bytes.Join(found, []byte("\n"))
}

// withoutTimedColumns drops the columns of a table that hold times.
func withoutTimedColumns(table []byte) []byte {
	lines := strings.Split(string(table), "\n")
	separator := ","
	if strings.Contains(lines[0], "\t") {
		separator = "\t"
	}
	var keep []int
	for i, column := range strings.Split(lines[0], separator) {
		if !timedColumns.MatchString(column) {
			keep = append(keep, i)
		}
	}
	for i, line := range lines {
		cells := strings.Split(line, separator)
		var kept []string
		for _, at := range keep {
			if at < len(cells) {
				kept = append(kept, cells[at])
			}
		}
		lines[i] = strings.Join(kept, separator)
	}
	return []byte(strings.Join(lines, "\n"))
}

// The layout of a dump's records: dumps/FORMAT.md, section 4. It is read here
// without the package dumps, which may itself have changed.
const (
	frameBytes   = 72
	storedAt     = 56 // offset of the payload's length within a frame
	kindAt       = 12
	headerKind   = 1
	indexKind    = 12
	endKind      = 13
	recordMarker = "ATN1"
)

// dumpRecords copies the records of a dump that do not depend on the time and the
// version of the program that wrote it, each as one line of hexadecimal digits. They
// are sorted, because threads deliver rows of different heads in any order.
func dumpRecords(data []byte) ([]byte, error) {
	var records []string
	for len(data) > 0 {
		if len(data) < frameBytes || string(data[8:12]) != recordMarker {
			return nil, errors.New("no record where one must begin")
		}
		size := frameBytes + binary.LittleEndian.Uint64(data[storedAt:])
		if size > uint64(len(data)) {
			return nil, errors.New("a record is longer than the file")
		}
		switch data[kindAt] {
		case headerKind, indexKind, endKind:
		default:
			records = append(records, fmt.Sprintf("%x\n", data[:size]))
		}
		data = data[size:]
	}
	slices.Sort(records)
	return []byte(strings.Join(records, "")), nil
}
