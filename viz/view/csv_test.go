package view

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/attnscope/attnscope/internal/visible"
)

// TestCSVCells: the page writes the cells of CSV files by the rules of the command's
// tables.
func TestCSVCells(t *testing.T) {
	b := openTab(t)
	b.visit(evilDump(t), "v=overview")
	texts := []string{
		"plain", "", "=1", "+1+1", "-x", "@x", "\t=1", "\r", "\n", "＝1", "'tis", "-1", "+.5e3", "-1e", " x", "=\x1b[2J", "\u009b\u202e\x00\x7f ünï 中文",
	}
	for _, text := range texts {
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		answer := b.eval(fmt.Sprintf(`const { csvCell } = await import(new URL("text.js", document.baseURI).href);
			const cell = csvCell(%s);
			return cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;`, raw))
		var got string
		if err := json.Unmarshal([]byte(answer), &got); err != nil {
			t.Fatalf("%q: %s", text, answer)
		}
		if want := visible.Cell(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	quoted := b.eval(`const { csvText } = await import(new URL("text.js", document.baseURI).href);
		return csvText([["a,b", 'say "x"', "l\nl", 1.5, undefined, "NaN"], [0]]);`)
	if want := `"\"a,b\",\"say \"\"x\"\"\",\"l\nl\",1.5,,NaN\n0\n"`; quoted != want {
		t.Errorf("%s, want %s", quoted, want)
	}
}
