package checkpoint

import "testing"

func TestReplaceConstants(t *testing.T) {
	for in, want := range map[string]string{
		`{"limit": [0.0, Infinity]}`:           `{"limit": [0.0, {"__float__": "Infinity"}]}`,
		`{"a": -Infinity,"b":NaN}`:             `{"a": {"__float__": "-Infinity"},"b":{"__float__": "NaN"}}`,
		`{"Infinity": "say \"NaN\" \\","c":1}`: `{"Infinity": "say \"NaN\" \\","c":1}`,
		`{"x": "\`:                             `{"x": "\`,
		``:                                     ``,
	} {
		if got := string(replaceConstants([]byte(in))); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}
