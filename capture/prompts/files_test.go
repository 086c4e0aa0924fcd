package prompts

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

func gzipped(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstandard(t *testing.T, text string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

func utf16(t *testing.T, order unicode.Endianness, mark unicode.BOMPolicy, text string) string {
	s, err := unicode.UTF16(order, mark).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFiles: the same set is read from every kind of file, whatever its name is.
func TestFiles(t *testing.T) {
	lines := `{"id":"a","prompt":"x, \"y\"\r\nz","answer":"1"}` + "\n" + `{"id":"b","prompt":"é😀","answer":"2"}` + "\n"
	csv := "id,prompt,answer\r\na,\"x, \"\"y\"\"\r\nz\",1\r\nb,é😀,2\r\n"
	array := "\n[" + strings.Replace(strings.TrimSpace(lines), "\n", ",\n", 1) + "]\n"
	want := readRecords(t, lines)
	for name, text := range map[string]string{
		"array": array, "csv": csv, "tsv": strings.ReplaceAll(strings.ReplaceAll(csv, ",", "\t"), "x\t", "x,"),
		"BOM": "\ufeff" + lines, "CSV with BOM": "\ufeff" + csv, "CRLF": strings.ReplaceAll(lines, "\n", "\r\n"),
		"gzip": gzipped(t, lines), "zstd": zstandard(t, lines), "CSV in zstd": zstandard(t, csv),
		"little":           utf16(t, unicode.LittleEndian, unicode.UseBOM, lines),
		"big":              utf16(t, unicode.BigEndian, unicode.UseBOM, lines),
		"little, unmarked": utf16(t, unicode.LittleEndian, unicode.IgnoreBOM, lines),
		"big, unmarked":    utf16(t, unicode.BigEndian, unicode.IgnoreBOM, csv),
		"UTF-16 in gzip":   gzipped(t, utf16(t, unicode.LittleEndian, unicode.UseBOM, array)),
	} {
		path := filepath.Join(t.TempDir(), "p.txt")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		set, err := ReadFile(path, nil, ReadOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range set.Records {
			set.Records[i].Line = want[i].Line
			set.Records[i].unit = want[i].unit
		}
		if !reflect.DeepEqual(set.Records, want) {
			t.Errorf("%s: %+v, want %+v", name, set.Records, want)
		}
	}
	set, err := ReadFile("-", strings.NewReader(lines), ReadOptions{})
	if err != nil || len(set.Records) != 2 {
		t.Errorf("stdin: %v, %v", set, err)
	}
}

// TestParquet reads what pyarrow wrote: lists, structs, nulls and their order.
func TestParquet(t *testing.T) {
	set, err := ReadFile("testdata/rows.parquet", nil, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, b := set.Records[0], set.Records[1]
	if len(a.Messages) != 1 || a.Response == nil || *a.Response != "r" || !reflect.DeepEqual(a.References, []string{"x", "y"}) {
		t.Errorf("row 1: %+v", a)
	}
	var got map[string]string
	if err := json.Unmarshal(b.Messages[0].JSON, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"role": "user", "content": `é \ud800 <b>`, "name": "bob"}
	if !reflect.DeepEqual(got, want) || !bytes.HasPrefix(b.Messages[0].JSON, []byte(`{"role"`)) {
		t.Errorf("row 2: %s", b.Messages[0].JSON)
	}
}

// TestRefused: what is not understood is named, with a way on.
func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	for text, want := range map[string]string{
		`{"prompt":"a","suffix":"b"}`:                                     `the field "suffix" is not understood in a record with a prompt: use it with --template, or leave it out with --ignore-field suffix`,
		`{"input":"a","few shot":1,"x":2}`:                                `--ignore-field "few shot,x"`,
		`{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`: `part 1 is of type "image_url", want text`,
		`{"messages":[{"role":"user","content":"a"}],"tools":"[]"}`:       "tools: string, want a list",
		`{"prompt":"a","prompt":"b"}`:                                     `the field "prompt" is there twice`,
		`{"prompt":"\ud800"}`:                                             "half of a surrogate pair",
		"{\"prompt\":\"\xe9\"}":                                           "byte 12, 0xe9, is not UTF-8",
		`{"prompt":"a","x":` + deep:                                       "line 1",
		"PK\x03\x04":                                                      "is a zip archive",
		"<html><body>":                                                    "is an HTML page, want records as JSON lines",
		"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}":                      "is a safetensors file",
		"\x1f\x8b\x08":                                                    "EOF",
		"\xff\xfe\x00\x00a\x00\x00\x00":                                   "iconv -f utf-32",
		`[{"prompt":"a"}] 1`:                                              "more after the array",
		"id,prompt\n1":                                                    "line 2: 1 cells, want 2",
		"id,prompt\n1,\"a\nb\"\n2,c\n1,d":                                 `line 5: id "1" is used in line 2 already`,
		"prompt,zz\n\"a\nb\",\nc,1":                                       `line 4: the field "zz" is not understood`,
		"id,prompt\n":                                                     "only the line of names",
		"{\n\"prompt\": \"a\"\n}":                                         "line 1: the JSON text is cut off: want one JSON object per line",
		`{"prompt":"a"},`:                                                 "after top-level value: want one JSON object per line",
		`{"input_ids":[5,-1]}`:                                            "input_ids: element 2 is -1, want a token id from 0",
		"id,prompt\n1,\"a":                                                "a quote is not closed",
		"hello\n":                                                         `line 1: starts with "h"`,
		gzipped(t, gzipped(t, "{}")):                                      "compressed twice",
		`{"prompt":"a","needle":"n"}`:                                     "the needle is not in the text",
		`{"conversations":[{"from":"tool","value":"x"}]}`:                 `from "tool"`,
		`{"messages":[{"role":"user","content":"a"}],"prompt":"b"}`:       `"prompt" is not understood in a chat`,
		`{"messages":[{"role":"assistant","content":"a","tool_calls":[{}]}]}`:   "tool_calls: only its text can be followed",
		`{"context":"c","multi_turns":[{"input":"i","answer":"a"}],"zz":[1,2]}`: `"zz"`,
	} {
		if _, err := Read(strings.NewReader(text), "f", ReadOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// TestEmptyFieldsSayNothing: a field without content is not a mistake.
func TestEmptyFieldsSayNothing(t *testing.T) {
	for _, field := range []string{`""`, `null`, `[]`, `{}`, `[ ]`} {
		set, err := Read(strings.NewReader(`{"prompt":"a","suffix":`+field+`}`), "f", ReadOptions{})
		if err != nil || len(set.Records) != 1 || *set.Records[0].Text != "a" {
			t.Errorf("suffix %s: %+v, %v", field, set, err)
		}
	}
	for _, field := range []string{`" "`, `0`, `false`, `[null]`} {
		if _, err := Read(strings.NewReader(`{"prompt":"a","suffix":`+field+`}`), "f", ReadOptions{}); err == nil {
			t.Errorf("suffix %s: no error", field)
		}
	}
}

// TestIgnore: fields that are ignored by name are left out, and listed.
func TestIgnore(t *testing.T) {
	text := `{"prompt":"a","suffix":"b"}` + "\n" + `{"messages":[{"role":"user","content":"q","weight":1}],"zz":1,"length":3}`
	for _, ignore := range [][]string{{"suffix", "zz", "weight", "never"}, {"weight", "*"}} {
		set, err := Read(strings.NewReader(text), "f", ReadOptions{Ignore: ignore})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"suffix", "weight", "zz"}; !reflect.DeepEqual(set.Ignored, want) {
			t.Errorf("%v: ignored %v, want %v", ignore, set.Ignored, want)
		}
		if m := set.Records[1].Messages[0]; m.Beyond != nil || string(m.JSON) != `{"role":"user","content":"q"}` {
			t.Errorf("%v: message %s", ignore, m.JSON)
		}
	}
}

// TestTemplate: fields stand where the template names them, and nothing is left over.
func TestTemplate(t *testing.T) {
	template, err := ParseTemplate("{{{q}}} {m.0.text}|{n}|{f}|{b}")
	if err != nil {
		t.Fatal(err)
	}
	read := func(text string) (Set, error) {
		return Read(strings.NewReader(text), "f", ReadOptions{Template: template})
	}
	record := `{"q":"Q","m":[{"text":"T"}],"n":42,"f":1.50,"b":true,"answer":7,"length":1`
	set, err := read(record + "}")
	if err != nil || set.Records[0].Messages[0].Content != "{Q} T|42|1.5|True" || set.Records[0].References[0] != "7" {
		t.Errorf("%+v, %v", set.Records, err)
	}
	for text, want := range map[string]string{
		record + `,"more":1}`: `the field "more" is not understood`,
		`{"m":1}`:             `the template names {q}: the record has no "q", only "m"`,
		`{"q":"Q","m":[]}`:    `there is no "0" in a list of 0 elements`,
		`{"q":[1]}`:           "{q}: list, want a string or a number; name what is in it, as in {q.0}",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{"a": "names no field", "a\n}": "line 2: } without {", "{a": "without the name", "{}": "without"} {
		if _, err := ParseTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestWithoutChatTemplate: models without one get the prompts that the sets publish, and
// what only a template can write is refused.
func TestWithoutChatTemplate(t *testing.T) {
	tok, err := tokenizer.Load("testdata/model")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"context":"c.","question":" q","answer_prefix":"a"}`: "c. q\na",
		`{"context":"c.","input":"q"}`:                         "c.\n\nq",
		`{"instruction":"Add."}`:                               "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Response:",
		`{"context":"c","dataset":"scbench_mf","multi_turns":[{"input":"The Least is","answer":3}]}`: "What is the least?\n\nc\n\nThe Least is",
	} {
		p, err := Prepare(t.Context(), tok, readRecords(t, text)[0], Options{NoChatTemplate: true})
		if err != nil || p.Text != want {
			t.Errorf("%s: %q, %v, want %q", text, p.Text, err, want)
		}
	}
	second := readRecords(t, `{"context":"c","multi_turns":[{"input":"i","answer":3},{"input":"j","answer":4}]}`)[1]
	if p, err := Prepare(t.Context(), tok, second, Options{NoChatTemplate: true}); err != nil || p.Text != "c\n\ni3\n\nj" {
		t.Errorf("the second turn: %q, %v", p.Text, err)
	}
	for _, text := range []string{
		`{"messages":[{"role":"user","content":"a"}],"tools":[]}`, `{"messages":[{"role":"user","content":"a","name":"n"}]}`,
	} {
		if _, err := Prepare(t.Context(), tok, readRecords(t, text)[0], Options{NoChatTemplate: true}); err == nil || !strings.Contains(err.Error(), "--ignore-field") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRecordsKeepTheirOwnText: a record is not changed by the records after it.
func TestRecordsKeepTheirOwnText(t *testing.T) {
	line := `{"messages":[{"role":"user","content":"a","name":"NAME"}],"tools":[{"n":"NAME"}],"answers":["NAME","x"]}` + "\n"
	list := readRecords(t, strings.ReplaceAll(line, "NAME", "one")+strings.ReplaceAll(line, "NAME", "two"))
	if got := string(list[0].Tools) + string(list[0].Messages[0].JSON) + list[0].References[0]; strings.Contains(got, "two") {
		t.Error(got)
	}
}

// TestBounds: sets that expand without end are refused.
func TestBounds(t *testing.T) {
	document := `{"document":"` + strings.Repeat("d", 1<<20) + `","instructions":[` + strings.Repeat(`"i",`, 1<<10) + `"i"]}`
	_, err := Read(strings.NewReader(document), "f", ReadOptions{})
	if err == nil || !strings.Contains(err.Error(), "line 1: 1025 instructions on a document of 1048576 bytes") {
		t.Error(err)
	}
	text := strings.Repeat(`{"prompt":"x"}`+"\n", 10)
	rows := lineRows(&bounded{r: strings.NewReader(text), file: &counted{}, n: maxExpanded - 20})
	if _, err := rows.next(); err == nil || !strings.Contains(err.Error(), "decompresses to more than 256 MB and 64 times its size") {
		t.Error(err)
	}
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		return
	}
	many := zstandard(t, strings.Repeat(`{"input_ids":[5]}`+"\n", maxPrompts+1))
	if _, err := Read(strings.NewReader(many), "f", ReadOptions{}); err == nil || !strings.Contains(err.Error(), "more than 500000 prompts") {
		t.Error(err)
	}
}
