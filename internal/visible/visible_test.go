package visible

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ in, text, line string }{
		{"plain, ünï 中文 🙂", "plain, ünï 中文 🙂", "plain, ünï 中文 🙂"},
		{"a\tb\nc", "a\tb\nc", `a\tb\nc`},
		{"a\rb", `a\rb`, `a\rb`},
		{"\x1b]0;pwned\a\x1b[2J", `\u001b]0;pwned\u0007\u001b[2J`, `\u001b]0;pwned\u0007\u001b[2J`},
		{"\x00\x7f", `\u0000\u007f`, `\u0000\u007f`},
		{"\u009b31m", `\u009b31m`, `\u009b31m`},
		{"\x9b31m", `\x9b31m`, `\x9b31m`},
		{"user\u202egnp.exe\u2066\u2069\u202a", `user\u202egnp.exe\u2066\u2069\u202a`, `user\u202egnp.exe\u2066\u2069\u202a`},
		{`C:\new\x1b`, `C:\new\x1b`, `C:\new\x1b`},
		{"\ufffd stays", "\ufffd stays", "\ufffd stays"},
		{"", "", ""},
	} {
		if got := Text(c.in); got != c.text {
			t.Errorf("Text(%q) = %q, want %q", c.in, got, c.text)
		}
		if got := Line(c.in); got != c.line {
			t.Errorf("Line(%q) = %q, want %q", c.in, got, c.line)
		}
		if got := Text(Text(c.in)); got != Text(c.in) {
			t.Errorf("Text of Text(%q) = %q", c.in, got)
		}
	}
}

// TestJSONKeepsItsMeaning: a JSON document that passes through Text has the same value.
func TestJSONKeepsItsMeaning(t *testing.T) {
	in := "\x1b[2J\x7f\u009b\u202e\t\n\r\\u001b\""
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	text := Text(string(raw))
	var out string
	if err := json.Unmarshal([]byte(text), &out); err != nil || out != in {
		t.Errorf("%s reads back as %q (%v), want %q", text, out, err, in)
	}
	if strings.ContainsAny(text, "\x1b\x7f\u009b\u202e") {
		t.Errorf("control characters in %q", text)
	}
}

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "": "", "a=b": "a=b", " =1": " =1",
		"=cmd|'/C calc'!A0": "'=cmd|'/C calc'!A0", "=1": "'=1", "+SUM(A1)": "'+SUM(A1)", "-x": "'-x", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx", "＝1": "'＝1",
		"'tis": "''tis", "'=1": "''=1",
		"-1": "-1", "+1.5": "+1.5", "-1e-7": "-1e-7", "-.5": "-.5", "-1E+3": "-1E+3", "3": "3",
		"-": "'-", "-1-1": "'-1-1", "+": "'+", "-e3": "'-e3", "-1e": "'-1e", "-1e+": "'-1e+", "--1": "'--1", "-Inf": "'-Inf", "-0x1": "'-0x1",
		"a\tb\nc\rd": "a\tb\nc\rd", "x\x1by": `x\u001by`,
	} {
		if got := Cell(in); got != want {
			t.Errorf("Cell(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestWriter: the result does not depend on how the text is cut into writes.
func TestWriter(t *testing.T) {
	const in = "ünï 中\u009b文\u202e 🙂\x1b[2J \x9b \xf0\x9f end\xe4\xb8"
	want := Text(in)
	for size := 1; size <= len(in); size++ {
		var b bytes.Buffer
		w := &Writer{W: &b}
		for at := 0; at < len(in); at += size {
			if n, err := w.Write([]byte(in[at:min(at+size, len(in))])); err != nil || n != min(size, len(in)-at) {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		if err := w.Flush(); err != nil || b.String() != want {
			t.Errorf("in pieces of %d bytes: %q, want %q", size, b.String(), want)
		}
	}
	if !utf8.ValidString(want) {
		t.Errorf("%q is not UTF-8", want)
	}
}
