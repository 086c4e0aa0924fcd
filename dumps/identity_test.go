package dumps

import (
	"slices"
	"testing"
)

// TestSameIdentityWithoutTokenizer: two models without a tokenizer leave nothing out of the
// comparison; a dump that does not tell its tokenizer does.
func TestSameIdentityWithoutTokenizer(t *testing.T) {
	told := Header{Identity: Identity{
		Config: map[string]string{"a": "1"}, Generation: map[string]string{"eos_token_id": "2"}, ChatTemplate: "none",
	}}
	named := told
	named.Manifest.TokenizerSHA256 = "0123"
	for _, c := range []struct {
		have, want *Header
		unknown    []string
	}{
		{&told, &told, nil},
		{&told, &named, []string{"tokenizer"}},
		{&named, &named, nil},
		{&Header{}, &Header{}, []string{"model configuration", "generation configuration", "tokenizer", "chat template"}},
	} {
		unknown, err := sameIdentity("x.attn", c.have, c.want)
		if err != nil || !slices.Equal(unknown, c.unknown) {
			t.Errorf("not compared: %v (%v), want %v", unknown, err, c.unknown)
		}
	}
}
