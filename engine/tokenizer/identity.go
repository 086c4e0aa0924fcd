package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
)

// TemplatesSHA256 returns a hash of the chat templates and of the special tokens that they
// know, or "none" if there are no templates.
func (t *Tokenizer) TemplatesSHA256() string {
	if len(t.templates) == 0 {
		return "none"
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(t.templates)) {
		fmt.Fprintf(h, "%q %q\n", name, t.templates[name].text)
	}
	for _, name := range slices.Sorted(maps.Keys(t.specials)) {
		fmt.Fprintf(h, "%q %q\n", name, t.specials[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}
