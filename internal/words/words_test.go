package words

import (
	"errors"
	"testing"
)

func TestNearest(t *testing.T) {
	verbs := []string{"capture", "hitrate", "heatmap", "info", "verify", "view", "pooled", "rows"}
	for word, want := range map[string]string{
		"hitrat": "hitrate", "hitrates": "hitrate", "capure": "capture", "catpure": "capture", "HITRATE": "hitrate",
		"heat": "heatmap", "inof": "info", "veiw": "view", "pool": "pooled", "verfiy": "verify",
		"row": "rows", "dump": "", "x": "", "": "", "serve": "", "quantize": "",
	} {
		if got := Nearest(word, verbs); got != want {
			t.Errorf("%q is near %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"ab", "", 2}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "axc", 1}, {"abc", "acb", 1}, {"abcd", "badc", 2}, {"abc", "c", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d changes, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	type color string
	colors := []color{"red", "green", "blue"}
	if err := Check("color", "green", colors); err != nil {
		t.Errorf("a word of the set: %v", err)
	}
	err := Check("color", "gren", colors)
	if err == nil || err.Error() != `color "gren": want red, green or blue` {
		t.Fatalf("error %v", err)
	}
	var unknown *UnknownError
	if !errors.As(err, &unknown) || unknown.Hint() != `did you mean "green"?` {
		t.Errorf("error %#v, want the hint: did you mean green?", err)
	}
}
