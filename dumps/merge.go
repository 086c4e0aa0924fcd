package dumps

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/internal/words"
)

// Merge joins dumps of one model and plan into a dump at out, without recompressing
// them. Prompts follow one dump after the other; prompts of shards are put in the
// order of their prompt set. Two dumps with a prompt of the same id are an error, and so
// are, unless the options allow it, dumps that lack prompts. If ctx ends early, no part of
// the new dump is left and the error wraps that of ctx.
func Merge(ctx context.Context, out string, in []string, options MergeOptions) error {
	var dumps []*Reader
	unknown := map[string]bool{}
	for _, path := range in {
		r, err := Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		dumps = append(dumps, r)
		names, err := mergeable(dumps[0], r)
		if err != nil {
			return err
		}
		for _, name := range names {
			unknown[name] = true
		}
	}
	if err := mergeInto(ctx, out, dumps, options); err != nil {
		return err
	}
	options.warn(out, dumps, unknown)
	return nil
}

// MergeOptions says what Merge may do.
type MergeOptions struct {
	Force   bool         // replace an existing dump
	Partial bool         // merge dumps that lack prompts of their set
	Warn    func(string) // receives doubts about the result; may be nil

	Progress Progress // may be nil
}

// warn says what could not be compared and that kernels differ.
func (o *MergeOptions) warn(out string, dumps []*Reader, unknown map[string]bool) {
	if o.Warn == nil {
		return
	}
	if len(dumps) > 1 && len(unknown) > 0 {
		o.Warn(notCompared(out, slices.Sorted(maps.Keys(unknown))))
	}
	var kernels []string
	for _, r := range dumps {
		for i := range r.prompts {
			kernels = append(kernels, r.prompts[i].Kernel)
		}
	}
	if text := kernelsDiffer(out, kernels); text != "" {
		o.Warn(text)
	}
}

// mergeable returns an error unless two dumps have the same model, plan and
// configuration, apart from the shard. unknown lists what could not be compared.
func mergeable(first, r *Reader) (unknown []string, err error) {
	want := *first.header
	have := *r.header
	want.Plan.Shard = ""
	have.Plan.Shard = ""
	err = sameHeader(r.path, &have, &want)
	if err == nil {
		unknown, err = sameIdentity(r.path, &have, &want)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: only dumps of one model and plan can be merged", err)
	}
	a, b := &have.Manifest, &want.Manifest
	shards := first.header.Plan.Shard != "" && r.header.Plan.Shard != ""
	if shards && differ(a.PromptsSHA256, b.PromptsSHA256) {
		return nil, fmt.Errorf("%s: a shard of another prompt set (prompts_sha256 %.12s there, %.12s here): "+
			"only shards of one set can be merged", r.path, a.PromptsSHA256, b.PromptsSHA256)
	}
	if a.PromptsSHA256 == b.PromptsSHA256 && differ(a.PromptFieldsSHA256, b.PromptFieldsSHA256) {
		return nil, fmt.Errorf("%s: the data sets, answers or documents of the prompts differ "+
			"(prompt_fields_sha256 %.12s there, %.12s here): only dumps of one prompt set can be merged",
			r.path, a.PromptFieldsSHA256, b.PromptFieldsSHA256)
	}
	return unknown, nil
}

// differ reports whether two hashes differ that are both known.
func differ(a, b string) bool { return a != "" && b != "" && a != b }

func mergeInto(ctx context.Context, out string, dumps []*Reader, options MergeOptions) error {
	if err := outfile.Check(out); err != nil {
		return err
	}
	if _, err := os.Stat(out); err == nil && !options.Force {
		return fmt.Errorf("%s exists", out)
	}
	h := *dumps[0].header
	if len(dumps) > 1 {
		h.Plan.Shard = ""
	}
	lacks, texts := mergedLacks(&h, dumps)
	if len(texts) > 0 && !options.Partial {
		return &IncompleteError{Path: out, Lacks: texts}
	}
	h.Manifest.Lacks = lacks
	prompts, err := mergeOrder(dumps)
	if err != nil {
		return err
	}
	tmp := out + ".merging"
	copied := counter{report: options.Progress}
	for _, p := range prompts {
		copied.total += p.r.storedBytes(p.index)
	}
	if err := writeCopies(ctx, out, tmp, &h, prompts, &copied); err != nil {
		return err
	}
	if err := os.Rename(tmp, out); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncFolder(out)
}

// mergeOrder lists the prompts of all dumps, one dump after the other. If all dumps
// are shards, their prompts follow the order of the prompt set.
func mergeOrder(dumps []*Reader) ([]sourcePrompt, error) {
	var order []sourcePrompt
	seen := map[string]bool{}
	shards := true
	for _, r := range dumps {
		shards = shards && r.header.Plan.Shard != ""
		for i, p := range r.prompts {
			if seen[p.ID] {
				return nil, fmt.Errorf("%s: prompt %q is in an earlier dump too", r.path, p.ID)
			}
			seen[p.ID] = true
			shards = shards && p.Index > 0
			order = append(order, sourcePrompt{r, i})
		}
	}
	if shards {
		slices.SortStableFunc(order, func(a, b sourcePrompt) int {
			return a.r.prompts[a.index].Index - b.r.prompts[b.index].Index
		})
	}
	return order, nil
}

// IncompleteError says that a merged dump would lack prompts.
type IncompleteError struct {
	Path  string   // of the merged dump
	Lacks []string // what it would lack
}

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%s: it would lack %s", e.Path, strings.Join(e.Lacks, "; "))
}

// mergedLacks returns what a dump with the prompts of all dumps lacks, and describes it.
// It completes the header h, which is that of the first dump without its shard.
func mergedLacks(h *Header, dumps []*Reader) (lacks Lacks, texts []string) {
	var all []Prompt
	present := map[int]bool{} // shards
	shards := 0
	oneSet := true
	for _, r := range dumps {
		m := &r.header.Manifest
		oneSet = oneSet && m.PromptsSHA256 != "" && m.PromptsSHA256 == h.Manifest.PromptsSHA256 && m.Prompts == h.Manifest.Prompts
		all = append(all, r.prompts...)
		if i, n, ok := shardOf(r.header.Plan.Shard); ok {
			present[i] = true
			shards = max(shards, n)
		}
		if !r.complete {
			lacks.Dumps = append(lacks.Dumps, filepath.Base(r.path))
		}
		lacks.Dumps = append(lacks.Dumps, m.Lacks.Dumps...)
		lacks.Shards = append(lacks.Shards, m.Lacks.Shards...)
		lacks.Prompts = append(lacks.Prompts, m.Lacks.Prompts...)
	}
	for i := range min(shards, maxListed) {
		if !present[i] {
			lacks.Shards = append(lacks.Shards, fmt.Sprintf("%d/%d", i, shards))
		}
	}
	lacks.Shards = slices.DeleteFunc(lacks.Shards, func(text string) bool {
		i, n, _ := shardOf(text)
		return n == shards && present[i]
	})
	slices.Sort(lacks.Shards)
	lacks.Shards = slices.Compact(lacks.Shards)
	lacks.Prompts = slices.DeleteFunc(lacks.Prompts, func(id string) bool {
		return slices.ContainsFunc(all, func(p Prompt) bool { return p.ID == id })
	})
	whole := *h
	whole.Plan.Shard = ""
	if places, known := missingPlaces(&whole, all); oneSet && known {
		if len(places) == 0 {
			return Lacks{}, nil // whatever the dumps lack, others have
		}
		number := fmt.Sprintf("%d of the %d prompts of the set: %s %s", len(places), h.Manifest.Prompts,
			words.Plural(len(places), "number", "numbers"), listed(places))
		return lacks, append(lacks.texts(), number)
	}
	for _, r := range dumps {
		if places, known := missingPlaces(r.header, r.prompts); known && len(places) > 0 && !slices.Contains(lacks.Dumps, filepath.Base(r.path)) {
			lacks.Dumps = append(lacks.Dumps, filepath.Base(r.path))
		}
	}
	if !oneSet {
		h.Manifest.Prompts = 0
	}
	return lacks, lacks.texts()
}

// maxListed is the number of missing shards that a header lists.
const maxListed = 1 << 10
