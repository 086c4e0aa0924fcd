package words

import "testing"

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 prompts", 1: "1 prompt", 2: "2 prompts"} {
		if got := Count(n, "prompt"); got != want {
			t.Errorf("Count(%d) is %q, want %q", n, got, want)
		}
	}
}
