package jinja

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

// TestExpressions compares small templates with what the reference renders.
// testdata/make_expressions.py made the file.
func TestExpressions(t *testing.T) {
	text, err := os.ReadFile("testdata/expressions.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Variables json.RawMessage
		Cases     []struct {
			Template string
			Text     *string
			Error    string
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	v, err := DecodeJSON(file.Variables)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := Keys(v)
	variables := map[string]any{}
	for _, name := range names {
		variables[name], _ = Get(v, name)
	}
	now := time.Date(2024, 3, 7, 9, 5, 3, 12345000, time.UTC)
	for _, c := range file.Cases {
		var got string
		tmpl, err := Compile(c.Template)
		if err == nil {
			got, err = tmpl.Render(variables, Options{Now: now})
		}
		switch {
		case c.Text == nil && err == nil:
			t.Errorf("%s\nrendered %q, want the error %s", c.Template, got, c.Error)
		case c.Text != nil && (err != nil || got != *c.Text):
			t.Errorf("%s\nrendered %q (%v), want %q", c.Template, got, err, *c.Text)
		}
	}
}
