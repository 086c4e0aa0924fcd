package dumps_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// TestIgnored checks the form of the manifest's list of ignored names.
func TestIgnored(t *testing.T) {
	text, err := json.Marshal(dumps.Manifest{Ignored: dumps.Ignored{
		Config: []string{"final_norm", "use_mup"},
		Fields: []string{"grade"},
	}})
	if want := `"ignored":{"config":["final_norm","use_mup"],"fields":["grade"]}`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("manifest %s (%v), want %s in it", text, err, want)
	}
	text, err = json.Marshal(dumps.Manifest{})
	if err != nil || strings.Contains(string(text), "ignored") {
		t.Errorf("manifest %s (%v), want no ignored", text, err)
	}
	both := dumps.Ignored{Config: []string{"final_norm", "use_mup"}, Fields: []string{"grade"}}
	if got, want := both.String(), "configuration keys final_norm, use_mup; prompt fields grade"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
