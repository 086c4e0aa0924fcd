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
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"q"}]}],"tools":[{}]}`))
	f.Add([]byte(`{"context":"c","multi_turns":[{"input":"i","answer":1},{"input":"j","answer":"b"}]}`))
	f.Add([]byte("id,prompt,answer\n1,\"a\nb\",\n"))
	f.Add([]byte("\xff\xfe{\x00}\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Read(bytes.NewReader(data), "fuzz", ReadOptions{})
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, r := range set.Records {
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
