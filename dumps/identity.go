package dumps

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Identity holds what decides the numbers of a run besides the model's weights, the plan
// and the prompts. Dumps of earlier versions have none.
type Identity struct {
	// Config holds the settings of config.json or of GGUF metadata as JSON, by their
	// names with dots between levels. Of a long value it holds the hash.
	Config map[string]string `json:"config,omitempty"`
	// Generation holds the settings of generation_config.json that the run uses.
	Generation map[string]string `json:"generation,omitempty"`
	// ChatTemplate is the hash of the chat templates; "none" if there are none.
	ChatTemplate string `json:"chat_template,omitempty"`
}

// IsZero reports whether nothing is known.
func (d Identity) IsZero() bool {
	return len(d.Config) == 0 && len(d.Generation) == 0 && d.ChatTemplate == ""
}

// sameIdentity compares what else decides the numbers of two runs. The error names path
// and the first difference. unknown lists what one of the headers does not tell.
func sameIdentity(path string, have, want *Header) (unknown []string, err error) {
	for _, set := range []struct {
		name       string
		have, want map[string]string
	}{
		{"model configuration", have.Identity.Config, want.Identity.Config},
		{"generation configuration", have.Identity.Generation, want.Identity.Generation},
	} {
		if len(set.have) == 0 || len(set.want) == 0 {
			unknown = append(unknown, set.name)
			continue
		}
		if key, differs := firstDifference(set.have, set.want); differs {
			return nil, fmt.Errorf("%s: %s %s is %s there and %s here",
				path, set.name, key, orUnset(set.have, key), orUnset(set.want, key))
		}
	}
	for _, one := range []struct{ name, have, want string }{
		{"tokenizer", have.Manifest.TokenizerSHA256, want.Manifest.TokenizerSHA256},
		{"chat template", have.Identity.ChatTemplate, want.Identity.ChatTemplate},
	} {
		if one.have == "" && one.want == "" && !have.Identity.IsZero() && !want.Identity.IsZero() {
			continue // neither model has a tokenizer
		}
		if one.have == "" || one.want == "" {
			unknown = append(unknown, one.name)
			continue
		}
		if one.have != one.want {
			return nil, fmt.Errorf("%s: the %s differs (its hash is %.12s there and %.12s here)",
				path, one.name, one.have, one.want)
		}
	}
	return unknown, nil
}

// firstDifference returns the first name, in alphabetical order, whose values differ.
func firstDifference(a, b map[string]string) (name string, differs bool) {
	names := slices.Collect(maps.Keys(a))
	names = slices.AppendSeq(names, maps.Keys(b))
	slices.Sort(names)
	for _, name := range names {
		x, inA := a[name]
		y, inB := b[name]
		if x != y || inA != inB {
			return name, true
		}
	}
	return "", false
}

func orUnset(set map[string]string, name string) string {
	if v, ok := set[name]; ok {
		return v
	}
	return "not set"
}

// notCompared is the warning about what sameIdentity could not compare.
func notCompared(path string, unknown []string) string {
	return fmt.Sprintf("%s: not compared, because a dump does not tell: %s", path, strings.Join(unknown, ", "))
}

// kernelsDiffer returns a warning if prompts were computed by different kernels, whose
// numbers differ in the last digits; it is empty if they were not.
func kernelsDiffer(path string, kernels []string) string {
	slices.Sort(kernels)
	kernels = slices.DeleteFunc(slices.Compact(kernels), func(k string) bool { return k == "" })
	if len(kernels) < 2 {
		return ""
	}
	return fmt.Sprintf("%s: prompts were computed by different kernels (%s), whose numbers differ in the last digits: "+
		"each prompt names its own", path, strings.Join(kernels, ", "))
}
