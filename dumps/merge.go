package dumps

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// Merge joins dumps of one model and plan into a dump at out, without recompressing
// them. Prompts follow one dump after the other; prompts of shards are put in the
// order of their prompt set. Two dumps with a prompt of the same id are an error. With
// force, an existing out is replaced. If ctx ends early, no part of the new dump is left
// and the error wraps that of ctx.
func Merge(ctx context.Context, out string, in []string, force bool) error {
	var dumps []*Reader
	for _, path := range in {
		r, err := Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		dumps = append(dumps, r)
		if err := mergeable(dumps[0], r); err != nil {
			return err
		}
	}
	return mergeInto(ctx, out, dumps, force)
}

// mergeable returns an error unless two dumps have the same model and plan, apart from
// the shard.
func mergeable(first, r *Reader) error {
	want := *first.header
	have := *r.header
	want.Plan.Shard = ""
	have.Plan.Shard = ""
	if err := sameHeader(r.path, &have, &want); err != nil {
		return fmt.Errorf("%w: only dumps of one model and plan can be merged", err)
	}
	return nil
}

func mergeInto(ctx context.Context, out string, dumps []*Reader, force bool) error {
	if _, err := os.Stat(out); err == nil && !force {
		return fmt.Errorf("%s exists", out)
	}
	h := *dumps[0].header
	if len(dumps) > 1 {
		h.Plan.Shard = ""
	}
	prompts, err := mergeOrder(dumps)
	if err != nil {
		return err
	}
	tmp := out + ".merging"
	if err := writeCopies(ctx, out, tmp, &h, prompts); err != nil {
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
