package jinja

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestExpressions compares small templates with what the reference renders: a table of what
// templates of models use, and random ones. Scripts in testdata made the files. More random
// templates can be named by ATTNSCOPE_EXPRESSIONS; of these, refusals count.
func TestExpressions(t *testing.T) {
	compareAll(t, "testdata/expressions.json")
	compareAll(t, "testdata/random.json")
	if file := os.Getenv("ATTNSCOPE_EXPRESSIONS"); file != "" {
		compareAll(t, file)
	}
}

func compareAll(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Variables json.RawMessage
		Cases     []struct {
			Template string
			Text     *string
			Error    string
		}
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	v, err := DecodeJSON(f.Variables)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := Keys(v)
	variables := map[string]any{}
	for _, name := range names {
		variables[name], _ = Get(v, name)
	}
	now := time.Date(2024, 3, 7, 9, 5, 3, 12345000, time.UTC)
	for _, c := range f.Cases {
		var got string
		tmpl, err := Compile(c.Template)
		if err == nil {
			got, err = tmpl.Render(variables, Options{Now: now})
		}
		switch {
		case err != nil && strings.Contains(err.Error(), "address in memory"): // printed and then dropped
		case c.Text == nil && err == nil:
			t.Errorf("%s\nrendered %q, want the error %s", c.Template, got, c.Error)
		case c.Text != nil && (err != nil || got != *c.Text):
			t.Errorf("%s\nrendered %q (%v), want %q", c.Template, got, err, *c.Text)
		}
	}
}
