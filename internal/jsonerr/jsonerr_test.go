package jsonerr

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

func TestPlain(t *testing.T) {
	type object struct {
		Name  string              `json:"name"`
		Count int                 `json:"count"`
		Inner struct{ X float64 } `json:"inner"`
	}
	for text, want := range map[string]string{
		`{}`:                                   "",
		" \n":                                  "it is empty, want JSON",
		`{"name": "a"`:                         "the JSON text is cut off",
		`[1]`:                                  "found a list, want an object",
		`{"name": 1}`:                          "name is a number, want a string",
		`{"count": 1.5}`:                       "count is the number 1.5, want a whole number",
		`{"count": true}`:                      "count is true or false, want a whole number",
		`{"inner": {"X": {}}}`:                 "inner.X is an object, want a number",
		"{\n\"name\": \"a\",\n\"count\":}":     "line 3: invalid character '}' looking for beginning of value",
		"{\n\"name\": \"a\",\n\"count\":[]}\n": "line 3: count is a list, want a whole number",
	} {
		var v object
		got := ""
		if err := Plain([]byte(text), json.Unmarshal([]byte(text), &v)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	var v object
	if err := Plain([]byte(`{"na`), json.NewDecoder(bytes.NewReader([]byte(`{"na`))).Decode(&v)); err == nil || err.Error() != "the JSON text is cut off" {
		t.Errorf("a decoder: %v", err)
	}
	other := errors.New("no such file")
	if got := Plain(nil, other); !errors.Is(got, other) {
		t.Errorf("another error became %v", got)
	}
}
