package dumps

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/words"
)

// Lacks says what a dump lacks after a merge or a repair.
type Lacks struct {
	Shards  []string `json:"shards,omitempty"`  // I/N, shards that were not merged
	Dumps   []string `json:"dumps,omitempty"`   // names of dumps that were cut, unfinished or damaged
	Prompts []string `json:"prompts,omitempty"` // ids of prompts that were damaged
}

// IsZero reports whether nothing is lacking.
func (l Lacks) IsZero() bool { return len(l.Shards) == 0 && len(l.Dumps) == 0 && len(l.Prompts) == 0 }

// texts describes each thing that is lacking.
func (l *Lacks) texts() []string {
	var list []string
	if len(l.Shards) > 0 {
		list = append(list, words.Plural(len(l.Shards), "shard ", "shards ")+listed(l.Shards))
	}
	if len(l.Dumps) > 0 {
		were := words.Plural(len(l.Dumps), ", which was", ", which were")
		list = append(list, "what was not in "+listed(l.Dumps)+were+" not whole")
	}
	if len(l.Prompts) > 0 {
		list = append(list, words.Plural(len(l.Prompts), "prompt ", "prompts ")+listed(l.Prompts))
	}
	return list
}

// listed joins the first ten names and counts the others.
func listed(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// shardOf reads I/N; ok is false if the text is no shard.
func shardOf(text string) (i, n int, ok bool) {
	_, err := fmt.Sscanf(text, "%d/%d", &i, &n)
	return i, n, err == nil && n >= 1 && i >= 0 && i < n && n <= maxTokens && fmt.Sprintf("%d/%d", i, n) == text
}

// missingPlaces lists the places, from 1, of the prompts of a set that prompts lack. Only
// those of the header's shard count, if it has one. known is false if the header does not
// tell how many there are, or a prompt not where it belongs.
func missingPlaces(h *Header, prompts []Prompt) (places []string, known bool) {
	total := h.Manifest.Prompts
	if total <= 0 || total > maxTokens {
		return nil, false
	}
	have := make([]bool, total)
	for i := range prompts {
		at := prompts[i].Index
		if at < 1 || at > total {
			return nil, false
		}
		have[at-1] = true
	}
	shard, shards, ok := shardOf(h.Plan.Shard)
	for i := range have {
		if !have[i] && (!ok || i%shards == shard) {
			places = append(places, fmt.Sprint(i+1))
		}
	}
	return places, true
}

// Lacks describes what a complete dump lacks of its prompt set, as far as it is known: it
// was merged of some shards only, or repaired. A dump that is not complete says so by
// itself ([Reader.Complete]).
func (r *Reader) Lacks() []string {
	places, known := missingPlaces(r.header, r.prompts)
	if !known {
		lacks := r.header.Manifest.Lacks
		lacks.Prompts = r.without(lacks.Prompts)
		return lacks.texts()
	}
	if len(places) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of the %d prompts of its set: %s %s", len(places), r.header.Manifest.Prompts,
		words.Plural(len(places), "number", "numbers"), listed(places))}
}

// without leaves out the ids of prompts that the dump has.
func (r *Reader) without(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(r.prompts, func(p Prompt) bool { return p.ID == id })
	})
}

// lackWarnings are the warnings about what a complete dump lacks.
func (r *Reader) lackWarnings() []string {
	if !r.complete {
		return nil
	}
	var list []string
	for _, what := range r.Lacks() {
		list = append(list, fmt.Sprintf("%s: it lacks %s", r.path, what))
	}
	return list
}
