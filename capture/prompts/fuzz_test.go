package prompts

import (
	"bytes"
	"testing"
)

// FuzzRead: every record that is read has an id of its own and one source.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"id":"a","prompt":"x"}` + "\n" + `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]}`))
	f.Add([]byte(`{"id":1,"document":"d","instructions":["i","j"],"outputs":["o","p"]}`))
	f.Add([]byte(`{"_id":"l","context":"c","input":"i","answers":["a"]}`))
	f.Add([]byte(`{"input_ids":[1,2],"response_ids":[3]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Read(bytes.NewReader(data), "fuzz")
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, r := range list {
			n := 0
			for _, has := range []bool{r.Text != nil, r.Messages != nil, r.IDs != nil} {
				if has {
					n++
				}
			}
			if n != 1 || seen[r.ID] {
				t.Errorf("record %+v: %d sources, seen before: %v", r, n, seen[r.ID])
			}
			seen[r.ID] = true
		}
	})
}
