package dumps

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
)

// Merge joins dumps of one model and plan without recompression. When ctx ends
// before it is done nothing is left of out.
func Merge(ctx context.Context, out string, in []string, force bool) error {
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
	return mergeInto(ctx, out, list, force)
}

func mergeInto(ctx context.Context, out string, list []*Reader, force bool) error {
	if _, err := os.Stat(out); err == nil && !force {
		return fmt.Errorf("%s exists", out)
	}
	h := *list[0].header
	if len(list) > 1 {
		h.Plan.Shard = ""
	}
	order, err := mergeOrder(list)
	if err != nil {
		return err
	}
	tmp := out + ".merging"
	if err := writeCopies(ctx, out, tmp, &h, order); err != nil {
		return err
	}
	if err := os.Rename(tmp, out); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncFolder(out)
}

// writeCopies writes prompts of other dumps to tmp, which is to become the dump at
// path; where that fails nothing is left.
func writeCopies(ctx context.Context, path, tmp string, h *Header, list []place) (err error) {
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
	w := &Writer{path: path, partial: tmp, f: f, writeAt: f.WriteAt, header: h}
	if err := w.put(record{Kind: kindHeader}, h); err != nil {
		return err
	}
	for _, at := range list {
		if err := w.copyPrompt(ctx, at.r, at.prompt); err != nil {
			return err
		}
	}
	return w.finish()
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
func (w *Writer) copyPrompt(ctx context.Context, r *Reader, i int) error {
	var list []record
	for _, blocks := range r.blocks[i] {
		list = append(list, blocks...)
	}
	slices.SortFunc(list, func(a, b record) int { return int(min(1, max(-1, a.at-b.at))) })
	index := uint32(w.prompts)
	for _, rec := range list {
		rec.Prompt = index
		if err := w.copyBlock(ctx, r, rec); err != nil {
			return err
		}
	}
	p := r.prompts[i]
	w.prompts++
	return w.put(record{Kind: kindPrompt, Prompt: index}, p)
}

// copyPiece is how much of a block is held while it is copied.
const copyPiece = 1 << 20

// copyBlock copies a block of another dump, compressed as it is, and compares its
// checksum on the way. It takes the same memory for blocks of any size.
func (w *Writer) copyBlock(ctx context.Context, r *Reader, rec record) error {
	if err := rec.limits(); err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if w.piece == nil {
		w.piece = make([]byte, 0, frameBytes+copyPiece)
	}
	b, at := rec.marshal(w.piece[:0]), w.offset
	sum := uint32(0)
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
		n := min(copyPiece, int64(rec.Stored)-done)
		head := len(b)
		b = b[:head+int(n)]
		if _, err := r.f.ReadAt(b[head:], rec.at+done); err != nil {
			return fmt.Errorf("%s: %s: %w", r.path, r.placeOf(&rec), err)
		}
		sum = crc32.Update(sum, castagnoli, b[head:])
		if _, err := w.writeAt(b, at); err != nil {
			return fmt.Errorf("%s: %w", w.partial, err)
		}
		at += int64(len(b))
		if done += n; done == int64(rec.Stored) {
			break
		}
		b = b[:0]
	}
	if sum != rec.Sum {
		return fmt.Errorf("%s: %s: checksum %08x, want %08x: %w", r.path, r.placeOf(&rec), sum, rec.Sum, ErrCorrupt)
	}
	rec.at = w.offset + frameBytes
	w.records, w.offset = append(w.records, rec), at
	w.bytes.Store(at)
	return nil
}
