package capture

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
)

// TestSettings: the settings of a configuration are flattened; long values are hashed, and
// what says nothing about the model is left out.
func TestSettings(t *testing.T) {
	got := settings(map[string]any{
		"rope_theta": json.Number("10000.0"), "rope_scaling": map[string]any{"type": "yarn", "factor": json.Number("2")},
		"empty": map[string]any{}, "none": nil, "long": strings.Repeat("x", 101),
		"transformers_version": "5", "tokenizer.ggml.tokens": []any{"a"}, "general.name": "m", "general.architecture": "llama",
	})
	want := map[string]string{
		"rope_theta": "10000.0", "rope_scaling.type": `"yarn"`, "rope_scaling.factor": "2", "empty": "{}", "none": "null",
		"long": hashText([]byte(`"` + strings.Repeat("x", 101) + `"`)), "general.architecture": `"llama"`,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	many := map[string]any{}
	for i := range maxSettings + 1 {
		many[fmt.Sprint(i)] = i
	}
	if got := settings(many); len(got) != 1 || !strings.HasPrefix(got["all"], "sha256:") {
		t.Errorf("%d settings of too many", len(got))
	}
}

// TestPromptFieldsSHA256: the hash covers ids, data sets, answers and documents.
func TestPromptFieldsSHA256(t *testing.T) {
	base := prompts.Prompt{ID: "a", Dataset: "d", References: []string{"r"}, Document: "x"}
	hash := func(change func(p *prompts.Prompt)) string {
		p := base
		change(&p)
		return promptFieldsSHA256([]prompts.Prompt{p})
	}
	same := hash(func(*prompts.Prompt) {})
	for name, change := range map[string]func(p *prompts.Prompt){
		"id":       func(p *prompts.Prompt) { p.ID = "b" },
		"data set": func(p *prompts.Prompt) { p.Dataset = "e" },
		"answers":  func(p *prompts.Prompt) { p.References = []string{"r", "s"} },
		"document": func(p *prompts.Prompt) { p.Document = "y" },
	} {
		if hash(change) == same {
			t.Errorf("another %s has the same hash", name)
		}
	}
}
