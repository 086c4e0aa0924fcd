package view

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// TestFirstPositionsApartKeepTheLevel: zoomed out, with the first positions drawn apart at
// a finer level, the status line and the CSV file speak of the level of the map.
func TestFirstPositionsApartKeepTheLevel(t *testing.T) {
	b := openTab(t)
	path := filepath.Join(t.TempDir(), "long.attn")
	writeLong(t, path, 9000, 64, 4, dumps.Prompt{})
	v := serve(t, path, Options{Token: testToken})
	for _, apart := range []string{"0", "1"} {
		b.visit(v, "v=head&head=1&apart="+apart)
		if !b.until(`document.querySelector("footer, #status").textContent.includes("zoomed out: max of")`) {
			t.Fatalf("apart=%s: the status line is %s", apart, b.status())
		}
		if text := b.status(); strings.Contains(text, "of 1 keys") {
			t.Errorf("apart=%s: the status line is %q", apart, text)
		}
		var keys []float64
		text := b.eval(`let got; const make = URL.createObjectURL; URL.createObjectURL = x => { got = x; return make.call(URL, x); };
			const choice = document.querySelector("[aria-label=export]"); choice.value = "csv"; choice.dispatchEvent(new Event("change"));
			for (let i = 0; !got && i < 3000; i++) await new Promise(r => setTimeout(r, 20));
			URL.createObjectURL = make;
			return [...new Set((await got.text()).trim().split("\n").slice(1).map(line => +line.split(",")[1] % 4))];`)
		if err := json.Unmarshal([]byte(text), &keys); err != nil || len(keys) != 1 || keys[0] != 0 {
			t.Errorf("apart=%s: keys of the CSV file modulo 4: %s, want 0", apart, text)
		}
	}
	if b.exception != "" {
		t.Errorf("exceptions: %s", b.exception)
	}
}

// TestLongWindowOfMethods: methods can be compared with a window that is longer than the
// default capacity, if the capacities are larger.
func TestLongWindowOfMethods(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.attn")
	writeLong(t, path, 1200, 400, 4, dumps.Prompt{})
	v := serve(t, path, Options{Token: testToken})
	for _, c := range []struct {
		query string
		want  int
	}{
		{"window=320&capacity=512,1024", 200},
		{"window=400&capacity=512", 200},
		{"window=319&capacity=512", 200},
		{"window=400&capacity=256", 400},
	} {
		code, body := v.get("api/methods?methods=snapkv&layer=0&" + c.query)
		if code != c.want && !(c.want == 400 && strings.Contains(string(body), "capacity 256")) {
			t.Errorf("%s: %d %s", c.query, code, body)
		}
		if c.want == 200 && !strings.Contains(string(body), `"method":"snapkv"`) {
			t.Errorf("%s: %s", c.query, body)
		}
	}
}

// TestTitleNamesTheMeasuredWindow: the title of the comparison of methods names the window
// that was measured, which is no longer than the recorded rows.
func TestTitleNamesTheMeasuredWindow(t *testing.T) {
	b := openTab(t)
	b.visit(evilDump(t), "v=sweep&sw=method&w=999")
	text := b.eval(`let got; const make = URL.createObjectURL; URL.createObjectURL = x => { got = x; return make.call(URL, x); };
		const choice = document.querySelector("[aria-label=export]"); choice.value = "svg"; choice.dispatchEvent(new Event("change"));
		for (let i = 0; !got && i < 3000; i++) await new Promise(r => setTimeout(r, 20));
		URL.createObjectURL = make;
		return (await got.text()).match(/window \d+/)[0];`)
	if text != `"window 16"` {
		t.Errorf("the title says %s, want window 16: the dump has 16 rows", text)
	}
}
