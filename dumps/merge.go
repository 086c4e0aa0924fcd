package dumps

import (
	"fmt"
	"os"
	"slices"
)

// Merge joins dumps of one model and plan without recompression.
func Merge(out string, in []string, force bool) error {
	var list []*Reader
	for _, path := range in {
		r, err := Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		list = append(list, r)
		if len(list) > 1 {
			a, b := *list[0].header, *r.header
			a.Plan.Shard, b.Plan.Shard = "", ""
			if err := sameHeader(path, &b, &a); err != nil {
				return fmt.Errorf("%w: only dumps of one model and plan can be merged", err)
			}
		}
	}
	return mergeInto(out, list, force)
}

func mergeInto(out string, list []*Reader, force bool) (err error) {
	if _, err := os.Stat(out); err == nil && !force {
		return fmt.Errorf("%s exists", out)
	}
	tmp := out + ".merging"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	h := *list[0].header
	if len(list) > 1 {
		h.Plan.Shard = ""
	}
	w := &Writer{path: out, partial: tmp, f: f, writeAt: f.WriteAt, header: &h}
	if err := w.put(record{Kind: kindHeader}, &h); err != nil {
		return err
	}
	order, err := mergeOrder(list)
	if err != nil {
		return err
	}
	for _, at := range order {
		if err := w.copyPrompt(at.r, at.prompt); err != nil {
			return err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return os.Rename(tmp, out)
}

// place is a prompt of one of several dumps.
type place struct {
	r      *Reader
	prompt int
}

// mergeOrder lists the prompts of all dumps: one dump after the other, but those
// of shards as they stand in the prompt set.
func mergeOrder(list []*Reader) ([]place, error) {
	var order []place
	seen, shards := map[string]bool{}, true
	for _, r := range list {
		shards = shards && r.header.Plan.Shard != ""
		for i, p := range r.prompts {
			if seen[p.ID] {
				return nil, fmt.Errorf("%s: prompt %q stands in an earlier dump too", r.path, p.ID)
			}
			seen[p.ID] = true
			shards = shards && p.Index > 0
			order = append(order, place{r, i})
		}
	}
	if shards {
		slices.SortStableFunc(order, func(a, b place) int { return a.r.prompts[a.prompt].Index - b.r.prompts[b.prompt].Index })
	}
	return order, nil
}

// copyPrompt copies the blocks of a prompt as they are, in order of the file.
func (w *Writer) copyPrompt(r *Reader, i int) error {
	var list []record
	for _, blocks := range r.blocks[i] {
		list = append(list, blocks...)
	}
	slices.SortFunc(list, func(a, b record) int { return int(min(1, max(-1, a.at-b.at))) })
	index := uint32(w.prompts)
	for _, rec := range list {
		stored, err := readPayload(r.f, &rec)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		if checksum(stored) != rec.Sum {
			return fmt.Errorf("%s: %s: checksum %08x, want %08x: %w", r.path, r.placeOf(&rec), checksum(stored), rec.Sum, ErrCorrupt)
		}
		rec.Prompt = index
		if err := w.writeBlock(block{r: rec, payload: stored}); err != nil {
			return err
		}
	}
	p := r.prompts[i]
	w.prompts++
	return w.put(record{Kind: kindPrompt, Prompt: index}, p)
}
