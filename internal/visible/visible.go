// Package visible makes text from files safe to show: control characters of prompt ids,
// names of models and messages of templates could otherwise move the cursor, change the
// title of a terminal, or hide a part of a line; and a spreadsheet would run a cell
// that looks like a formula.
package visible

import (
	"encoding/csv"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// isControl reports whether a terminal may act on r instead of showing it: C0, DEL, C1,
// and the characters that change the direction of the text after them (embeddings,
// overrides and isolates).
func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// Text replaces every control character but tabs and line ends by its escape, \u001b,
// and every byte that is not UTF-8 by \x9b. JSON escapes control characters in strings
// in the same way, so that the text of a JSON document keeps its meaning.
func Text(s string) string { return escape(s, "\t\n") }

// Line is Text with escapes, \t and \n, for tabs and line ends too: a part of one line.
func Line(s string) string { return escape(s, "") }

// escape replaces control characters that are not in kept.
func escape(s, kept string) string {
	clean := true
	for _, r := range s {
		if (isControl(r) && !strings.ContainsRune(kept, r)) || r == utf8.RuneError {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case !isControl(r) || strings.ContainsRune(kept, r):
			b.WriteString(s[:n])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// Cell returns the text of a cell of a CSV or TSV file, before quotes are added. Control
// characters other than tabs and line ends are escaped as by Text. A text that a
// spreadsheet would take for a formula gets an apostrophe in front, and so does a text
// that begins with an apostrophe: without its first apostrophe, a cell is the text
// itself. Numbers stay as they are.
func Cell(s string) string {
	s = escape(s, "\t\n\r")
	if first, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune(marked, first) && !number.MatchString(s) {
		return "'" + s
	}
	return s
}

// marked holds the characters at the beginning of a cell that make it a formula, also in
// their full-width forms, and the mark itself.
const marked = "=+-@\t\r\n＝＋－＠'"

// number matches a decimal number.
var number = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// NewRows returns a writer of the rows of a CSV file or, with a tab as the separator, of
// a TSV file. Cells that contain the separator, a quote, or a line end are quoted, as RFC
// 4180 says. The caller passes texts through [Cell].
func NewRows(w io.Writer, separator rune) *csv.Writer {
	rows := csv.NewWriter(w)
	rows.Comma = separator
	return rows
}

// Writer passes what is written to it on through [Text]. Several goroutines may write.
type Writer struct {
	W    io.Writer
	mu   sync.Mutex
	rest []byte // the beginning of a character whose end has not been written yet
}

// Write writes b, but may keep back the beginning of a last character.
func (w *Writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := b
	if len(w.rest) > 0 {
		all = append(w.rest, b...)
		w.rest = nil
	}
	whole := len(all) - partial(all)
	w.rest = append(w.rest, all[whole:]...)
	if _, err := io.WriteString(w.W, Text(string(all[:whole]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Flush writes what Write kept back.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.rest
	w.rest = nil
	if len(rest) == 0 {
		return nil
	}
	_, err := io.WriteString(w.W, Text(string(rest)))
	return err
}

// partial returns the number of bytes at the end of b that begin a character and do not
// end it.
func partial(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		tail := b[len(b)-n:]
		if utf8.RuneStart(tail[0]) {
			if tail[0] >= utf8.RuneSelf && !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}
