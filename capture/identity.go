package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/simd"
)

// identity returns what else decides the numbers of a run: the configuration, what is used
// of generation_config.json, and the chat templates.
func identity(s *Source) dumps.Identity {
	d := dumps.Identity{
		Config:       settings(s.Checkpoint.Config()),
		Generation:   map[string]string{"eos_token_id": fmt.Sprint(s.Config.EOS)},
		ChatTemplate: "none",
	}
	if s.Tokenizer != nil {
		d.ChatTemplate = s.Tokenizer.TemplatesSHA256()
	}
	return d
}

// Settings of a configuration that a header holds, at most, and bytes of each.
const (
	maxSettings = 1 << 12
	maxSetting  = 100
)

// unrelated lists settings that describe a file and not a model.
var unrelated = []string{"_name_or_path", "transformers_version", "use_cache"}

// settings flattens a configuration: nested names are joined by dots. Of a value of more
// than maxSetting bytes, and of more than maxSettings settings, only the hash is kept. The
// tokenizer of a GGUF file has a hash of its own.
func settings(config map[string]any) map[string]string {
	flat := map[string]string{}
	flatten(flat, "", config)
	if len(flat) <= maxSettings {
		return flat
	}
	text, _ := json.Marshal(flat) // strings can be marshaled
	return map[string]string{"all": hashText(text)}
}

func flatten(flat map[string]string, prefix string, config map[string]any) {
	for name, value := range config {
		if slices.Contains(unrelated, name) || prefix == "" && describesFile(name) {
			continue
		}
		name = prefix + name
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			flatten(flat, name+".", inner)
			continue
		}
		text, err := json.Marshal(value)
		if err != nil { // a number that is not finite
			text = fmt.Append(nil, value)
		}
		if len(text) > maxSetting {
			flat[name] = hashText(text)
			continue
		}
		flat[name] = string(text)
	}
}

// describesFile reports whether a key of GGUF metadata says nothing about the decoder.
func describesFile(name string) bool {
	return strings.HasPrefix(name, "tokenizer.") ||
		strings.HasPrefix(name, "general.") && name != "general.architecture"
}

func hashText(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:8])
}

// Kernel names what computes the numbers: the instruction set of the processor, or the
// card. The numbers of different kernels differ in the last digits.
func (s *Source) Kernel() string {
	if s.Device.Card != nil {
		return "cuda " + s.Device.Card.Name
	}
	return simd.Path()
}

// promptFieldsSHA256 returns a hash of what a dump copies from the records of the prompts:
// ids, data sets, answers and documents.
func promptFieldsSHA256(list []prompts.Prompt) string {
	h := sha256.New()
	for i := range list {
		p := &list[i]
		fmt.Fprintf(h, "%q %q %q %q\n", p.ID, p.Dataset, p.References, p.Document)
	}
	return hex.EncodeToString(h.Sum(nil))
}
