package jinja

import (
	"encoding/json"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzTemplate checks that a template renders or fails with an error, without a panic and
// without endless work between two looks at Stop.
func FuzzTemplate(f *testing.F) {
	text, err := os.ReadFile("testdata/expressions.json")
	if err != nil {
		f.Fatal(err)
	}
	var file struct{ Cases []struct{ Template string } }
	if err := json.Unmarshal(text, &file); err != nil {
		f.Fatal(err)
	}
	for _, c := range file.Cases {
		f.Add(c.Template)
	}
	v, err := DecodeJSON([]byte(`{"role":"user","content":"é x","n":[1,2.5,null,true,{"a":"b"}],"big":1e300}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, template string) {
		compiled, err := Compile(template)
		if err != nil {
			return
		}
		var stop atomic.Bool
		defer time.AfterFunc(time.Second, func() { stop.Store(true) }).Stop()
		_, _ = compiled.Render(map[string]any{"m": v, "messages": List([]any{v, v}), "tools": nil}, Options{Stop: &stop})
	})
}

// FuzzJSON checks that what DecodeJSON takes is written by tojson and read again.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,null,true,"\u00e9\ud83d\ude00\n"],"a":{}}`, `[NaN,Infinity,-0]`, `"x`, `01`} {
		f.Add([]byte(s))
	}
	tojson, err := Compile("{{ v|tojson }}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := DecodeJSON(raw)
		if err != nil {
			return
		}
		once, err := tojson.Render(map[string]any{"v": v}, Options{})
		if err != nil {
			return
		}
		again, err := DecodeJSON([]byte(once))
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", raw, once, err)
		}
		if twice, err := tojson.Render(map[string]any{"v": again}, Options{}); err != nil || twice != once {
			t.Errorf("%q is written as %q and then as %q (%v)", raw, once, twice, err)
		}
	})
}
